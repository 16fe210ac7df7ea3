"""Cancelling and trying again, with the API here and the worker's side called by hand."""

import asyncio
from typing import Any

import httpx
import psycopg
from sqlalchemy import Engine

from tests.conftest import SettingsBuilder
from tests.service.api.serving import an_api, until
from tests.service.building import Side, a_model, store_key, store_user

Database = psycopg.Connection[Any]
AT_ONCE = {"Prefer": "wait=0"}
MODELS = {"object_type": "model"}


async def created(client: httpx.AsyncClient, model_id: str, **headers: str) -> str:
    response = await client.post("/model/new", json=a_model(info={"id": model_id}), headers=headers)
    assert response.status_code == 202, response.text
    return response.json()["task_id"]


async def deleted(client: httpx.AsyncClient, model_id: str) -> str:
    response = await client.post("/model/delete", json={"id": model_id})
    assert response.status_code == 202, response.text
    return response.json()["task_id"]


async def cancelled(client: httpx.AsyncClient, task_id: str) -> httpx.Response:
    return await client.post(f"/tasks/{task_id}/cancel", headers=AT_ONCE)


async def shown(client: httpx.AsyncClient, task_id: str) -> dict[str, Any]:
    return (await client.get(f"/tasks/{task_id}")).json()


async def a_failed(client: httpx.AsyncClient, side: Side, database: Database, *model_ids: str) -> list[str]:
    """Creations that were accepted, and refused when applied because the rights were gone by then."""
    task_ids = [await created(client, model_id) for model_id in model_ids]
    database.execute(
        """UPDATE task SET principal = jsonb_set(principal, '{role}', '"internal_user"') WHERE task_id = ANY(%s)""",
        [task_ids],
    )
    side.drain.drain()
    return task_ids


def audited(database: Database, task_id: str) -> list[str]:
    found = database.execute("SELECT action FROM audit_entry WHERE task_id = %s ORDER BY position", [task_id])
    return [action for (action,) in found.fetchall()]


async def test_a_cancelled_task_has_no_effect_and_is_recorded(
    client: httpx.AsyncClient, side: Side, database: Database
) -> None:
    task_id = await created(client, "m-1", **{"Webhook-Url": "https://example.com/hook"})
    asked = (await cancelled(client, task_id)).json()
    assert (asked["status"], asked["cancel_requested_at"] is not None) == ("queued", True)
    side.drain.drain()
    task = await shown(client, task_id)
    assert (task["status"], task["result"], task["error"]) == ("cancelled", None, None)
    assert audited(database, task_id) == ["cancelled"]
    assert database.execute("SELECT count(*) FROM model").fetchone() == (0,)
    assert database.execute("SELECT type FROM event").fetchall() == [("task.cancelled",)]


async def test_the_log_says_who_called_a_task_off_and_not_whose_it_was(
    client: httpx.AsyncClient, side: Side, engine: Engine, database: Database
) -> None:
    store_user(engine, "adam", "proxy_admin")
    adam = store_key(engine, key := "sk-test-adam-0123456789", "adam")
    task_ids = [await created(client, model_id) for model_id in ("m-1", "m-2")]
    headers = {**AT_ONCE, "Authorization": f"Bearer {key}", "X-Request-Id": "r-adam"}
    await client.post(f"/tasks/{task_ids[0]}/cancel", headers=headers)
    await client.post("/tasks/cancel", json={"object_id": "m-2"}, headers=headers)
    side.drain.drain()
    found = database.execute("SELECT actor, actor_key, request_id, task_id::text FROM audit_entry ORDER BY position")
    assert found.fetchall() == [("adam", adam.key_id, "r-adam", task_id) for task_id in task_ids]
    assert (await shown(client, task_ids[0]))["submitted_by"] == "default_user_id"


async def test_cancelling_waits_until_it_is_so(client: httpx.AsyncClient, side: Side) -> None:
    task_id = await created(client, "m-1")
    cancelling = asyncio.create_task(client.post(f"/tasks/{task_id}/cancel", headers={"Prefer": "wait=20"}))

    async def is_requested() -> bool:
        return (await shown(client, task_id))["cancel_requested_at"] is not None

    await until(is_requested)
    await asyncio.to_thread(side.drain.drain)
    assert (await cancelling).json()["status"] == "cancelled"


async def test_cancelling_again_changes_nothing(client: httpx.AsyncClient, side: Side) -> None:
    task_id = await created(client, "m-1")
    first, second = (await cancelled(client, task_id)).json(), (await cancelled(client, task_id)).json()
    assert first == second
    side.drain.drain()
    ended = (await cancelled(client, task_id)).json()
    assert ended["status"] == "cancelled"
    assert (await cancelled(client, task_id)).json() == ended


