"""Re-keying against the real database: what changes, what does not, what happens meanwhile and after a kill."""

import threading
from typing import Any

import msgspec
import psycopg
import pytest
from sqlalchemy import Engine

from shared.domain.credentials import CreateCredential
from shared.domain.encryption import OBJECT_ID, OBJECT_TYPE, RotateKeys
from shared.domain.models import UpdateModel
from shared.domain.rights import MASTER, Principal
from shared.domain.webhooks import CreateWebhook, RotateSecret
from shared.encryption.keyring import Keyring, new_key
from shared.encryption.sealing import Binding, open_document, seal_document, seal_text
from shared.runtime.clock import new_id, now
from shared.store import outbox, tasks
from shared.store.tasks import Canceller, NewTask, Origin
from tests.service.building import CANARY, Side, a_task, accept, store_key, store_user
from worker.chores.rekey import Rekeying
from worker.chores.runner import Chores, _presence
from worker.sweep import Sweeper

OLD = new_key("old")
BOTH = Keyring.parse(f"{new_key('new')},{OLD}")

_CIPHERTEXT = {
    "model": ("litellm_params",),
    "model_revision": ("state",),
    "task": ("command", "result", "webhook_url"),
    "credential": ("credential_values",),
    "webhook_endpoint": ("url", "secret", "previous_secret"),
    "signing_secret": ("secret",),
}


@pytest.fixture(scope="session")
def keyring() -> Keyring:
    """What everything is sealed with before the rotation."""
    return Keyring.parse(OLD)


@pytest.fixture
def side(engine: Engine) -> Side:
    """A worker with the new key first."""
    return Side(engine, BOTH)


@pytest.fixture
def stored(engine: Engine, keyring: Keyring) -> list[str]:
    """Twelve models, one of them refused, with every kind of sealed value."""
    rows = [a_task(keyring, webhook_url="https://example.com/hook", nested={"deep": ["x"]}) for _ in range(12)]
    accept(engine, *rows, a_task(keyring, model_id=rows[0].object_id))
    accept(engine, a_credential_task(keyring), a_credential_task(keyring), *webhook_tasks(keyring))
    with engine.begin() as connection:
        sealed = seal_text(keyring, Binding("signing_secret", "u1"), "whsec_" + CANARY, "secret")
        connection.execute(outbox.add_signing_secret("u1", sealed))
    Side(engine, keyring).drain.drain()
    return [row.object_id for row in rows]


def a_rotation(keyring: Keyring = BOTH, principal: Principal = MASTER) -> NewTask:
    return NewTask(
        task_id=new_id(),
        operation="encryption.rotate",
        object_type=OBJECT_TYPE,
        object_id=OBJECT_ID,
        command=msgspec.Raw(msgspec.json.encode(RotateKeys(key_id=keyring.writing_key_id))),
        digest="",
        principal=principal,
        submitted_by=principal.user_id,
        origin=Origin(request_id=new_id()),
        idempotency_key=None,
        webhook_url=None,
        submitted_at=now(),
    )


def a_credential_task(keyring: Keyring) -> NewTask:
    """Adds the credential ``shared``; the second time it is refused, and keeps its command."""
    values = seal_document(keyring, Binding("credential", "shared"), {"api_key": CANARY}, "credential_values")
    command = CreateCredential(credential_name="shared", credential_values=values, credential_info={})
    return msgspec.structs.replace(
        a_task(keyring, "shared", operation="credential.create"),
        object_type="credential",
        command=msgspec.Raw(msgspec.json.encode(command)),
    )


def webhook_tasks(keyring: Keyring) -> list[NewTask]:
    """An endpoint whose secret was rotated; and a rotation that is refused, and keeps its command."""

    def sealed(webhook_id: str, path: str) -> str:
        return seal_text(keyring, Binding("webhook", webhook_id), CANARY, path)

    url, secret = sealed("hook", "url"), sealed("hook", "secret")
    commands = (
        CreateWebhook(webhook_id="hook", url=url, event_types=("team.*",), secret=secret),
        RotateSecret(webhook_id="hook", secret=sealed("hook", "secret")),
        RotateSecret(webhook_id="gone", secret=sealed("gone", "secret")),
    )
    return [
        msgspec.structs.replace(
            a_task(keyring, command.webhook_id, operation=str(command.__struct_config__.tag)),
            object_type="webhook",
            command=msgspec.Raw(msgspec.json.encode(command)),
        )
        for command in commands
    ]


