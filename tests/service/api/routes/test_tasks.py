import asyncio
import contextlib
from typing import Any

import httpx
import psycopg
import pytest
from sqlalchemy import Engine

from shared.encryption.keyring import Keyring
from tests.conftest import SettingsBuilder
from tests.service.api.serving import an_api, until
from tests.service.building import Side, a_model

Database = psycopg.Connection[Any]
NOBODY = "00000000-0000-7000-8000-000000000000"


async def a_submitted(client: httpx.AsyncClient, model_id: str | None = None) -> str:
    info = None if model_id is None else {"id": model_id}
    return (await client.post("/model/new", json=a_model(info=info))).json()["task_id"]


async def listed(client: httpx.AsyncClient, **params: Any) -> dict[str, Any]:
    response = await client.get("/tasks", params=params)
    assert response.status_code == 200, response.text
    return response.json()


async def test_a_task_is_shown_until_and_after_its_end(
    client: httpx.AsyncClient, engine: Engine, keyring: Keyring
) -> None:
    task_id = await a_submitted(client, "m-1")
    queued = await client.get(f"/tasks/{task_id}")
    assert queued.headers["Retry-After"] == "1"
    assert queued.json()["status"] == "queued"
    Side(engine, keyring).applier.apply_due()
    ended = await client.get(f"/tasks/{task_id}")
    assert "Retry-After" not in ended.headers
    assert ended.headers["ETag"] != queued.headers["ETag"]
    task = ended.json()
    assert (task["status"], task["attempt"], task["error"]) == ("succeeded", 1, None)
    assert (task["result"]["model_id"], task["result"]["litellm_params"]) == ("m-1", {"model": "openai/gpt-4o"})
    assert task["submitted_at"] <= task["started_at"] <= task["finished_at"]


async def test_a_failed_task_shows_its_problem(
    client: httpx.AsyncClient, engine: Engine, keyring: Keyring, database: Database
) -> None:
    task_id = await a_submitted(client)
    database.execute("""UPDATE task SET principal = jsonb_set(principal, '{role}', '"internal_user"')""")
    Side(engine, keyring).applier.apply_due()
    task = (await client.get(f"/tasks/{task_id}")).json()
    assert (task["status"], task["result"]) == ("failed", None)
    assert task["error"]["type"] == "urn:pointsman:problem:not_permitted"
    assert task["error"]["status"] == 403


@pytest.mark.parametrize("path", [NOBODY, "not-an-id", "%00", "x" * 500, f"{NOBODY}/events"])
async def test_a_task_that_is_not_there_is_not_found(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(f"/tasks/{path}")
    assert response.status_code == 404
    assert response.json()["type"] == "urn:pointsman:problem:task_not_found"


async def test_who_waits_for_a_task_is_answered_when_it_ends(
    client: httpx.AsyncClient, engine: Engine, keyring: Keyring
) -> None:
    task_id = await a_submitted(client)
    waiting = asyncio.create_task(client.get(f"/tasks/{task_id}", params={"wait": 60}))
    await listed(client)
    await asyncio.to_thread(Side(engine, keyring).applier.apply_due)
    assert (await waiting).json()["status"] == "succeeded"


async def test_a_wait_that_runs_out_shows_the_task_as_it_is(client: httpx.AsyncClient) -> None:
    task_id = await a_submitted(client)
    response = await client.get(f"/tasks/{task_id}", params={"wait": 0.01})
    assert (response.status_code, response.json()["status"]) == (200, "queued")


@pytest.mark.parametrize("wait", ["-1", "soon", "nan"])
async def test_a_wait_that_is_no_time_is_refused(client: httpx.AsyncClient, wait: str) -> None:
    task_id = await a_submitted(client)
    response = await client.get(f"/tasks/{task_id}", params={"wait": wait})
    assert response.status_code in ((200, 422) if wait == "nan" else (422,))


async def test_tasks_are_listed_newest_first_page_by_page(client: httpx.AsyncClient) -> None:
    submitted = [await a_submitted(client) for _ in range(5)]
    first = await listed(client, limit=2)
    second = await listed(client, limit=2, cursor=first["next_cursor"])
    third = await listed(client, limit=2, cursor=second["next_cursor"])
    seen = [task["task_id"] for page in (first, second, third) for task in page["data"]]
    assert seen == submitted[::-1]
    assert third["next_cursor"] is None


async def test_a_page_that_is_just_full_is_the_last(client: httpx.AsyncClient) -> None:
    await a_submitted(client)
    await a_submitted(client)
    assert (await listed(client, limit=2))["next_cursor"] is None


async def test_what_is_submitted_meanwhile_does_not_shift_the_pages(client: httpx.AsyncClient) -> None:
    old = [await a_submitted(client) for _ in range(3)]
    first = await listed(client, limit=2)
    await a_submitted(client)
    second = await listed(client, limit=2, cursor=first["next_cursor"])
    assert [task["task_id"] for task in second["data"]] == old[:1]


async def test_tasks_are_filtered(client: httpx.AsyncClient, engine: Engine, keyring: Keyring) -> None:
    done = await a_submitted(client, "m-1")
    Side(engine, keyring).applier.apply_due()
    queued = await a_submitted(client, "m-2")

    async def ids(**params: str) -> list[str]:
        return [task["task_id"] for task in (await listed(client, **params))["data"]]

    assert await ids(status="queued") == [queued]
    assert await ids(status="succeeded") == [done]
    assert await ids(status="failed") == []
    assert await ids(object_id="m-2") == [queued]
    assert await ids(object_type="model", object_id="m-1") == [done]
    assert await ids(operation="model.create") == [queued, done]
    assert await ids(operation="model.delete") == []
    assert await ids(submitted_by="default_user_id") == [queued, done]
    assert await ids(submitted_by="somebody") == []


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"cursor": "rubbish"}, "cursor"),
        ({"cursor": ""}, "cursor"),
        ({"cursor": "LTE"}, "cursor"),
        ({"cursor": "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5"}, "cursor"),
        ({"cursor": "\N{SNOWMAN}"}, "cursor"),
        ({"limit": "0"}, "limit"),
        ({"limit": "201"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"status": "asleep"}, "status"),
    ],
)
async def test_a_query_that_makes_no_sense_is_refused_by_name(
    client: httpx.AsyncClient, params: dict[str, str], field: str
) -> None:
    response = await client.get("/tasks", params=params)
    assert response.status_code == 422, response.text
    assert response.json()["type"] == "urn:pointsman:problem:invalid_query"
    assert response.json()["error"]["param"] == field