async def test_what_has_ended_is_not_cancelled(client: httpx.AsyncClient, side: Side, database: Database) -> None:
    task_id = await created(client, "m-1")
    side.drain.drain()
    task = (await cancelled(client, task_id)).json()
    assert (task["status"], task["cancel_requested_at"]) == ("succeeded", None)
    assert audited(database, task_id) == ["created"]


async def test_a_task_that_a_worker_is_committing_is_not_cancelled(
    client: httpx.AsyncClient, side: Side, engine: Engine, database: Database
) -> None:
    task_id = await created(client, "m-1")
    with engine.connect() as held:
        held.exec_driver_sql("SELECT 1 FROM head FOR UPDATE")
        applying = asyncio.create_task(asyncio.to_thread(side.drain.drain))
        await _a_backend_waits(database, "pointsman-worker")
        cancelling = asyncio.create_task(cancelled(client, task_id))
        await _a_backend_waits(database, "pointsman-api")
        held.rollback()
        await applying
    assert (await cancelling).json()["status"] == "succeeded"
    assert audited(database, task_id) == ["created"]


async def test_many_are_cancelled_while_a_worker_holds_some(
    client: httpx.AsyncClient, side: Side, engine: Engine, database: Database
) -> None:
    """Nobody waits for the held ones, so nobody can deadlock with the worker; asking again finds what is left."""
    held = await created(client, "m-1")
    with engine.connect() as worker:
        worker.exec_driver_sql(f"SELECT 1 FROM task WHERE task_id = '{held}' FOR UPDATE")
        follower, other = await created(client, "m-2"), await created(client, "m-3")
        answer = (await client.post("/tasks/cancel", json=MODELS)).json()
    assert (sorted(answer["task_ids"]), answer["has_more"]) == (sorted([follower, other]), True)
    assert (await client.post("/tasks/cancel", json=MODELS)).json() == {"task_ids": [held], "has_more": False}
    side.drain.drain()
    assert {(await shown(client, task_id))["status"] for task_id in (held, follower, other)} == {"cancelled"}


async def test_what_waits_behind_a_cancelled_task_is_applied(
    client: httpx.AsyncClient, side: Side, database: Database
) -> None:
    first = await created(client, "m-1")
    deletion, second = await deleted(client, "m-1"), await created(client, "m-1")
    await cancelled(client, deletion)
    side.drain.drain()
    statuses = [(await shown(client, task_id))["status"] for task_id in (first, deletion, second)]
    assert statuses == ["succeeded", "cancelled", "failed"]
    assert database.execute("SELECT model_id, version FROM model").fetchall() == [("m-1", 1)]


async def test_a_change_of_what_will_not_be_made_is_refused_at_once(client: httpx.AsyncClient) -> None:
    await cancelled(client, await created(client, "m-1"))
    assert (await client.post("/model/delete", json={"id": "m-1"})).status_code in (400, 404)


async def test_submitting_again_after_cancelling_makes_a_new_task(
    client: httpx.AsyncClient, side: Side, database: Database
) -> None:
    first = await created(client, "m-1")
    assert await created(client, "m-1") == first
    await cancelled(client, first)
    second = await created(client, "m-1")
    assert second != first
    side.drain.drain()
    assert (await shown(client, second))["status"] == "succeeded"
    assert database.execute("SELECT count(*) FROM model").fetchone() == (1,)


async def test_only_failed_and_cancelled_tasks_are_tried_again(client: httpx.AsyncClient, side: Side) -> None:
    task_id = await created(client, "m-1")
    assert (await client.post(f"/tasks/{task_id}/retry")).status_code == 409
    side.drain.drain()
    assert (await client.post(f"/tasks/{task_id}/retry")).status_code == 409


async def test_a_failed_task_is_tried_again_once(client: httpx.AsyncClient, side: Side, database: Database) -> None:
    (failed,) = await a_failed(client, side, database, "m-1")
    first = await client.post(f"/tasks/{failed}/retry")
    assert (first.status_code, first.json()["operation"]) == (202, "model.create")
    again = await client.post(f"/tasks/{failed}/retry")
    assert again.headers["Idempotency-Replayed"] == "true"
    side.drain.drain()
    later = await client.post(f"/tasks/{failed}/retry")
    assert {again.json()["task_id"], later.json()["task_id"]} == {first.json()["task_id"]}
    task = await shown(client, first.json()["task_id"])
    assert (task["status"], task["retry_of"]) == ("succeeded", failed)
    assert (await shown(client, failed))["status"] == "failed"


