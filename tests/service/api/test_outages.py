"""Redis may be away without harm; PostgreSQL may be away without harm that lasts."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest

from shared.runtime.failpoints import POINTS, arm, disarm
from tests.service.api.serving import until
from tests.service.building import a_model
from tests.support.servers import PostgresServer, ValkeyServer

Database = psycopg.Connection[Any]


async def is_unavailable(client: httpx.AsyncClient, method: str, path: str, **more: Any) -> None:
    response = await client.request(method, path, **more)
    assert response.status_code == 503, response.text
    assert response.headers["Retry-After"] == "1"
    assert response.json()["type"] == "urn:pointsman:problem:unavailable"
    assert response.json()["error"]["type"] == "no_db_connection"


async def is_accepted_again(client: httpx.AsyncClient) -> None:
    async def accepted() -> bool:
        response = await client.post("/model/new", json=a_model())
        assert response.status_code in (202, 503), response.text
        return response.status_code == 202

    await until(accepted)


async def test_without_redis_changes_are_accepted(
    client: httpx.AsyncClient, valkey: ValkeyServer, database: Database
) -> None:
    valkey.stop()
    for _ in range(3):
        assert (await client.post("/model/new", json=a_model())).status_code == 202
    assert database.execute("SELECT count(*) FROM task").fetchall() == [(3,)]


async def test_with_a_redis_that_hangs_changes_are_accepted(client: httpx.AsyncClient, valkey: ValkeyServer) -> None:
    valkey.freeze()
    answers = await asyncio.gather(*(client.post("/model/new", json=a_model()) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {202}
    valkey.thaw()


async def test_without_redis_who_waits_learns_of_the_end_all_the_same(
    client: httpx.AsyncClient, valkey: ValkeyServer, database: Database
) -> None:
    valkey.stop()
    task_id = (await client.post("/model/new", json=a_model())).json()["task_id"]
    waiting = asyncio.create_task(client.get(f"/tasks/{task_id}", params={"wait": 30}))
    await client.get("/tasks")
    database.execute("UPDATE task SET status = 'cancelled', finished_at = now(), version = version + 1")
    assert (await waiting).json()["status"] == "cancelled"
    database.execute("DELETE FROM task")


async def test_without_postgres_nothing_is_accepted_and_afterwards_all_is_well(
    client: httpx.AsyncClient, postgres: PostgresServer
) -> None:
    assert (await client.post("/model/new", json=a_model())).status_code == 202
    postgres.stop()
    await is_unavailable(client, "POST", "/model/new", json=a_model())
    await is_unavailable(client, "GET", "/tasks")
    await is_unavailable(client, "GET", "/model/info")
    await is_unavailable(client, "GET", "/audit")
    postgres.restart()
    await is_accepted_again(client)


async def test_while_postgres_dies_and_comes_back_every_request_is_answered(
    client: httpx.AsyncClient, postgres: PostgresServer
) -> None:
    statuses: set[int] = set()
    is_over = asyncio.Event()

    async def submit_all_the_time() -> None:
        while not is_over.is_set():
            statuses.add((await client.post("/model/new", json=a_model())).status_code)

    submitting = [asyncio.create_task(submit_all_the_time()) for _ in range(4)]
    postgres.kill()
    await is_unavailable(client, "GET", "/tasks")
    postgres.restart()
    await is_accepted_again(client)
    is_over.set()
    await asyncio.gather(*submitting)
    assert statuses <= {202, 503}


@pytest.fixture
def no_connections(database: Database, postgres: PostgresServer) -> Iterator[None]:
    """PostgreSQL runs, but turns everybody away who connects."""
    database.execute("ALTER DATABASE a_test CONNECTION LIMIT 0")
    yield
    database.execute("ALTER DATABASE a_test CONNECTION LIMIT -1")


async def test_when_postgres_turns_connections_away_every_request_is_answered(
    client: httpx.AsyncClient, no_connections: None
) -> None:
    await is_unavailable(client, "POST", "/model/new", json=a_model())
    await is_unavailable(client, "GET", "/tasks")
    readiness = await client.get("/health/readiness")
    assert readiness.status_code == 503
    assert readiness.json()["parts"]["database"] == "unreachable"


@pytest.fixture
def refusing(database: Database) -> Iterator[None]:
    """The database refuses tasks for the object ``bad``."""
    database.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN IF NEW.object_id = 'bad' THEN RAISE 'broken on purpose'; END IF; RETURN NEW; END $$;"
        "CREATE TRIGGER refuse BEFORE INSERT ON task FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    yield
    database.execute("DROP FUNCTION IF EXISTS refuse CASCADE")


async def test_one_row_that_the_database_refuses_does_not_take_its_group_with_it(
    client: httpx.AsyncClient, database: Database, refusing: None
) -> None:
    ids = [f"good-{i}" for i in range(20)]
    bodies = [a_model(info={"id": model_id}) for model_id in [*ids[:10], "bad", *ids[10:]]]
    answers = await asyncio.gather(*(client.post("/model/new", json=body) for body in bodies))
    by_id = {body["model_info"]["id"]: answer for body, answer in zip(bodies, answers, strict=True)}
    failed = by_id.pop("bad")
    assert {answer.status_code for answer in by_id.values()} == {202}
    assert failed.status_code == 500
    assert failed.json()["request_id"]
    assert "on purpose" not in failed.text
    assert sorted(row[0] for row in database.execute("SELECT object_id FROM task")) == sorted(ids)


@pytest.mark.parametrize("point", [name for name in POINTS if name.startswith("intake.")])
async def test_whatever_breaks_accepting_off_everybody_is_answered(client: httpx.AsyncClient, point: str) -> None:
    """Also those who came meanwhile, and whoever comes next."""
    arm(point, "raise")
    bodies = [a_model(info={"id": f"m-{number}"}) for number in range(5)]
    answers = await asyncio.gather(*(client.post("/model/new", json=body) for body in bodies))
    disarm()
    assert {answer.status_code for answer in answers} <= {202, 500}
    assert 500 in {answer.status_code for answer in answers}
    again = await asyncio.gather(*(client.post("/model/new", json=body) for body in bodies))
    assert {answer.status_code for answer in again} == {202}


async def test_submissions_of_one_group_are_accepted_in_the_order_in_which_they_came(
    client: httpx.AsyncClient, database: Database
) -> None:
    ids = [f"m-{i:03}" for i in range(100)]
    await asyncio.gather(*(client.post("/model/new", json=a_model(info={"id": model_id})) for model_id in ids))
    assert [row[0] for row in database.execute("SELECT object_id FROM task ORDER BY seq")] == ids


async def test_a_client_that_hangs_up_leaves_the_others_alone(client: httpx.AsyncClient) -> None:
    submitting = [asyncio.create_task(client.post("/model/new", json=a_model())) for _ in range(10)]
    await asyncio.sleep(0)
    submitting[3].cancel()
    answers = await asyncio.gather(*submitting, return_exceptions=True)
    assert {answer.status_code for answer in answers if isinstance(answer, httpx.Response)} == {202}
    assert sum(isinstance(answer, httpx.Response) for answer in answers) == 9