def chores(engine: Engine, side: Side, keyring: Keyring = BOTH, chunk_rows: int = 3) -> Chores:
    return Chores(
        engine,
        side.applier,
        {"encryption.rotate": Rekeying(keyring, chunk_rows)},
        max_attempts=3,
        clock=now,
        jitter=lambda: 0.5,
        told=side.told.append,
        meanwhile=side.drain.drain,
    )


def one(database: psycopg.Connection[Any], query: str, *values: Any) -> Any:
    row = database.execute(query, values).fetchone()  # pyright: ignore
    return None if row is None else row[0]


def result_of(database: psycopg.Connection[Any], task_id: str) -> dict[str, Any]:
    assert one(database, "SELECT status FROM task WHERE task_id = %s", task_id) == "succeeded"
    return one(database, "SELECT result FROM task WHERE task_id = %s", task_id)


def plain_columns(database: psycopg.Connection[Any], but: str) -> dict[str, list[str]]:
    """Everything but the ciphertext and the rotation's own row."""
    return {
        table: sorted(
            row[0]
            for row in database.execute(
                f"SELECT (to_jsonb(t) - %s::text[])::text FROM {table} t WHERE to_jsonb(t) ->> 'task_id' IS DISTINCT"
                " FROM %s",  # pyright: ignore
                (list(columns), but),
            )
        )
        for table, columns in _CIPHERTEXT.items()
    }


