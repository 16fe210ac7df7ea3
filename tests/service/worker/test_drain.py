"""First trust, then care: what breaks a batch off ends alone, and everything else is applied."""

from collections.abc import Iterator
from typing import Any

import msgspec
import psycopg
import pytest
from psycopg.types.json import Jsonb
from sqlalchemy import Engine

from shared.encryption.keyring import Keyring
from shared.store.tasks import NewTask
from tests.service.building import CANARY, Side, a_task, accept, long_ago

Database = psycopg.Connection[Any]


@pytest.fixture
def side(engine: Engine, keyring: Keyring) -> Side:
    """Its clock is behind, so that what is put off is due again at once."""
    return Side(engine, keyring, max_attempts=3, slack=True, clock=long_ago)


@pytest.fixture
def breaking(database: Database) -> Iterator[None]:
    """The database refuses models with the id ``bad``."""
    database.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN IF NEW.model_id = 'bad' THEN RAISE 'broken on purpose'; END IF; RETURN NEW; END $$;"
        "CREATE TRIGGER refuse BEFORE INSERT ON model FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    yield
    database.execute("DROP FUNCTION IF EXISTS refuse CASCADE")


@pytest.fixture
def deadlocking(database: Database) -> Iterator[None]:
    """The database reports a deadlock for models with the id ``bad``: it passes by itself."""
    database.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN IF NEW.model_id = 'bad' THEN RAISE 'busy' USING ERRCODE = '40P01'; END IF; RETURN NEW; END $$;"
        "CREATE TRIGGER refuse BEFORE INSERT ON model FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    yield
    database.execute("DROP FUNCTION IF EXISTS refuse CASCADE")


def a_broken_task(keyring: Keyring, command: Any) -> NewTask:
    return msgspec.structs.replace(a_task(keyring, "bad"), command=msgspec.Raw(msgspec.json.encode(command)))


def statuses(database: Database) -> dict[str, str]:
    return dict(database.execute("SELECT task_id::text, status FROM task").fetchall())


def test_a_drain_ends_when_nothing_is_due(side: Side, engine: Engine, keyring: Keyring) -> None:
    task_ids = accept(engine, *(a_task(keyring) for _ in range(3)))
    assert side.drain.drain() is False
    assert side.ended == task_ids


def test_a_drain_takes_batch_after_batch(engine: Engine, keyring: Keyring) -> None:
    side = Side(engine, keyring, batch_size=2)
    task_ids = accept(engine, *(a_task(keyring) for _ in range(5)))
    side.drain.drain()
    assert [applied.task_ids for applied in side.told] == [task_ids[:2], task_ids[2:4], task_ids[4:]]


def test_one_bad_task_does_not_keep_the_others(
    side: Side, engine: Engine, keyring: Keyring, database: Database, breaking: None
) -> None:
    before, bad, follower, after = accept(
        engine, a_task(keyring), a_task(keyring, "bad"), a_task(keyring, "bad"), a_task(keyring)
    )
    side.drain.drain()
    ended = statuses(database)
    assert ended == {before: "succeeded", after: "succeeded", bad: "failed", follower: "failed"}
    ((attempts, problem),) = database.execute("SELECT attempt, problem FROM task WHERE task_id = %s", [bad]).fetchall()
    assert attempts == 3
    assert problem["code"] == "poisoned"
    assert "3 times" in problem["message"]


def test_a_poisoned_task_is_audited_and_announced(
    side: Side, engine: Engine, keyring: Keyring, database: Database, breaking: None
) -> None:
    (bad,) = accept(engine, a_task(keyring, "bad", webhook_url="https://example.com/"))
    side.drain.drain()
    ((action, object_id, problem),) = database.execute(
        "SELECT action, object_id, problem->>'code' FROM audit_entry WHERE task_id = %s", [bad]
    ).fetchall()
    assert (action, object_id, problem) == ("refused", "bad", "poisoned")
    announced = database.execute("SELECT destination, type, data FROM delivery JOIN event USING (event_id)").fetchall()
    assert sorted(row[:2] for row in announced) == [("callback", "task.failed"), ("slack", "task.poisoned")]
    assert {row[2]["task_id"] for row in announced} == {bad}


def test_the_line_of_a_poisoned_task_moves_on(
    side: Side, engine: Engine, keyring: Keyring, database: Database, breaking: None
) -> None:
    bad, _ = accept(engine, a_task(keyring, "bad"), a_task(keyring, "bad", name="second"))
    for _ in range(3):
        side.attempts.attempt(bad)
    database.execute("DROP FUNCTION refuse CASCADE")
    side.drain.drain()
    assert database.execute("SELECT model_name FROM model").fetchall() == [("second",)]


@pytest.mark.leaves_open_tasks("the attempt that broke off is not made again here")
def test_an_attempt_that_broke_off_is_visible_and_put_off(
    engine: Engine, keyring: Keyring, database: Database, breaking: None
) -> None:
    side = Side(engine, keyring, max_attempts=3)
    (bad,) = accept(engine, a_task(keyring, "bad"))
    side.drain.drain()
    ((status, attempt, error, is_later, started),) = database.execute(
        "SELECT status, attempt, last_error, next_attempt_at > now(), started_at IS NOT NULL FROM task"
    ).fetchall()
    assert (status, attempt, is_later, started) == ("queued", 1, True, True)
    assert error == "InternalError_" or error.endswith("Error")
    assert CANARY not in error
    assert side.applier.apply_due().task_ids == []
    assert side.attempts.attempt(bad).task_ids == []


