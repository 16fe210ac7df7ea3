from collections.abc import Sequence
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine

from shared.encryption.keyring import Keyring
from tests.service.building import Side, a_task, accept
from worker.sweep import Sweeper

Database = psycopg.Connection[Any]


class Rings:
    """Writes down who is rung for."""

    def __init__(self, engine: Engine) -> None:
        self.trusting: list[str] = []
        self.careful: list[str] = []
        self.is_delivering = False
        Sweeper(engine, self._apply, self._deliver, lambda: None).sweep()

    def _apply(self, task_ids: Sequence[str], one_by_one: bool) -> None:
        (self.careful if one_by_one else self.trusting).extend(task_ids)

    def _deliver(self, _: Sequence[str]) -> None:
        self.is_delivering = True


def test_nothing_is_rung_for_when_nothing_is_due(engine: Engine) -> None:
    rings = Rings(engine)
    assert (rings.trusting, rings.careful, rings.is_delivering) == ([], [], False)


def test_what_is_due_is_rung_for(engine: Engine, keyring: Keyring) -> None:
    task_ids = accept(engine, a_task(keyring), a_task(keyring))
    rings = Rings(engine)
    assert (rings.trusting, rings.careful) == (task_ids, [])
    Side(engine, keyring).drain.drain()


@pytest.mark.leaves_open_tasks("one is put off for an hour")
def test_what_is_put_off_is_not_rung_for(engine: Engine, keyring: Keyring, database: Database) -> None:
    accept(engine, a_task(keyring))
    database.execute("UPDATE task SET next_attempt_at = now() + interval '1 hour'")
    rings = Rings(engine)
    assert (rings.trusting, rings.careful) == ([], [])


def test_what_a_worker_holds_is_not_rung_for(engine: Engine, keyring: Keyring, database: Database) -> None:
    held, free = accept(engine, a_task(keyring), a_task(keyring))
    database.execute("UPDATE task SET next_attempt_at = now() - interval '1 hour'")
    with database.transaction():
        database.execute("SELECT 1 FROM task WHERE task_id = %s FOR UPDATE", [held])
        rings = Rings(engine)
    assert (rings.trusting, rings.careful) == ([free], [free])
    Side(engine, keyring).drain.drain()


def test_what_was_overtaken_long_ago_is_tried_with_care(engine: Engine, keyring: Keyring, database: Database) -> None:
    stuck, overtaker, fresh = accept(engine, *(a_task(keyring) for _ in range(3)))
    database.execute("UPDATE task SET next_attempt_at = now() - interval '1 minute' WHERE task_id = %s", [stuck])
    Side(engine, keyring).applier.apply_one(overtaker)
    database.execute("UPDATE task SET finished_at = now() - interval '1 minute' WHERE task_id = %s", [overtaker])
    rings = Rings(engine)
    assert rings.careful == [stuck]
    assert rings.trusting == [stuck, fresh]
    Side(engine, keyring).drain.drain()


def test_a_backlog_that_makes_progress_is_not_suspected(engine: Engine, keyring: Keyring, database: Database) -> None:
    done, *waiting = accept(engine, *(a_task(keyring) for _ in range(5)))
    database.execute("UPDATE task SET next_attempt_at = now() - interval '1 minute'")
    Side(engine, keyring).applier.apply_one(done)
    rings = Rings(engine)
    assert (rings.trusting, rings.careful) == (waiting, [])
    Side(engine, keyring).drain.drain()


def test_a_due_delivery_is_rung_for(engine: Engine, keyring: Keyring, database: Database) -> None:
    accept(engine, a_task(keyring, webhook_url="https://example.com/"))
    Side(engine, keyring).applier.apply_due()
    assert Rings(engine).is_delivering
    database.execute("UPDATE destination SET paused_until = now() + interval '1 hour'")
    assert not Rings(engine).is_delivering
    database.execute("UPDATE destination SET paused_until = NULL")
    database.execute("UPDATE delivery SET next_attempt_at = now() + interval '1 hour'")
    assert not Rings(engine).is_delivering
    database.execute("UPDATE delivery SET next_attempt_at = now(), status = 'failed', finished_at = now()")
    assert not Rings(engine).is_delivering


def test_a_sweep_names_no_more_than_a_ring_can_carry(engine: Engine, keyring: Keyring) -> None:
    task_ids = accept(engine, *(a_task(keyring) for _ in range(120)))
    assert Rings(engine).trusting == task_ids[:100]
    Side(engine, keyring).drain.drain()


def test_what_one_step_cannot_do_keeps_none_of_the_others(engine: Engine, keyring: Keyring) -> None:
    task_ids = accept(engine, a_task(keyring, webhook_url="https://example.com/"), a_task(keyring))
    Side(engine, keyring).applier.apply_one(task_ids[0])
    steps: list[str] = []

    def fail(name: str) -> None:
        steps.append(name)
        raise OSError(name)

    sweeper = Sweeper(engine, lambda *_: fail("apply"), lambda _: fail("deliver"), lambda: fail("alarms"))
    sweeper.sweep()
    assert steps == ["apply", "deliver", "alarms"]
    Side(engine, keyring).drain.drain()
