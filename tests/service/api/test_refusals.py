"""A change that is refused at once has one audit entry, committed before the answer; nothing else waits for it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import psycopg
import pytest
import pytest_asyncio
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from api.refusals import RefusalLog
from shared.audit.entries import AuditEntry
from shared.encryption.keyring import Keyring
from shared.runtime.clock import new_id, now
from shared.store.engines import async_engine
from tests.conftest import SettingsBuilder
from tests.service.api.serving import an_api, until
from tests.service.building import CANARY, Side, a_model, a_task, accept

Database = psycopg.Connection[Any]


@pytest.fixture
async def stored(client: httpx.AsyncClient, engine: Engine, keyring: Keyring) -> None:
    """A model that uses a credential."""
    await client.post("/credentials", json={"credential_name": "c-1", "credential_values": {"api_key": CANARY}})
    await client.post("/model/new", json=a_model(info={"id": "m-1"}, litellm_credential_name="c-1"))
    Side(engine, keyring).drain.drain()


def entries(database: Database) -> list[tuple[Any, ...]]:
    return database.execute(
        "SELECT operation, object_type, object_id, problem ->> 'code' FROM audit_entry WHERE action = 'refused'"
        " ORDER BY position"
    ).fetchall()


REFUSED: list[tuple[str, str, Any, dict[str, str], tuple[str, str, str, str]]] = [
    ("POST", "/model/new", a_model(info={"id": "m-1"}), {}, ("model.create", "model", "m-1", "model_exists")),
    ("POST", "/model/new", {"model_name": "n"}, {}, ("model.create", "model", "", "invalid_request")),
    ("POST", "/model/delete", {"id": "m-2"}, {}, ("model.delete", "model", "m-2", "model_not_found")),
    (
        "PATCH",
        "/model/m-1/update",
        {"model_name": "n"},
        {"If-Match": '"other"'},
        ("model.update", "model", "m-1", "precondition_failed"),
    ),
    (
        "PATCH",
        "/model/m-1/update",
        {"litellm_params": {"rpm": "many"}},
        {},
        ("model.update", "model", "m-1", "invalid_request"),
    ),
    (
        "POST",
        "/model/new",
        a_model(info={"id": "m-3"}),
        {"Webhook-Url": "http://10.0.0.1/"},
        ("model.create", "model", "m-3", "webhook_refused"),
    ),
    ("DELETE", "/credentials/none", None, {}, ("credential.delete", "credential", "none", "credential_not_found")),
    (
        "POST",
        "/tasks/00000000-0000-7000-8000-000000000000/retry",
        None,
        {},
        ("task.retry", "task", "00000000-0000-7000-8000-000000000000", "task_not_found"),
    ),
]


@pytest.mark.parametrize(("method", "path", "body", "headers", "entry"), REFUSED)
async def test_a_refused_change_has_one_entry_when_it_is_answered(
    client: httpx.AsyncClient,
    stored: None,
    database: Database,
    method: str,
    path: str,
    body: Any,
    headers: dict[str, str],
    entry: tuple[str, ...],
) -> None:
    response = await client.request(method, path, json=body, headers=headers)
    assert 400 <= response.status_code < 500, response.text
    assert entries(database) == [entry]


async def test_the_entry_says_who_asked_and_from_where(client: httpx.AsyncClient) -> None:
    headers = {"X-Request-ID": "r-1", "litellm-changed-by": "ann"}
    refused = await client.post("/model/delete", json={"id": "m-2"}, headers=headers)
    (entry,) = (await client.get("/audit", params={"action": "refused"})).json()["audit_logs"]
    assert (entry["actor"], entry["changed_by"]) == ("default_user_id", "ann")
    assert (entry["changed_by_api_key"], entry["source_address"]) == ("litellm_proxy_master_key", "203.0.113.9")
    assert (entry["request_id"], entry["task_id"]) == ("r-1", None)
    assert entry["problem"]["message"] == refused.json()["error"]["message"]
    assert (entry["before_value"], entry["updated_values"]) == (None, None)


async def test_what_changes_nothing_or_comes_from_nobody_has_none(
    client: httpx.AsyncClient, database: Database
) -> None:
    assert (await client.get("/model/info", params={"litellm_model_id": "none"})).status_code == 400
    assert (await client.get("/audit/none")).status_code == 404
    assert (
        await client.post("/model/new", json=a_model(), headers={"Authorization": "Bearer sk-x"})
    ).status_code == 401
    assert (await client.post("/model/new", content=b"x", headers={"Content-Type": "text/html"})).status_code == 415
    assert entries(database) == []


async def test_a_key_that_was_sent_as_an_id_is_not_written_down(client: httpx.AsyncClient, database: Database) -> None:
    for name in (CANARY, "sk-1234567890abcdef1234567890abcdef"):
        await client.delete(f"/credentials/{name}")
    assert [object_id.partition(":")[0] for _, _, object_id, _ in entries(database)] == ["fp", "fp"]


@pytest.mark.parametrize("path", ["/model/a%00b/update", "/model/%ed%a0%80/update", f"/model/{'x' * 3000}/update"])
async def test_a_path_that_cannot_be_stored_is_recorded_all_the_same(
    client: httpx.AsyncClient, database: Database, path: str
) -> None:
    assert (await client.patch(path, json={"model_name": "n"})).status_code in (404, 422)
    assert [operation for operation, *_ in entries(database)] == ["model.update"]


async def test_each_of_many_that_are_tried_again_has_its_own(
    client: httpx.AsyncClient, engine: Engine, keyring: Keyring, database: Database
) -> None:
    for model_id in ("m-1", "m-2"):
        accept(engine, a_task(keyring, model_id), a_task(keyring, model_id))
    Side(engine, keyring).drain.drain()
    assert len(entries(database)) == 2
    retried = (await client.post("/tasks/retry", json={"operation": "model.create"})).json()
    assert len(retried["refused"]) == 2
    assert sorted(entries(database)[2:]) == [
        ("model.create", "model", "m-1", "model_exists"),
        ("model.create", "model", "m-2", "model_exists"),
    ]


async def test_a_flood_of_refusals_is_recorded_and_changes_are_accepted_meanwhile(
    client: httpx.AsyncClient, engine: Engine, keyring: Keyring, database: Database
) -> None:
    refused = [client.post("/model/delete", json={"id": f"none-{number}"}) for number in range(300)]
    accepted = [client.post("/model/new", json=a_model()) for _ in range(30)]
    answers = await asyncio.gather(*refused, *accepted)
    assert [answer.status_code for answer in answers].count(202) == 30
    Side(engine, keyring).drain.drain()
    assert sorted(entry[2] for entry in entries(database)) == sorted(f"none-{number}" for number in range(300))


async def test_whoever_holds_the_head_holds_up_neither_answer_nor_acceptance(
    client: httpx.AsyncClient, database: Database
) -> None:
    with database.transaction():
        database.execute("SELECT * FROM head FOR UPDATE")
        assert (await client.post("/model/delete", json={"id": "none"})).status_code == 404
        assert (await client.post("/model/new", json=a_model())).status_code == 202
        assert entries(database) == []

    async def recorded() -> bool:
        return len(entries(database)) == 1

    await until(recorded)


@pytest_asyncio.fixture
async def refusals(database_url: str, keyring: Keyring) -> AsyncIterator[RefusalLog]:
    engine = async_engine(database_url)
    yield RefusalLog(engine, keyring)
    await engine.dispose()


def an_entry(**fields: Any) -> AuditEntry:
    made = {
        "position": 0,
        "entry_id": new_id(),
        "recorded_at": now(),
        "actor": "u",
        "actor_key": "k",
        "operation": "model.create",
        "action": "refused",
        "object_type": "model",
        "object_id": "m",
    }
    return AuditEntry(**made | fields)


async def test_a_commit_that_nobody_heard_of_is_not_repeated(refusals: RefusalLog, database: Database) -> None:
    first, second = an_entry(object_id="m-1"), an_entry(object_id="m-2")
    await refusals._commit([first], is_repeated=False)
    await refusals._commit([first, second], is_repeated=True)
    await refusals._commit([first, second], is_repeated=True)
    assert [entry[2] for entry in entries(database)] == ["m-1", "m-2"]


async def test_one_that_cannot_be_stored_does_not_take_others_with_it(
    refusals: RefusalLog, database: Database, logged: list[Any]
) -> None:
    loop = asyncio.get_running_loop()
    group = [(an_entry(object_id=object_id), loop.create_future()) for object_id in ("m-1", "a\0b", "m-2")]
    await refusals._write(group, is_repeated=False)
    assert all(written.done() for _, written in group)
    assert [entry[2] for entry in entries(database)] == ["m-1", "m-2"]
    assert [entry["event"] for entry in logged if entry["log_level"] == "error"] == ["refusal.not_recorded"]


async def test_what_the_database_did_not_take_is_written_when_it_is_back(
    refusals: RefusalLog, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, failures = refusals._commit, [OperationalError("", {}, OSError())]

    async def flaky(entries: list[AuditEntry], *, is_repeated: bool) -> None:
        await commit(entries, is_repeated=is_repeated)
        if failures:
            raise failures.pop()

    monkeypatch.setattr(refusals, "_commit", flaky)
    written = asyncio.get_running_loop().create_future()
    await refusals._write([(an_entry(), written)], is_repeated=False)
    assert written.done()
    assert len(entries(database)) == 1


async def test_what_is_left_is_written_at_the_end(a_settings: SettingsBuilder, database: Database) -> None:
    async with an_api(a_settings()) as client:
        with database.transaction():
            database.execute("SELECT * FROM head FOR UPDATE")
            await client.post("/model/delete", json={"id": "none"})
    assert len(entries(database)) == 1
