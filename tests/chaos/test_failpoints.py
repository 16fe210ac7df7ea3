"""The process dies at every failpoint, for every operation; afterwards everything has happened once."""

import contextlib
import re
import signal
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import pytest_asyncio
from sqlalchemy import Engine

from shared.domain.tasks import CHORES
from shared.encryption.keyring import Keyring, new_key
from shared.operations import OPERATIONS
from shared.runtime.failpoints import ACTIONS, POINTS, FailpointReached, arm, disarm
from tests.chaos import victims
from tests.conftest import ENCRYPTION_KEYS, MASTER_KEY, SettingsBuilder
from tests.service.api.serving import an_api
from tests.service.building import CANARY, Side, long_ago
from tests.support.changes import CHANGES, VERSIONS, Asking
from tests.support.receivers import Receiver
from worker.app import Workshop

Database = psycopg.Connection[Any]
Environment = dict[str, str]
NEW = CHANGES["model.create"].about("m", "first", CANARY)

APPLYING = [name for name in POINTS if name.startswith("apply.")]
WORKING = [name for name in POINTS if name.startswith(("apply.", "chore.", "deliver.", "sweep."))]
ATTEMPTING = ["attempt.before_commit", "attempt.after_commit"]
IN_CHUNKS = [name for name in POINTS if name.startswith("chore.")]
AT_THE_END = ["apply.before_head", "apply.before_commit", "apply.after_wake", "apply.after_ring"]
POSTPONING = ["attempt.before_postpone", "attempt.after_postpone"]
ACCEPTING = ["intake.before_insert", "intake.before_commit", "intake.after_commit", "intake.after_ring"]
PURGING = ["purge.before_commit", "purge.after_commit"]


def test_every_operation_and_every_failpoint_is_here() -> None:
    assert set(CHANGES) == set(OPERATIONS)
    assert {operation.object_type for operation in OPERATIONS.values()} == set(VERSIONS)
    assert {*WORKING, *ATTEMPTING, *POSTPONING, *ACCEPTING, *PURGING} == set(POINTS)


def test_every_failpoint_is_in_the_code_once() -> None:
    sources = [path.read_text() for folder in ("api", "worker") for path in Path(folder).rglob("*.py")]
    reached = re.findall(r'reach\("([a-z_.]+)"\)', "\n".join(sources))
    assert sorted(reached) == sorted(POINTS)


@pytest.fixture
def environment(database_url: str, redis_url: str) -> Environment:
    return {
        "POINTSMAN_DATABASE_URL": database_url,
        "POINTSMAN_REDIS_URL": redis_url,
        "POINTSMAN_MASTER_KEY": MASTER_KEY,
        "POINTSMAN_ENCRYPTION_KEYS": ENCRYPTION_KEYS,
        "POINTSMAN_WEBHOOK_ALLOW": "127.0.0.0/8",
    }


@pytest_asyncio.fixture
async def client(a_settings: SettingsBuilder) -> AsyncIterator[httpx.AsyncClient]:
    async with an_api(a_settings(webhook_allow="127.0.0.0/8")) as client:
        yield client


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def shop(environment: Environment) -> Iterator[Workshop]:
    """The worker that goes on after another one's death."""
    with victims.workshop(environment) as shop:
        yield shop


