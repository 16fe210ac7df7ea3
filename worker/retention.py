"""Deletes what was kept long enough, a little at a time, so that nobody waits for it."""

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Delete, Engine

from shared.runtime.failpoints import reach
from shared.store import destinations, outbox, tasks, unreadable

STEP = 500
MAX_STEPS = 20

_log = structlog.get_logger(__name__)


class Retention:
    """Never touches a task that has not ended, or an announcement that is still to be delivered."""

    def __init__(self, engine: Engine, keep_for: timedelta, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._keep_for = keep_for
        self._clock = clock

    def purge(self) -> None:
        """What is left after this is for the next time. Raises what the database raises."""
        before = self._clock() - self._keep_for
        purged = {
            "events": self._in_steps(lambda: outbox.purge(before, STEP)),
            "tasks": self._in_steps(lambda: tasks.purge(before, STEP)),
            "unreadable": self._in_steps(lambda: unreadable.purge(before, STEP)),
            "destinations": self._remove_destinations(before),
        }
        if any(purged.values()):
            _log.info("retention.purged", **purged)

    def _in_steps(self, statement: Callable[[], Delete]) -> int:
        total = 0
        for _ in range(MAX_STEPS):
            with self._engine.begin() as connection:
                gone = connection.execute(statement()).rowcount
                reach("purge.before_commit")
            reach("purge.after_commit")
            total += gone
            if gone < STEP:
                break
        return total

    def _remove_destinations(self, unused_since: datetime) -> int:
        total = 0
        for _ in range(MAX_STEPS):
            with self._engine.begin() as connection:
                unused = [
                    row.destination_id for row in connection.execute(destinations.unused_locked(unused_since, STEP))
                ]
                total += connection.execute(destinations.remove(unused)).rowcount
            if len(unused) < STEP:
                break
        return total
