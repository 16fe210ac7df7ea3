"""First trust, then care: a batch that broke off is done again one task at a time, each attempt counted beforehand."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar

import structlog
from billiard.exceptions import SoftTimeLimitExceeded
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from shared.domain.decision import Event
from shared.domain.problems import Poisoned
from shared.runtime.failpoints import reach
from shared.store import tasks
from shared.store.engines import is_transient
from shared.store.tasks import Claimed
from worker.apply import Applied, Applier
from worker.batch import Batch

T = TypeVar("T")

FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 60.0

NOTHING = Applied(task_ids=[], delivery_ids=[])

_log = structlog.get_logger(__name__)


class Attempts:
    """Tries single tasks. A task that breaks off ``max_attempts`` times is ended, so that its line moves on."""

    def __init__(
        self,
        engine: Engine,
        applier: Applier,
        max_attempts: int,
        clock: Callable[[], datetime],
        jitter: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._applier = applier
        self._max_attempts = max_attempts
        self._clock = clock
        self._jitter = jitter

    def due(self, limit: int) -> list[str]:
        with self._engine.begin() as connection:
            return [row.task_id for row in connection.execute(tasks.due(limit))]

    def attempt(self, task_id: str) -> Applied:
        """Try one task: count, then apply. Does nothing if it is not first in its line, or somebody has it."""
        attempt, applied = self._begin(task_id)
        if attempt is None:
            return applied
        reach("attempt.after_commit")
        return unless_broken_off(
            lambda: self._applier.apply_one(task_id), lambda error: self._broke_off(task_id, attempt, error)
        )

    def _begin(self, task_id: str) -> tuple[int | None, Applied]:
        """The number of the attempt that now begins; or what ending a poisoned task did."""
        with self._engine.begin() as connection:
            claimed = self._applier.claim_one(connection, task_id)
            if claimed is None:
                return None, NOTHING
            if claimed.attempt >= self._max_attempts:
                return None, self._applier.end(connection, claimed, poison)
            attempt: int = connection.execute(tasks.begin_attempt(task_id, self._clock())).scalar_one()
            reach("attempt.before_commit")
            return attempt, NOTHING

    def _broke_off(self, task_id: str, attempt: int, error: Exception) -> Applied:
        passes_by_itself = is_transient(error)
        log = _log.warning if passes_by_itself else _log.error
        log("task.attempt_broke_off", task_id=task_id, attempt=attempt, exc_info=error)
        if isinstance(error, SQLAlchemyError | OSError) and passes_by_itself:
            # What passes by itself is the system's failure, not the task's: the attempt is not held against it.
            attempt -= 1
        with self._engine.begin() as connection:
            claimed = self._applier.claim_one(connection, task_id)
            if claimed is None:
                return NOTHING
            if attempt >= self._max_attempts:
                return self._applier.end(connection, claimed, poison)
            again_at = self._clock() + timedelta(seconds=delay_s(attempt, self._jitter()))
            connection.execute(tasks.postpone(task_id, again_at, attempt, type(error).__name__))
            reach("attempt.before_postpone")
        return NOTHING


def unless_broken_off(work: Callable[[], T], broke_off: Callable[[Exception], T]) -> T:
    """Hands on whatever broke the work off, except for the time limit, to be put on the task and logged."""
    try:
        return work()
    except SoftTimeLimitExceeded:
        raise
    except Exception as error:  # noqa: BLE001  (an attempt may break off for any reason)
        return broke_off(error)


def delay_s(attempt: int, jitter: float) -> float:
    """Exponential, with full jitter over its second half. ``jitter`` in [0, 1)."""
    longest = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** max(attempt - 1, 0))
    return longest * (0.5 + jitter / 2)


def poison(batch: Batch, task: Claimed) -> None:
    """Ends a task that broke off too often, and alerts."""
    problem = Poisoned(task.attempt).problem()
    _log.error("task.poisoned", task_id=task.task_id, operation=task.operation, object_id=task.object_id)
    batch.fail(task, problem)
    batch.announce(
        task,
        Event(
            type="task.poisoned",
            object_type="task",
            object_id=task.task_id,
            data={"task_id": task.task_id, "operation": task.operation, "object_id": task.object_id},
        ),
    )
