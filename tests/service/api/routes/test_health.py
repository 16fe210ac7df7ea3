from typing import Any

import httpx
import psycopg
import pytest
from sqlalchemy import Engine

from shared.encryption.keyring import Keyring
from tests.conftest import SettingsBuilder
from tests.service.api.serving import an_api
from tests.service.building import Side, a_model, a_task, accept
from tests.support.servers import PostgresServer, ValkeyServer

Database = psycopg.Connection[Any]


async def readiness(client: httpx.AsyncClient) -> tuple[int, str, dict[str, str]]:
    response = await client.get("/health/readiness")
    body = response.json()
    return response.status_code, body["status"], body["parts"]


@pytest.mark.parametrize("path", ["/health/liveliness", "/health/liveness"])
async def test_a_process_that_runs_is_alive(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)
    assert (response.status_code, response.json() if "json" in response.headers["content-type"] else response.text) == (
        200,
        "I'm alive!",
    )


async def test_with_all_parts_it_is_ready(client: httpx.AsyncClient) -> None:
    ready = {"database": "ready", "worker": "ready", "redis": "ready", "config_file": "ready"}
    assert await readiness(client) == (200, "healthy", ready)
    assert (await client.get("/health/readiness")).json()["db"] == "connected"


async def test_without_redis_it_is_degraded_and_still_ready(client: httpx.AsyncClient, valkey: ValkeyServer) -> None:
    valkey.stop()
    status, word, parts = await readiness(client)
    assert (status, word, parts["redis"]) == (200, "degraded", "unreachable")


async def test_without_its_database_it_is_not_ready_but_alive(
    client: httpx.AsyncClient, postgres: PostgresServer
) -> None:
    postgres.stop()
    status, word, parts = await readiness(client)
    assert (status, word, parts["database"]) == (503, "unhealthy", "unreachable")
    assert (await client.get("/health/liveliness")).status_code == 200
    postgres.restart()
    assert (await readiness(client))[0] == 200


async def test_due_work_without_progress_turns_it_red(
    a_settings: SettingsBuilder, engine: Engine, keyring: Keyring
) -> None:
    async with an_api(a_settings(stall_after="0.000001")) as client:
        assert (await readiness(client))[0] == 200
        await client.post("/model/new", json=a_model())
        status, word, parts = await readiness(client)
        assert (status, word, parts["worker"]) == (503, "unhealthy", "no progress on due work")
        Side(engine, keyring).drain.drain()
        assert (await readiness(client))[0] == 200


async def test_a_backlog_that_makes_progress_is_no_stall(
    client: httpx.AsyncClient, engine: Engine, keyring: Keyring, database: Database
) -> None:
    done, _ = accept(engine, a_task(keyring), a_task(keyring))
    database.execute("UPDATE task SET next_attempt_at = now() - interval '1 hour'")
    assert (await readiness(client))[0] == 503
    Side(engine, keyring).applier.apply_one(done)
    assert (await readiness(client))[0] == 200


@pytest.mark.leaves_open_tasks("one is put off for an hour")
async def test_work_that_is_put_off_is_no_stall(
    a_settings: SettingsBuilder, engine: Engine, keyring: Keyring, database: Database
) -> None:
    accept(engine, a_task(keyring))
    database.execute("UPDATE task SET next_attempt_at = now() + interval '1 hour'")
    async with an_api(a_settings(stall_after="0.000001")) as client:
        assert (await readiness(client))[0] == 200