def left_with(database: psycopg.Connection[Any], key_id: str) -> list[str]:
    """The tables in which a value is still sealed with this key, whatever the code believes to be sealed."""
    names = [row[0] for row in database.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
    query = 'SELECT count(*) FROM "{}" t WHERE t::text LIKE %s'
    return [name for name in names if one(database, query.format(name), f"%pm1:{key_id}:%")]


def test_only_ciphertext_changes_and_nothing_is_left_of_the_old_key(
    engine: Engine, database: psycopg.Connection[Any], side: Side, stored: list[str]
) -> None:
    (task_id,) = accept(engine, a_rotation())
    before = plain_columns(database, task_id)
    assert set(left_with(database, "old")) == set(_CIPHERTEXT)
    assert chores(engine, side).go_on(for_s=60) is False
    assert left_with(database, "old") == []
    assert plain_columns(database, task_id) == before
    result = result_of(database, task_id)
    assert result["sealed_with"] == "new"
    assert (result["unreadable"], result["left"], result["passes"]) == (0, 0, 2)


def test_what_was_sealed_opens_with_the_new_key_alone(
    engine: Engine, database: psycopg.Connection[Any], side: Side, stored: list[str]
) -> None:
    accept(engine, a_rotation())
    chores(engine, side).go_on(for_s=60)
    only_new = Keyring({"new": BOTH._keys["new"]._material})
    for model_id, params in database.execute("SELECT model_id, litellm_params FROM model"):
        assert open_document(only_new, Binding("model", model_id), params)["api_key"] == CANARY
    values = one(database, "SELECT credential_values FROM credential")
    opened = open_document(only_new, Binding("credential", "shared"), values, "credential_values")
    assert opened == {"api_key": CANARY}


def test_there_is_one_audit_entry_and_it_names_the_key(
    engine: Engine, database: psycopg.Connection[Any], side: Side, stored: list[str]
) -> None:
    (task_id,) = accept(engine, a_rotation())
    chores(engine, side).go_on(for_s=60)
    rows = database.execute('SELECT action, "after" FROM audit_entry WHERE task_id = %s', (task_id,)).fetchall()
    assert [(action, after["sealed_with"]) for action, after in rows] == [("rotated", "new")]


def test_it_goes_on_where_a_killed_worker_stopped(
    engine: Engine, database: psycopg.Connection[Any], side: Side, stored: list[str]
) -> None:
    (task_id,) = accept(engine, a_rotation())
    assert chores(engine, side).go_on(for_s=0) is True
    progress = one(database, "SELECT progress FROM task WHERE task_id = %s", task_id)
    assert 0 < progress["done"] < progress["total"]
    assert one(database, "SELECT status FROM task WHERE task_id = %s", task_id) == "running"
    # As a kill leaves it: leased, and nobody there.
    assert chores(engine, side)._begin(task_id, is_alone=True) is not None
    assert one(database, "SELECT next_attempt_at > now() FROM task WHERE task_id = %s", task_id)
    assert chores(engine, side).go_on(for_s=60) is False
    assert result_of(database, task_id)["left"] == 0
    assert left_with(database, "old") == []


def test_nobody_takes_it_up_while_somebody_is_at_it(
    engine: Engine, database: psycopg.Connection[Any], side: Side, stored: list[str]
) -> None:
    """Until the lease has run out: a frozen worker shows itself as well as one that is slow."""
    (task_id,) = accept(engine, a_rotation())
    working = chores(engine, side)
    with _presence(engine, task_id):
        assert working._begin(task_id, is_alone=True) is not None
        assert chores(engine, side).go_on(for_s=60) is False
        assert one(database, "SELECT cursor FROM task WHERE task_id = %s", task_id) is None
        database.execute("UPDATE task SET next_attempt_at = now() WHERE task_id = %s", (task_id,))
        assert chores(engine, side).go_on(for_s=60) is False
    assert result_of(database, task_id)["left"] == 0


def test_one_that_is_put_off_waits_for_its_time(engine: Engine, database: psycopg.Connection[Any], side: Side) -> None:
    (task_id,) = accept(engine, a_rotation())
    database.execute("UPDATE task SET next_attempt_at = now() + interval '1 hour'")
    assert chores(engine, side).go_on(for_s=60) is False
    assert one(database, "SELECT status FROM task WHERE task_id = %s", task_id) == "queued"
    database.execute("UPDATE task SET next_attempt_at = now()")
    chores(engine, side).go_on(for_s=60)


def test_the_sweep_rings_for_one_that_nobody_is_at(engine: Engine, side: Side, stored: list[str]) -> None:
    (task_id,) = accept(engine, a_rotation())
    chores(engine, side)._begin(task_id, is_alone=True)
    rung = list[str]()
    Sweeper(engine, lambda ids, _: rung.extend(ids), lambda _: None, lambda: None).sweep()
    assert rung == [task_id]
    chores(engine, side).go_on(for_s=60)


def test_who_was_overtaken_changes_nothing(
    engine: Engine, database: psycopg.Connection[Any], side: Side, stored: list[str]
) -> None:
    (task_id,) = accept(engine, a_rotation())
    slow = chores(engine, side)
    begun = slow._begin(task_id, is_alone=True)
    assert begun is not None
    database.execute("UPDATE task SET next_attempt_at = now() WHERE task_id = %s", (task_id,))
    chores(engine, side).go_on(for_s=0)
    before = one(database, "SELECT cursor FROM task WHERE task_id = %s", task_id)
    assert slow._attempt(task_id, begun) is None
    assert one(database, "SELECT cursor FROM task WHERE task_id = %s", task_id) == before
    chores(engine, side).go_on(for_s=60)


def cancel(engine: Engine, task_id: str) -> None:
    with engine.begin() as connection:
        by = Canceller(principal=MASTER, origin=Origin(request_id="r-1"))
        connection.execute(tasks.request_cancel(now(), by), {"task_ids": [task_id]})


def test_one_that_waits_is_cancelled_before_it_begins(
    engine: Engine, database: psycopg.Connection[Any], side: Side, stored: list[str]
) -> None:
    (task_id,) = accept(engine, a_rotation())
    cancel(engine, task_id)
    chores(engine, side).go_on(for_s=60)
    assert one(database, "SELECT status FROM task WHERE task_id = %s", task_id) == "cancelled"
    assert one(database, "SELECT action FROM audit_entry WHERE task_id = %s", task_id) == "cancelled"
    assert left_with(database, "new") == []


def test_one_that_runs_is_cancelled_between_two_chunks(
    engine: Engine, database: psycopg.Connection[Any], side: Side, stored: list[str]
) -> None:
    """What is sealed anew by then stays so; both keys are needed until another rotation."""
    (task_id,) = accept(engine, a_rotation())
    working = chores(engine, side)
    begun = working._begin(task_id, is_alone=True)
    assert begun is not None
    version = working._attempt(task_id, begun)
    assert version is not None
    cancel(engine, task_id)
    assert working._attempt(task_id, version) is None
    chores(engine, side).go_on(for_s=60)
    assert one(database, "SELECT status FROM task WHERE task_id = %s", task_id) == "cancelled"
    assert one(database, "SELECT count(*) FROM audit_entry WHERE task_id = %s", task_id) == 1
    assert {*left_with(database, "old"), *left_with(database, "new")} == set(_CIPHERTEXT)


def test_changes_meanwhile_are_kept_and_sealed_anew(
    engine: Engine, database: psycopg.Connection[Any], side: Side, stored: list[str], keyring: Keyring
) -> None:
    """A writer updates every model again and again, at first with commands that are sealed with the old key."""
    (task_id,) = accept(engine, a_rotation())
    over, failures, written = threading.Event(), list[BaseException](), dict[str, str]()

    def write() -> None:
        writer = Side(engine, BOTH)
        number = 0
        while not over.is_set() or number < 30:
            number += 1
            model_id = stored[number % len(stored)]
            ring = keyring if number < 30 else BOTH
            params = seal_document(ring, Binding("model", model_id), {"organization": f"org-{number}"})
            command = UpdateModel(model_id=model_id, set_params=params)
            row = a_task(keyring, model_id, operation="model.update")
            accept(engine, msgspec.structs.replace(row, command=msgspec.Raw(msgspec.json.encode(command))))
            writer.drain.drain()
            written[model_id] = f"org-{number}"

    def guarded() -> None:
        try:
            write()
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    working = chores(engine, side, chunk_rows=25)
    while one(database, "SELECT finished_at FROM task WHERE task_id = %s", task_id) is None:
        working.go_on(for_s=0.05)
    over.set()
    thread.join()
    assert not failures
    side.drain.drain()
    _rotate_again_without_load(engine, side)
    assert left_with(database, "old") == []
    for model_id, params in database.execute("SELECT model_id, litellm_params FROM model"):
        opened = open_document(BOTH, Binding("model", model_id), params)
        assert opened["organization"] == written[model_id]
        assert opened["api_key"] == CANARY


def _rotate_again_without_load(engine: Engine, side: Side) -> None:
    """What the old key sealed after the last pass is met by the next rotation."""
    accept(engine, a_rotation())
    chores(engine, side).go_on(for_s=60)


def test_an_unreadable_value_stays_and_is_told(
    engine: Engine, database: psycopg.Connection[Any], side: Side, stored: list[str]
) -> None:
    lost = seal_text(Keyring.parse(new_key("lost")), Binding("model", stored[0]), "x", ("litellm_params", "api_base"))
    database.execute(
        "UPDATE model SET litellm_params = litellm_params || jsonb_build_object('api_base', %s::text)"
        " WHERE model_id = %s",
        (lost, stored[0]),
    )
    (task_id,) = accept(engine, a_rotation())
    chores(engine, side).go_on(for_s=60)
    assert result_of(database, task_id)["unreadable"] == 1
    kept = one(database, "SELECT litellm_params ->> 'api_base' FROM model WHERE model_id = %s", stored[0])
    assert kept == lost


def test_a_worker_with_another_first_key_refuses(
    engine: Engine, database: psycopg.Connection[Any], side: Side, keyring: Keyring
) -> None:
    (task_id,) = accept(engine, a_rotation())
    chores(engine, side, keyring).go_on(for_s=60)
    assert one(database, "SELECT problem ->> 'code' FROM task WHERE task_id = %s", task_id) == "keyring_differs"


def test_whoever_lost_the_right_is_refused(engine: Engine, database: psycopg.Connection[Any], side: Side) -> None:
    store_user(engine, "v", "proxy_admin_viewer")
    viewer = store_key(engine, "sk-of-a-viewer-0123456789", "v")
    was_admin = msgspec.structs.replace(viewer, role="proxy_admin")
    (task_id,) = accept(engine, a_rotation(principal=was_admin))
    chores(engine, side).go_on(for_s=60)
    assert one(database, "SELECT problem ->> 'code' FROM task WHERE task_id = %s", task_id) == "not_permitted"


def test_a_chunk_that_breaks_off_every_time_ends_the_task(
    engine: Engine, database: psycopg.Connection[Any], side: Side
) -> None:
    (task_id,) = accept(engine, a_rotation())

    def broken(*_: Any) -> Any:
        raise RuntimeError("broken")

    working = chores(engine, side)
    working._by_operation = {"encryption.rotate": broken}
    for _ in range(4):
        database.execute("UPDATE task SET next_attempt_at = now() WHERE finished_at IS NULL")
        working.go_on(for_s=60)
    assert one(database, "SELECT problem ->> 'code' FROM task WHERE task_id = %s", task_id) == "poisoned"


def test_the_drain_leaves_it_alone(engine: Engine, database: psycopg.Connection[Any], side: Side) -> None:
    (task_id,) = accept(engine, a_rotation())
    side.drain.drain()
    side.drain.one_by_one([task_id])
    assert one(database, "SELECT status FROM task WHERE task_id = %s", task_id) == "queued"
    chores(engine, side).go_on(for_s=60)