async def test_many_are_tried_again_in_order_and_once(
    client: httpx.AsyncClient, side: Side, database: Database
) -> None:
    model_ids = [f"m-{number}" for number in range(30)]
    failed = await a_failed(client, side, database, *model_ids)
    answer = (await client.post("/tasks/retry", json=MODELS, headers={"Idempotency-Key": "one for all"})).json()
    assert (list(answer["tasks"]), answer["refused"], answer["has_more"]) == (failed, {}, False)
    assert (await client.post("/tasks/retry", json=MODELS)).json()["tasks"] == {}
    order = database.execute("SELECT object_id FROM task WHERE finished_at IS NULL ORDER BY seq").fetchall()
    assert [model_id for (model_id,) in order] == model_ids
    side.drain.drain()
    assert database.execute("SELECT count(*) FROM model").fetchone() == (30,)


async def test_with_too_many_waiters_a_task_is_called_off_without_waiting(
    a_settings: SettingsBuilder, side: Side, database: Database
) -> None:
    async with an_api(a_settings(max_waiters="1")) as client:
        first, second = await created(client, "m-1"), await created(client, "m-2")
        waiting = [asyncio.create_task(client.get(f"/tasks/{first}", params={"wait": 60})) for _ in range(2)]
        # One of the two is turned away as soon as the other waits.
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        answer = await client.post(f"/tasks/{second}/cancel")
        for one in waiting:
            one.cancel()
        assert (answer.status_code, answer.json()["cancel_requested_at"] is None) == (200, False)
    side.drain.drain()
    assert database.execute("SELECT status FROM task ORDER BY seq").fetchall() == [("succeeded",), ("cancelled",)]


async def test_a_precondition_that_is_known_to_fail_is_answered_at_once(client: httpx.AsyncClient, side: Side) -> None:
    await created(client, "m-1")
    waiting = await client.post("/model/delete", json={"id": "m-1"}, headers={"If-Match": '"1-1"'})
    assert waiting.status_code == 202
    side.drain.drain()
    assert (await shown(client, waiting.json()["task_id"]))["error"]["status"] == 412
    stale = await client.patch("/model/m-1/update", json={"model_name": "b"}, headers={"If-Match": '"1-1"'})
    assert stale.status_code == 412


async def test_of_two_changes_on_the_same_version_one_succeeds(client: httpx.AsyncClient, side: Side) -> None:
    created_as = await created(client, "m-1")
    side.drain.drain()
    version = (await client.get("/model/info", params={"litellm_model_id": "m-1"})).headers["ETag"]
    answers = await asyncio.gather(
        *(
            client.patch("/model/m-1/update", json={"model_name": name}, headers={"If-Match": version})
            for name in ("b", "c")
        )
    )
    assert [answer.status_code for answer in answers] == [202, 202], created_as
    side.drain.drain()
    tasks = [await shown(client, answer.json()["task_id"]) for answer in answers]
    assert sorted(task["status"] for task in tasks) == ["failed", "succeeded"]
    assert {task["error"]["status"] for task in tasks if task["error"]} == {412}


async def test_a_change_without_a_precondition_can_be_refused(a_settings: Any, side: Side) -> None:
    settings: SettingsBuilder = a_settings
    async with an_api(settings(require_if_match="true")) as client:
        await created(client, "m-1")
        side.drain.drain()
        bare = await client.patch("/model/m-1/update", json={"model_name": "b"})
        assert bare.status_code == 428
        named = await client.patch("/model/m-1/update", json={"model_name": "b"}, headers={"If-Match": "*"})
        assert named.status_code == 202
    side.drain.drain()


async def test_a_change_to_what_only_waits_to_be_made_is_applied_to_it(client: httpx.AsyncClient, side: Side) -> None:
    await created(client, "m-1")
    change = await client.patch("/model/m-1/update", json={"model_name": "second"})
    assert change.status_code == 202
    side.drain.drain()
    task = await shown(client, change.json()["task_id"])
    assert (task["status"], task["result"]["model_name"]) == ("succeeded", "second")


async def _a_backend_waits(database: Database, application: str) -> None:
    async def waits() -> bool:
        found = database.execute(
            "SELECT 1 FROM pg_stat_activity WHERE application_name = %s AND wait_event_type = 'Lock'", [application]
        )
        return found.fetchone() is not None

    await until(waits)