@pytest.mark.leaves_open_tasks("the database never accepts it")
def test_what_passes_by_itself_is_not_held_against_the_task(
    side: Side, engine: Engine, keyring: Keyring, database: Database, deadlocking: None
) -> None:
    bad, other = accept(engine, a_task(keyring, "bad"), a_task(keyring))
    for _ in range(5):
        side.drain.one_by_one([bad, other])
    ((status, attempt, error),) = database.execute(
        "SELECT status, attempt, last_error FROM task WHERE task_id = %s", [bad]
    ).fetchall()
    assert (status, attempt) == ("queued", 0)
    assert error is not None
    assert statuses(database)[other] == "succeeded"
    database.execute("DROP FUNCTION refuse CASCADE")
    side.drain.drain()
    assert statuses(database)[bad] == "succeeded"


@pytest.mark.parametrize(
    "command",
    [
        {},
        {"operation": "model.create", "schema": 1},
        {"operation": "model.unheard_of"},
        ["not", "even", "a", "command"],
    ],
)
def test_a_command_that_cannot_be_read_ends_as_poisoned_and_alone(
    side: Side, engine: Engine, keyring: Keyring, database: Database, command: Any
) -> None:
    before, bad, after = accept(engine, a_task(keyring), a_broken_task(keyring, command), a_task(keyring))
    side.drain.drain()
    assert statuses(database) == {before: "succeeded", bad: "failed", after: "succeeded"}


def test_an_operation_that_nobody_knows_ends_as_poisoned_and_alone(
    side: Side, engine: Engine, keyring: Keyring, database: Database
) -> None:
    """As after going back to an older release."""
    bad, other = accept(engine, a_task(keyring, operation="model.unheard_of"), a_task(keyring))
    side.drain.drain()
    assert statuses(database) == {bad: "failed", other: "succeeded"}


def test_an_origin_that_cannot_be_read_holds_nothing_up(
    side: Side, engine: Engine, keyring: Keyring, database: Database
) -> None:
    bad, other = accept(engine, a_task(keyring), a_task(keyring))
    database.execute("UPDATE task SET origin = '{\"changed_by\": 5}' WHERE task_id = %s", [bad])
    side.drain.drain()
    assert statuses(database) == {bad: "succeeded", other: "succeeded"}


def test_a_principal_that_cannot_be_read_ends_alone(
    side: Side, engine: Engine, keyring: Keyring, database: Database
) -> None:
    """As after going back to a release that does not know a role."""
    bad, other = accept(engine, a_task(keyring), a_task(keyring))
    database.execute(
        "UPDATE task SET principal = %s WHERE task_id = %s",
        [Jsonb({"user_id": "u", "role": "unheard_of", "key_id": "k"}), bad],
    )
    side.drain.drain()
    assert statuses(database) == {bad: "failed", other: "succeeded"}


def test_a_value_sealed_with_a_lost_key_is_applied_and_audited_as_unreadable(
    side: Side, engine: Engine, keyring: Keyring, database: Database
) -> None:
    accept(engine, a_task(keyring))
    database.execute("UPDATE task SET command = replace(command::text, 'pm1:test:', 'pm1:lost:')::jsonb")
    side.drain.drain()
    ((shown,),) = database.execute("SELECT after->'litellm_params'->>'api_key' FROM audit_entry").fetchall()
    assert shown == "unreadable:lost"
    assert set(statuses(database).values()) == {"succeeded"}


def test_a_task_that_killed_its_worker_too_often_is_ended_before_it_is_tried_again(
    side: Side, engine: Engine, keyring: Keyring, database: Database
) -> None:
    """The attempt was counted in a commit of its own, so it is there although its worker died over it."""
    (bad,) = accept(engine, a_task(keyring))
    database.execute("UPDATE task SET status = 'running', attempt = 3, started_at = now()")
    side.drain.one_by_one([bad])
    ((status, problem),) = database.execute("SELECT status, problem->>'code' FROM task").fetchall()
    assert (status, problem) == ("failed", "poisoned")
    assert database.execute("SELECT count(*) FROM model").fetchall() == [(0,)]


def test_a_task_that_died_once_is_carried_out_at_the_next_attempt(
    side: Side, engine: Engine, keyring: Keyring, database: Database
) -> None:
    (task_id,) = accept(engine, a_task(keyring))
    database.execute("UPDATE task SET status = 'running', attempt = 1, started_at = now()")
    side.drain.one_by_one([task_id])
    assert database.execute("SELECT status, attempt FROM task").fetchall() == [("succeeded", 2)]


def test_one_by_one_passes_over_what_somebody_holds(
    side: Side, engine: Engine, keyring: Keyring, database: Database
) -> None:
    held, free = accept(engine, a_task(keyring), a_task(keyring))
    with database.transaction():
        database.execute("SELECT 1 FROM task WHERE task_id = %s FOR UPDATE", [held])
        side.drain.one_by_one([held, free])
        assert side.ended == [free]
    assert database.execute("SELECT attempt FROM task WHERE task_id = %s", [held]).fetchall() == [(0,)]
    side.drain.drain()


def test_every_commit_is_told_after_it(side: Side, engine: Engine, keyring: Keyring) -> None:
    task_ids = accept(engine, *(a_task(keyring) for _ in range(3)))
    side.drain.drain()
    assert side.ended == task_ids
    assert len([delivery for applied in side.told for delivery in applied.delivery_ids]) == 3
