"""The process dies at every failpoint, for every operation; afterwards everything has happened once."""

import contextlib
import re
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
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
from tests.service.building import CANARY, Side, a_model, long_ago
from tests.support.receivers import Receiver

Database = psycopg.Connection[Any]
Environment = dict[str, str]


class Change(msgspec.Struct, frozen=True):
    """A request, what has to be there before, and the version of the object that it leaves."""

    method: str
    path: str
    body: Any = None
    before: tuple["Change", ...] = ()
    leaves: int | None = None


NEW = Change("POST", "/model/new", a_model(info={"id": "m"}), leaves=1)
RENAME = Change("PATCH", "/model/m/update", {"model_name": "second"}, (NEW,), leaves=2)
BLOCK = Change("POST", "/model/block", {"model_id": "m"}, (NEW,), leaves=2)
NEW_CREDENTIAL = Change(
    "POST", "/credentials", {"credential_name": "c", "credential_values": {"api_key": CANARY}}, leaves=1
)
CHANGES = {
    "model.create": NEW,
    "model.update": RENAME,
    "model.block": BLOCK,
    "model.unblock": Change("POST", "/model/unblock", {"model_id": "m"}, (NEW, BLOCK), leaves=3),
    "model.rollback": Change("POST", "/model/m/rollback", {"version": 1}, (NEW, RENAME), leaves=3),
    "model.delete": Change("POST", "/model/delete", {"id": "m"}, (NEW,)),
    "credential.create": NEW_CREDENTIAL,
    "credential.update": Change(
        "PATCH", "/credentials/c", {"credential_info": {"region": "eu"}}, (NEW_CREDENTIAL,), leaves=2
    ),
    "credential.delete": Change("DELETE", "/credentials/c", None, (NEW_CREDENTIAL,)),
}
APPLYING = [name for name in POINTS if name.startswith("apply.")]
ATTEMPTING = ["attempt.before_commit", "attempt.after_commit"]
IN_CHUNKS = [name for name in POINTS if name.startswith("chore.")]
DELIVERING = [name for name in POINTS if name.startswith("deliver.")]
SWEEPING = [name for name in POINTS if name.startswith("sweep.")]
ACCEPTING = ["intake.before_insert", "intake.before_commit", "intake.after_commit", "intake.after_ring"]


def test_every_operation_and_every_failpoint_is_here() -> None:
    assert {*CHANGES, "encryption.rotate"} == set(OPERATIONS)
    assert CHORES.keys() == {"encryption.rotate"}
    points = {*APPLYING, *ATTEMPTING, "attempt.before_postpone", *IN_CHUNKS, *DELIVERING, *SWEEPING, *ACCEPTING}
    assert points == set(POINTS)


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
def side(engine: Engine, keyring: Keyring) -> Side:
    return Side(engine, keyring)


