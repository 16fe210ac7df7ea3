"""Lines that need each other: credentials and the models that name them, submitted without waiting for anything."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psycopg
from sqlalchemy import Engine

from shared.encryption.keyring import Keyring
from tests.service.api.serving import until
from tests.service.building import CANARY, Side, a_model

Database = psycopg.Connection[Any]


async def accepted(client: httpx.AsyncClient, method: str, path: str, body: Any = None) -> str:
    response = await client.request(method, path, json=body)
    assert response.status_code == 202, response.text
    return response.json()["task_id"]


async def credential(client: httpx.AsyncClient, name: str) -> str:
    values = {"api_key": CANARY}
    return await accepted(client, "POST", "/credentials", {"credential_name": name, "credential_values": values})


async def no_credential(client: httpx.AsyncClient, name: str) -> str:
    return await accepted(client, "DELETE", f"/credentials/{name}")


async def user(client: httpx.AsyncClient, model_id: str, name: str) -> str:
    return await accepted(client, "POST", "/model/new", a_model(info={"id": model_id}, litellm_credential_name=name))


async def no_user(client: httpx.AsyncClient, model_id: str) -> str:
    return await accepted(client, "POST", "/model/delete", {"id": model_id})


def statuses(database: Database) -> set[str]:
    return {status for (status,) in database.execute("SELECT DISTINCT status FROM task").fetchall()}


async def drained_together(engine: Engine, keyring: Keyring, database: Database, workers: int = 2) -> None:
    """Several workers at once, again and again until nothing is open: a batch of one each, to make the races many."""
    sides = [Side(engine, keyring, batch_size=1 + worker) for worker in range(workers)]
    with ThreadPoolExecutor(workers) as pool:

        def drain() -> None:
            for done in [pool.submit(side.drain.drain) for side in sides]:
                done.result()

        while database.execute("SELECT 1 FROM task WHERE finished_at IS NULL").fetchone():
            await asyncio.to_thread(drain)


async def test_everything_about_credentials_succeeds_in_the_order_of_acceptance(
    client: httpx.AsyncClient, engine: Engine, keyring: Keyring, database: Database
) -> None:
    for round_ in range(12):
        name, model_id = f"c-{round_ % 3}", f"m-{round_ % 3}"
        await credential(client, name)
        await user(client, model_id, name)
        await no_user(client, model_id)
        await no_credential(client, name)
    await drained_together(engine, keyring, database, workers=3)
    assert statuses(database) == {"succeeded"}


async def test_a_batch_does_not_reach_past_what_waits_in_another_line(
    client: httpx.AsyncClient, side: Side, database: Database
) -> None:
    """The deletion stands right behind the creation in its own line, and behind the model in the order of things."""
    await credential(client, "c")
    await user(client, "m", "c")
    await no_user(client, "m")
    await no_credential(client, "c")
    side.drain.drain()
    assert statuses(database) == {"succeeded"}


async def test_a_credential_is_kept_until_its_last_user_is_gone(
    client: httpx.AsyncClient, side: Side, engine: Engine, keyring: Keyring, database: Database
) -> None:
    """One worker is about to commit the deletion of the user when another looks at that of the credential."""
    await credential(client, "c")
    await user(client, "m", "c")
    side.drain.drain()
    await no_user(client, "m")
    deletion = await no_credential(client, "c")
    with engine.connect() as held:
        held.exec_driver_sql("SELECT 1 FROM head FOR UPDATE")
        deleting = asyncio.create_task(asyncio.to_thread(side.applier.apply_due))
        await until(lambda: _is_waiting(database))
        assert Side(engine, keyring).applier.apply_due().task_ids == []
        held.rollback()
        assert deletion not in (await deleting).task_ids
    side.drain.drain()
    assert statuses(database) == {"succeeded"}


async def test_a_credential_waits_for_a_rollback_to_a_version_that_used_it(
    client: httpx.AsyncClient, side: Side, engine: Engine, database: Database
) -> None:
    await credential(client, "c")
    await user(client, "m", "c")
    away = {"litellm_params": {"litellm_credential_name": None}}
    await accepted(client, "PATCH", "/model/m/update", away)
    side.drain.drain()
    rollback = await accepted(client, "POST", "/model/m/rollback", {"version": 1})
    deletion = await no_credential(client, "c")
    with engine.connect() as other_worker:
        other_worker.exec_driver_sql(f"SELECT 1 FROM task WHERE task_id = '{rollback}' FOR UPDATE")
        assert side.applier.apply_due().task_ids == []
    side.drain.drain()
    found = database.execute(
        "SELECT task_id::text, status, problem->>'code' FROM task WHERE task_id = ANY(%s)", [[rollback, deletion]]
    )
    assert {row[0]: row[1:] for row in found.fetchall()} == {
        rollback: ("succeeded", None),
        deletion: ("failed", "credential_in_use"),
    }


async def test_other_lines_do_not_wait(client: httpx.AsyncClient, side: Side, engine: Engine) -> None:
    await credential(client, "c")
    await user(client, "m", "c")
    side.drain.drain()
    waiting = await no_user(client, "m")
    with engine.connect() as other_worker:
        other_worker.exec_driver_sql(f"SELECT 1 FROM task WHERE task_id = '{waiting}' FOR UPDATE")
        other = await user(client, "other", "c")
        assert side.applier.apply_due().task_ids == [other]
    side.drain.drain()


async def _is_waiting(database: Database) -> bool:
    found = database.execute(
        "SELECT 1 FROM pg_stat_activity WHERE application_name = 'pointsman-worker' AND wait_event_type = 'Lock'"
    )
    return found.fetchone() is not None
