"""Rings for whatever nobody rings for: what keeps "never lost" true when Redis loses, and what drives every retry."""

from collections.abc import Callable, Sequence

import structlog
from sqlalchemy import Engine

from shared.runtime.failpoints import reach
from shared.store import chores, destinations, tasks
from worker.attempts import unless_broken_off

_log = structlog.get_logger(__name__)

SUSPECT_AFTER_S = 10.0
MAX_SUSPECTS = 20
MAX_RUNG = 100


class Sweeper:
    """Two sweeps at the same time are harmless: a ring too many finds nothing to do."""

    def __init__(
        self,
        engine: Engine,
        ring_apply: Callable[[Sequence[str], bool], None],
        ring_deliver: Callable[[Sequence[str]], None],
        announce_alarms: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._ring_apply = ring_apply
        self._ring_deliver = ring_deliver
        self._announce_alarms = announce_alarms

    def sweep(self) -> None:
        """Each step by itself: what one cannot do is logged, keeps none of the others, and is due again in seconds."""
        for step in (self._ring_for_tasks, self._ring_for_deliveries, self._announce_alarms):
            unless_broken_off(step, _log_broken_off)

    def _ring_for_tasks(self) -> None:
        with self._engine.begin() as connection:
            due = [row.task_id for row in connection.execute(tasks.due(MAX_RUNG))]
            # Whoever leased one may be dead; where not, this is a ring too many.
            due += [row.task_id for row in connection.execute(chores.leased())]
            suspects = [row.task_id for row in connection.execute(tasks.suspects(MAX_SUSPECTS, SUSPECT_AFTER_S))]
        reach("sweep.before_ring")
        if suspects:
            self._ring_apply(suspects, True)
        if due:
            self._ring_apply(due, False)
        reach("sweep.after_ring")

    def _ring_for_deliveries(self) -> None:
        with self._engine.begin() as connection:
            is_anything_due = connection.execute(destinations.any_due()).first() is not None
        if is_anything_due:
            self._ring_deliver(())


def _log_broken_off(error: Exception) -> None:
    _log.error("sweep.step_broke_off", exc_info=error)
