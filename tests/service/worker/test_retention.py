"""What was kept long enough goes; what has not ended, or is still to be told, stays however old it is."""

from datetime import timedelta
from typing import Any

import msgspec
import psycopg
import pytest
from sqlalchemy import Engine

from shared.domain.rights import MASTER
from shared.encryption.keyring import Keyring
from shared.runtime.clock import new_id, now
from shared.runtime.settings import Misconfigured
from shared.store import destinations, unreadable
from shared.store.rows import packed
from shared.store.unreadable import Place
from tests.conftest import SettingsBuilder
from tests.service.building import Side, a_task, accept
from worker.retention import Retention

Database = psycopg.Connection[Any]


@pytest.fixture
def retention(engine: Engine) -> Retention:
    return Retention(engine, timedelta(days=1), now)


def aged(database: Database, task_id: str, days: float) -> None:
    for table, column in (("task", "finished_at"), ("event", "occurred_at"), ("delivery", "finished_at")):
        statement = f"UPDATE {table} SET {column} = {column} - make_interval(secs => %s) WHERE task_id = %s"
        database.execute(statement, [days * 86_400, task_id])  # pyright: ignore
    database.execute(
        "UPDATE task SET submitted_at = submitted_at - make_interval(secs => %s) WHERE task_id = %s",
        [days * 86_400, task_id],
    )


def kept(database: Database) -> set[str]:
    return {task_id for (task_id,) in database.execute("SELECT task_id::text FROM task").fetchall()}


def an_ended(side: Side, engine: Engine, keyring: Keyring, **more: Any) -> str:
    (task_id,) = accept(engine, msgspec.structs.replace(a_task(keyring), **more))
    side.drain.drain()
    return task_id


def test_ended_tasks_go_with_their_idempotency_keys_after_the_time(
    retention: Retention, engine: Engine, keyring: Keyring, database: Database
) -> None:
    side = Side(engine, keyring)
    old, young = (an_ended(side, engine, keyring, idempotency_key=key) for key in ("old", "young"))
    aged(database, old, 1.01)
    aged(database, young, 0.99)
    # Their models must not seem to have come from nowhere.
    database.execute("DELETE FROM model_revision; DELETE FROM model; ALTER TABLE audit_entry DISABLE TRIGGER USER")
    database.execute("DELETE FROM audit_entry; ALTER TABLE audit_entry ENABLE TRIGGER USER")
    database.execute("UPDATE head SET position = 0, hash = repeat('0', 64), revision = 0, model_count = 0")
    retention.purge()
    try:
        assert kept(database) == {young}
        again = accept(engine, msgspec.structs.replace(a_task(keyring), idempotency_key="old"))
        assert kept(database) == {young, *again}
    finally:
        database.execute("DELETE FROM task")


@pytest.mark.leaves_open_tasks("nobody applies them here")
def test_a_task_that_has_not_ended_is_never_purged(
    retention: Retention, engine: Engine, keyring: Keyring, database: Database
) -> None:
    queued, running = accept(engine, a_task(keyring), a_task(keyring))
    database.execute("UPDATE task SET status = 'running' WHERE task_id = %s", [running])
    for task_id in (queued, running):
        aged(database, task_id, 400)
    retention.purge()
    assert kept(database) == {queued, running}


def test_a_task_whose_callback_is_still_to_be_made_stays(
    retention: Retention, engine: Engine, keyring: Keyring, database: Database
) -> None:
    side = Side(engine, keyring)
    (task_id,) = accept(engine, a_task(keyring, webhook_url="https://example.com/hook"))
    side.drain.drain()
    aged(database, task_id, 400)
    retention.purge()
    assert kept(database) == {task_id}
    assert database.execute("SELECT count(*) FROM event").fetchone() == (1,)