async def asked(client: httpx.AsyncClient, change: Change, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = await client.request(change.method, change.path, json=change.body, headers=named)
    assert response.status_code == 202, response.text
    return response


async def prepared(client: httpx.AsyncClient, side: Side, change: Change) -> None:
    for earlier in change.before:
        await asked(client, earlier)
        side.drain.drain()


def killed(environment: Environment, point: str, **more: Any) -> None:
    assert victims.run(victims.work, environment, failpoint=f"{point}:kill", **more) == -signal.SIGKILL


def recovered(environment: Environment, database: Database, **more: Any) -> None:
    """Another worker, after whatever the dead one had leased has run out."""
    database.execute("UPDATE delivery SET next_attempt_at = now() WHERE status = 'pending'")
    assert victims.run(victims.work, environment, **more) == 0


def check_done_once(database: Database, receiver: Receiver, task_id: str, change: Change) -> None:
    ((status, type_, object_id, entries),) = database.execute(
        "SELECT status, object_type, object_id, (SELECT count(*) FROM audit_entry WHERE task_id = t.task_id)"
        " FROM task t WHERE task_id = %s",
        [task_id],
    ).fetchall()
    assert (status, entries) == ("succeeded", 1)
    key = {"model": "model_id", "credential": "credential_name"}[type_]
    left = database.execute(f"SELECT version FROM {type_} WHERE {key} = %s", [object_id]).fetchall()  # pyright: ignore
    assert left == ([] if change.leaves is None else [(change.leaves,)])
    check_told_once(database, receiver, task_id, "task.succeeded")


def check_told_once(database: Database, receiver: Receiver, task_id: str, event_type: str) -> None:
    """Perhaps more than once, but always as the same message."""
    told = [one for one in receiver.requests if one.json["data"]["task_id"] == task_id]
    assert {one.json["type"] for one in told} == {event_type}
    events = database.execute("SELECT event_id FROM event WHERE task_id = %s AND type = %s", [task_id, event_type])
    assert {one.headers["webhook-id"] for one in told} == {event_id for (event_id,) in events.fetchall()}
    assert len({one.headers["webhook-id"] for one in told}) == 1
    assert database.execute("SELECT count(*) FROM delivery WHERE status <> 'succeeded'").fetchone() == (0,)


@pytest.mark.parametrize("point", APPLYING)
@pytest.mark.parametrize("operation", CHANGES)
async def test_killed_while_applying(
    operation: str,
    point: str,
    client: httpx.AsyncClient,
    side: Side,
    environment: Environment,
    database: Database,
    receiver: Receiver,
) -> None:
    change = CHANGES[operation]
    await prepared(client, side, change)
    task_id = (await asked(client, change, Webhook_Url=receiver.url)).json()["task_id"]
    killed(environment, point)
    recovered(environment, database)
    check_done_once(database, receiver, task_id, change)


@pytest.mark.parametrize("point", ATTEMPTING)
@pytest.mark.parametrize("operation", CHANGES)
async def test_killed_while_trying_with_care(
    operation: str,
    point: str,
    client: httpx.AsyncClient,
    side: Side,
    environment: Environment,
    database: Database,
    receiver: Receiver,
) -> None:
    change = CHANGES[operation]
    await prepared(client, side, change)
    task_id = (await asked(client, change, Webhook_Url=receiver.url)).json()["task_id"]
    killed(environment, point, one_by_one=True)
    recovered(environment, database, one_by_one=True)
    check_done_once(database, receiver, task_id, change)


@pytest.mark.parametrize("point", [*DELIVERING, *SWEEPING])
async def test_killed_while_telling(
    point: str, client: httpx.AsyncClient, environment: Environment, database: Database, receiver: Receiver
) -> None:
    task_id = (await asked(client, NEW, Webhook_Url=receiver.url)).json()["task_id"]
    killed(environment, point)
    recovered(environment, database)
    check_done_once(database, receiver, task_id, NEW)


@pytest.mark.parametrize("point", ACCEPTING)
@pytest.mark.parametrize("operation", CHANGES)
async def test_killed_while_accepting(
    operation: str,
    point: str,
    client: httpx.AsyncClient,
    side: Side,
    environment: Environment,
    database: Database,
    receiver: Receiver,
) -> None:
    """The client asks again with the same key, and does not know whether it was heard the first time."""
    change = CHANGES[operation]
    await prepared(client, side, change)
    headers = {"Idempotency-Key": "once", "Webhook-Url": receiver.url}
    request = (change.method, change.path, change.body, headers)
    code = victims.run(victims.submit, environment, *request, failpoint=f"{point}:kill")
    assert code == -signal.SIGKILL
    before = database.execute("SELECT count(*) FROM task WHERE finished_at IS NULL").fetchone()
    assert before == (0 if point in ("intake.before_insert", "intake.before_commit") else 1,)
    answer = await asked(client, change, Idempotency_Key="once", Webhook_Url=receiver.url)
    assert ("Idempotency-Replayed" in answer.headers) == (before == (1,))
    recovered(environment, database)
    check_done_once(database, receiver, answer.json()["task_id"], change)


@pytest.mark.parametrize("point", APPLYING)
async def test_killed_while_cancelling(
    point: str, client: httpx.AsyncClient, environment: Environment, database: Database, receiver: Receiver
) -> None:
    task_id = (await asked(client, NEW, Webhook_Url=receiver.url)).json()["task_id"]
    await client.post(f"/tasks/{task_id}/cancel", headers={"Prefer": "wait=0"})
    killed(environment, point)
    recovered(environment, database)
    found = database.execute(
        "SELECT status, action, (SELECT count(*) FROM model) FROM task LEFT JOIN audit_entry USING (task_id)"
    )
    assert found.fetchall() == [("cancelled", "cancelled", 0)]
    check_told_once(database, receiver, task_id, "task.cancelled")


@pytest.mark.parametrize("point", [*IN_CHUNKS, "apply.before_head", "apply.before_commit", "apply.after_wake"])
async def test_killed_in_the_middle_of_changing_the_key(
    point: str,
    client: httpx.AsyncClient,
    side: Side,
    environment: Environment,
    database: Database,
    receiver: Receiver,
) -> None:
    """The API and the worker after the kill have a new key that writes."""
    await prepared(client, side, RENAME)
    rotating = {**environment, "POINTSMAN_ENCRYPTION_KEYS": f"{new_key('new')},{ENCRYPTION_KEYS}"}
    headers = {"Webhook-Url": receiver.url}
    assert victims.run(victims.submit, rotating, "POST", "/encryption/rotate", None, headers) == 0
    killed(rotating, point)
    recovered(rotating, database)
    ((task_id, status, entries),) = database.execute(
        "SELECT task_id::text, status, (SELECT count(*) FROM audit_entry WHERE task_id = t.task_id)"
        " FROM task t WHERE operation = 'encryption.rotate'"
    ).fetchall()
    assert (status, entries) == ("succeeded", 1)
    sealed = database.execute("SELECT litellm_params->>'api_key' FROM model").fetchall()
    assert [value.split(":")[1] for (value,) in sealed] == ["new"]
    check_told_once(database, receiver, task_id, "task.succeeded")


async def test_a_task_that_kills_every_worker_ends_as_failed(
    client: httpx.AsyncClient, environment: Environment, database: Database
) -> None:
    task_id = (await asked(client, NEW)).json()["task_id"]
    limited = {**environment, "POINTSMAN_MAX_ATTEMPTS": "2"}
    for _ in range(2):
        killed(limited, "apply.before_commit", one_by_one=True)
    other = (await asked(client, Change("POST", "/model/new", a_model()))).json()["task_id"]
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
    assert set(ACTIONS) == {"kill", "freeze", "raise"}