@pytest.mark.parametrize("path", ["/tasks?object_id=%00", "/model/info?litellm_model_id=%00", "/audit?object_id=a%00"])
async def test_a_text_that_postgres_cannot_hold_is_a_wrong_query_and_no_bug(
    client: httpx.AsyncClient, path: str
) -> None:
    response = await client.get(path)
    assert response.status_code == 422, response.text
    assert response.json()["type"] == "urn:pointsman:problem:invalid_query"


async def events_of(client: httpx.AsyncClient, task_id: str, **headers: str) -> list[dict[str, str]]:
    response = await client.get(f"/tasks/{task_id}/events", headers=headers)
    assert response.headers["Content-Type"].startswith("text/event-stream")
    blocks = [block for block in response.text.replace("\r\n", "\n").split("\n\n") if block.strip()]
    parsed = [dict(line.split(": ", 1) for line in block.splitlines() if ": " in line) for block in blocks]
    return [event for event in parsed if event.get("event") == "task"]


async def test_events_of_a_task_that_has_ended_are_its_end(
    client: httpx.AsyncClient, engine: Engine, keyring: Keyring
) -> None:
    task_id = await a_submitted(client)
    Side(engine, keyring).applier.apply_due()
    (event,) = await events_of(client, task_id)
    assert '"status":"succeeded"' in event["data"]
    assert event["id"] == "2"


async def test_events_follow_a_task_to_its_end(client: httpx.AsyncClient, engine: Engine, keyring: Keyring) -> None:
    task_id = await a_submitted(client)
    following = asyncio.create_task(events_of(client, task_id))
    await listed(client)
    await asyncio.to_thread(Side(engine, keyring).applier.apply_due)
    events = await following
    assert '"status":"succeeded"' in events[-1]["data"]
    assert [event["id"] for event in events] == sorted({event["id"] for event in events})


@pytest.mark.parametrize(("last", "count"), [("1", 1), ("2", 0), ("0", 1), ("rubbish", 1), ("9" * 5000, 1)])
async def test_events_resume_behind_the_last_one_seen(
    client: httpx.AsyncClient, engine: Engine, keyring: Keyring, last: str, count: int
) -> None:
    task_id = await a_submitted(client)
    Side(engine, keyring).applier.apply_due()
    assert len(await events_of(client, task_id, **{"Last-Event-ID": last})) == count


async def test_a_stream_too_many_is_turned_away(a_settings: SettingsBuilder) -> None:
    async with an_api(a_settings(max_waiters="1")) as client:
        task_id = await a_submitted(client)
        waiting = asyncio.create_task(client.get(f"/tasks/{task_id}", params={"wait": 60}))

        async def is_turned_away() -> httpx.Response | None:
            """A stream that is let in goes on for ever, and then it is the one who waits that is turned away."""
            nonlocal waiting
            if waiting.done():
                waiting = asyncio.create_task(client.get(f"/tasks/{task_id}", params={"wait": 60}))
            with contextlib.suppress(TimeoutError):
                response = await asyncio.wait_for(client.get(f"/tasks/{task_id}/events"), 1)
                return response if response.status_code == 429 else None

        response = await until(is_turned_away)
        assert response.headers["Retry-After"] == "2"
        assert response.json()["type"] == "urn:pointsman:problem:too_many_waiters"
        waiting.cancel()