def test_what_was_announced_goes_with_its_attempts_and_unused_destinations(
    retention: Retention, engine: Engine, keyring: Keyring, database: Database
) -> None:
    side = Side(engine, keyring)
    nobody = msgspec.structs.replace(MASTER, role="internal_user")
    hooks = ("https://told.example.com/", "https://waiting.example.com/")
    told, waiting = accept(engine, *(a_task(keyring, webhook_url=hook, principal=nobody) for hook in hooks))
    side.drain.drain()
    database.execute(
        "WITH ended AS (UPDATE delivery SET status = 'succeeded', finished_at = now() WHERE task_id = %s RETURNING *)"
        " INSERT INTO delivery_attempt (delivery_id, number, attempted_at, latency_ms, excerpt)"
        " SELECT delivery_id, 1, now(), 1, '' FROM ended",
        [told],
    )
    database.execute("UPDATE destination SET served_at = now() - interval '2 days'")
    for task_id in (told, waiting):
        aged(database, task_id, 2)
    retention.purge()
    ((kept_for,),) = database.execute("SELECT task_id::text FROM delivery").fetchall()
    assert kept_for == waiting
    assert database.execute("SELECT count(*) FROM delivery_attempt").fetchone() == (0,)
    found = database.execute("SELECT destination_id IN (SELECT destination_id FROM delivery) FROM destination")
    assert sorted(found.fetchall()) == [(False,), (True,)], "what is always there, and what something waits for"


def test_a_destination_to_which_something_is_being_added_is_not_removed(
    retention: Retention, engine: Engine, database: Database
) -> None:
    database.execute("INSERT INTO destination (destination_id, served_at) VALUES ('callback:x', '2020-01-01')")
    with engine.begin() as connection:
        connection.execute(destinations.add(), packed([{"destination_id": "callback:x"}]))
        retention.purge()
    assert database.execute("SELECT 1 FROM destination WHERE destination_id = 'callback:x'").fetchall()
    retention.purge()
    assert not database.execute("SELECT 1 FROM destination WHERE destination_id = 'callback:x'").fetchall()


def test_a_destination_is_served_while_something_is_added_to_it(engine: Engine, database: Database) -> None:
    add = packed([{"destination_id": "callback:x"}])
    with engine.begin() as connection:
        connection.execute(destinations.add(), add)
    database.execute(
        "INSERT INTO event (event_id, type, occurred_at, object_type, object_id, data)"
        " VALUES ('evt', 'task.succeeded', now(), 'task', 't', '{}')"
    )
    database.execute(
        "INSERT INTO delivery (delivery_id, event_id, destination, destination_id)"
        " VALUES (gen_random_uuid(), 'evt', 'callback', 'callback:x')"
    )
    with engine.begin() as adding, engine.begin() as serving:
        adding.execute(destinations.add(), add)
        assert [row.destination_id for row in serving.execute(destinations.next_turns(10))] == ["callback:x"]
        serving.execute(destinations.begin_turns(["callback:x"], new_id(), 60))


def test_an_unreadable_secret_that_nobody_meets_any_more_is_forgotten_once_it_was_told(
    retention: Retention, engine: Engine, database: Database
) -> None:
    places = [Place(object_type="model", object_id=name, field="f", key_id="k") for name in ("told", "untold", "young")]
    with engine.begin() as connection:
        connection.execute(unreadable.note(), packed(places))
    database.execute("UPDATE unreadable_secret SET told_at = now() WHERE object_id <> 'untold'")
    database.execute("UPDATE unreadable_secret SET seen_at = now() - interval '2 days' WHERE object_id <> 'young'")
    retention.purge()
    left = database.execute("SELECT object_id FROM unreadable_secret ORDER BY 1").fetchall()
    assert left == [("untold",), ("young",)]


def test_the_audit_log_is_not_purged(
    retention: Retention, engine: Engine, keyring: Keyring, database: Database
) -> None:
    side = Side(engine, keyring)
    nobody = msgspec.structs.replace(MASTER, role="internal_user")
    task_id = an_ended(side, engine, keyring, principal=nobody)
    aged(database, task_id, 400)
    retention.purge()
    assert kept(database) == set()
    assert database.execute("SELECT count(*) FROM audit_entry").fetchone() == (1,)


def test_nothing_can_be_kept_for_less_than_a_day(a_settings: SettingsBuilder) -> None:
    with pytest.raises(Misconfigured, match="RETENTION_DAYS"):
        a_settings(retention_days="0.9")