async def asked(client: httpx.AsyncClient, asking: Asking, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = await client.request(asking.method, asking.path, json=asking.body, headers=named)
    assert response.status_code == 202, response.text
    return response


async def prepared(client: httpx.AsyncClient, shop: Workshop, operations: Iterable[str]) -> dict[str, Asking]:
    """A request for each operation, once all is there that it needs, whoever drew the id of its object."""
    ids = {operation: f"of-{operation}" for operation in operations}
    for depth in range(max(len(CHANGES[operation].after) for operation in ids)):
        for operation in ids:
            if earlier := CHANGES[operation].after[depth : depth + 1]:
                answer = await asked(client, CHANGES[earlier[0]].about(ids[operation], "first", CANARY))
                ids[operation] = answer.json()["object_id"]
        shop.drain.drain()
    return {operation: CHANGES[operation].about(object_id, "second", CANARY) for operation, object_id in ids.items()}


async def all_asked(
    client: httpx.AsyncClient, shop: Workshop, receiver: Receiver, operations: Iterable[str]
) -> list[str]:
    """The ids of tasks that wait, one of each operation."""
    askings = await prepared(client, shop, operations)
    answers = [await asked(client, asking, Webhook_Url=receiver.url) for asking in askings.values()]
    return [answer.json()["task_id"] for answer in answers]


def killed(environment: Environment, failpoint: str, **more: Any) -> None:
    assert victims.run(victims.work, environment, failpoint=failpoint, **more) == -signal.SIGKILL


def make_due(database: Database) -> None:
    """Whatever the dead one had leased or put off."""
    for table, is_open in (("delivery", "status = 'pending'"), ("task", "finished_at IS NULL")):
        database.execute(f"UPDATE {table} SET next_attempt_at = now() WHERE {is_open}")  # pyright: ignore
    database.execute("UPDATE destination SET leased_until = NULL")


def recovered(shop: Workshop, database: Database) -> None:
    """Another worker, later."""
    make_due(database)
    victims.work_in(shop)


def check_done_once(database: Database, receiver: Receiver, task_id: str) -> None:
    ((status, operation, object_id, entries),) = database.execute(
        "SELECT status, operation, object_id, (SELECT count(*) FROM audit_entry a WHERE a.task_id = t.task_id"
        " AND (a.object_type, a.object_id) = (t.object_type, t.object_id)) FROM task t WHERE task_id = %s",
        [task_id],
    ).fetchall()
    assert (operation, status, entries) == (operation, "succeeded", 1)
    version = VERSIONS[OPERATIONS[operation].object_type]
    leaves = CHANGES[operation].leaves
    left = [] if version is None else database.execute(version, [object_id]).fetchall()  # pyright: ignore
    assert (operation, left) == (operation, [] if leaves is None else [(leaves,)])
    check_told_once(database, receiver, task_id, "task.succeeded")


def check_told_once(database: Database, receiver: Receiver, task_id: str, event_type: str) -> None:
    """Perhaps more than once, but always as the same message."""
    told = [one for one in receiver.requests if one.json["data"]["task_id"] == task_id]
    assert {one.json["type"] for one in told} == {event_type}
    events = database.execute("SELECT event_id FROM event WHERE task_id = %s AND type = %s", [task_id, event_type])
    assert {one.headers["webhook-id"] for one in told} == {event_id for (event_id,) in events.fetchall()}
    assert len({one.headers["webhook-id"] for one in told}) == 1
    untold = "SELECT count(*) FROM delivery WHERE destination = 'callback' AND status <> 'succeeded'"
    assert database.execute(untold).fetchone() == (0,)


@pytest.mark.parametrize("point", WORKING)
async def test_killed_while_applying_and_telling(
    point: str,
    client: httpx.AsyncClient,
    shop: Workshop,
    environment: Environment,
    database: Database,
    receiver: Receiver,
) -> None:
    """All of them are in the batch that breaks off."""
    task_ids = await all_asked(client, shop, receiver, OPERATIONS)
    killed(environment, f"{point}:kill")
    recovered(shop, database)
    for task_id in task_ids:
        check_done_once(database, receiver, task_id)


@pytest.mark.parametrize("point", [*ATTEMPTING, *POSTPONING])
async def test_killed_while_trying_with_care(
    point: str,
    client: httpx.AsyncClient,
    shop: Workshop,
    environment: Environment,
    database: Database,
    receiver: Receiver,
) -> None:
    """Each worker carries out what killed the one before, and dies of the next."""
    task_ids = await all_asked(client, shop, receiver, [name for name in OPERATIONS if name not in CHORES])
    for hit in [1] + [2] * (len(task_ids) - 1):
        how = f"apply.before_commit:raise:{hit},{point}:kill" if point in POSTPONING else f"{point}:kill:{hit}"
        killed(environment, how, one_by_one=True)
        make_due(database)
    recovered(shop, database)
    for task_id in task_ids:
        check_done_once(database, receiver, task_id)


@pytest.mark.parametrize("point", ACCEPTING)
async def test_killed_while_accepting(
    point: str,
    client: httpx.AsyncClient,
    shop: Workshop,
    environment: Environment,
    database: Database,
    receiver: Receiver,
) -> None:
    """All of them share a commit. The clients ask again with the same keys, and do not know whether they were heard."""
    askings = (await prepared(client, shop, OPERATIONS)).values()
    keyed = [(one, {"Idempotency-Key": str(number)}) for number, one in enumerate(askings)]
    told = {"Webhook-Url": receiver.url}
    requests = [(one.method, one.path, one.body, {**headers, **told}) for one, headers in keyed]
    assert victims.run(victims.submit, environment, requests, failpoint=f"{point}:kill") == -signal.SIGKILL
    was_committed = point not in ("intake.before_insert", "intake.before_commit")
    open_count = database.execute("SELECT count(*) FROM task WHERE finished_at IS NULL").fetchone()
    assert open_count == (len(keyed) * was_committed,)
    answers = [await asked(client, one, **{**headers, **told}) for one, headers in keyed]
    assert {"Idempotency-Replayed" in answer.headers for answer in answers} == {was_committed}
    recovered(shop, database)
    for answer in answers:
        check_done_once(database, receiver, answer.json()["task_id"])


@pytest.mark.parametrize("point", PURGING)
async def test_killed_while_purging(
    point: str, client: httpx.AsyncClient, shop: Workshop, environment: Environment, database: Database
) -> None:
    """What has ended goes, later if not now; what has not ended stays, however old it is."""
    task_id = (await asked(client, NEW)).json()["task_id"]
    await client.post(f"/tasks/{task_id}/cancel", headers={"Prefer": "wait=0"})
    shop.drain.drain()
    other = (await asked(client, CHANGES["model.create"].about("other", "second"))).json()["task_id"]
    database.execute(
        "UPDATE task SET submitted_at = submitted_at - interval '1 year', finished_at = finished_at - interval '1 year'"
    )
    code = victims.run(victims.purge, environment, failpoint=f"{point}:kill:2")
    assert code == -signal.SIGKILL
    assert victims.run(victims.purge, environment) == 0
    assert database.execute("SELECT task_id::text FROM task").fetchall() == [(other,)]
    shop.drain.drain()


@pytest.mark.parametrize("point", APPLYING)
async def test_killed_while_cancelling(
    point: str,
    client: httpx.AsyncClient,
    shop: Workshop,
    environment: Environment,
    database: Database,
    receiver: Receiver,
) -> None:
    task_id = (await asked(client, NEW, Webhook_Url=receiver.url)).json()["task_id"]
    await client.post(f"/tasks/{task_id}/cancel", headers={"Prefer": "wait=0"})
    killed(environment, f"{point}:kill")
    recovered(shop, database)
    found = database.execute(
        "SELECT status, action, (SELECT count(*) FROM model) FROM task LEFT JOIN audit_entry USING (task_id)"
    )
    assert found.fetchall() == [("cancelled", "cancelled", 0)]
    check_told_once(database, receiver, task_id, "task.cancelled")


@pytest.mark.parametrize("point", [*IN_CHUNKS, *AT_THE_END])
async def test_killed_in_the_middle_of_changing_the_key(
    point: str,
    client: httpx.AsyncClient,
    shop: Workshop,
    environment: Environment,
    database: Database,
    receiver: Receiver,
) -> None:
    """The API and the worker after the kill have a new key that writes."""
    await asked(client, NEW)
    shop.drain.drain()
    rotating = {**environment, "POINTSMAN_ENCRYPTION_KEYS": f"{new_key('new')},{ENCRYPTION_KEYS}"}
    headers = {"Webhook-Url": receiver.url}
    assert victims.run(victims.submit, rotating, [("POST", "/encryption/rotate", None, headers)]) == 0
    killed(rotating, f"{point}:kill")
    with victims.workshop(rotating) as other:
        recovered(other, database)
    ((task_id,),) = database.execute("SELECT task_id::text FROM task WHERE operation = 'encryption.rotate'").fetchall()
    check_done_once(database, receiver, task_id)
    sealed = database.execute("SELECT litellm_params->>'api_key' FROM model").fetchall()
    assert [value.split(":")[1] for (value,) in sealed] == ["new"]


async def test_a_task_that_kills_every_worker_ends_as_failed(
    client: httpx.AsyncClient, environment: Environment, database: Database
) -> None:
    task_id = (await asked(client, NEW)).json()["task_id"]
    limited = {**environment, "POINTSMAN_MAX_ATTEMPTS": "2"}
    for _ in range(2):
        killed(limited, "apply.before_commit:kill", one_by_one=True)
    other = (await asked(client, CHANGES["model.create"].about("other", "second"))).json()["task_id"]
    assert victims.run(victims.work, limited, one_by_one=True) == 0
    found = database.execute("SELECT task_id::text, status, attempt, problem->>'code' FROM task").fetchall()
    assert {row[0]: row[1:] for row in found} == {task_id: ("failed", 2, "poisoned"), other: ("succeeded", 1, None)}


@pytest.mark.parametrize("point", [*APPLYING[:-2], *ATTEMPTING, "attempt.before_postpone"])
async def test_an_error_at_any_place_is_tried_again(
    point: str, client: httpx.AsyncClient, engine: Engine, keyring: Keyring, database: Database
) -> None:
    """With ``raise``. The clock is behind, so that what is put off is due again at once."""
    side = Side(engine, keyring, clock=long_ago)
    await asked(client, NEW)
    if point == "attempt.before_postpone":
        database.execute("UPDATE task SET operation = 'model.nothing'")
    arm(point, "raise")
    for _ in range(3):
        with contextlib.suppress(FailpointReached):
            side.drain.one_by_one(side.attempts.due(10))
        database.execute("UPDATE task SET operation = 'model.create' WHERE finished_at IS NULL")
    disarm()
    side.drain.drain()
    assert database.execute("SELECT status FROM task").fetchall() == [("succeeded",)]


def test_an_unknown_failpoint_or_action_is_refused() -> None:
    with pytest.raises(ValueError, match="no failpoint"):
        arm("apply.sometime", "kill")
    with pytest.raises(KeyError):
        arm("apply.after_claim", "explode")
    disarm()
    assert set(ACTIONS) == {"kill", "freeze", "raise"}
