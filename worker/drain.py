"""One ring's work: apply batch after batch until nothing is due, then tell those who wait for it."""

import time
from collections.abc import Callable, Sequence

import structlog
from billiard.exceptions import SoftTimeLimitExceeded

from worker.apply import Applied, Applier
from worker.attempts import Attempts

# Well below the soft time limit: what is left after this is rung for again.
DRAIN_FOR_S = 10.0

_log = structlog.get_logger(__name__)


class Drain:
    """``told`` hears of every commit, after it."""

    def __init__(self, applier: Applier, attempts: Attempts, batch_size: int, told: Callable[[Applied], None]) -> None:
        self._applier = applier
        self._attempts = attempts
        self._batch_size = batch_size
        self._told = told

    def drain(self, for_s: float = DRAIN_FOR_S) -> bool:
        """Apply everything that is due. Returns whether time ran out first."""
        until = time.monotonic() + for_s
        while time.monotonic() < until:
            try:
                applied = self._applier.apply_due()
            except SoftTimeLimitExceeded:
                raise
            except Exception as error:  # noqa: BLE001  (whatever broke the batch off, its tasks are tried one by one)
                _log.warning("batch.broke_off", exc_info=error)
                self.one_by_one(self._attempts.due(self._batch_size))
                continue
            if not applied.task_ids:
                return False
            self._tell(applied)
        return True

    def one_by_one(self, task_ids: Sequence[str]) -> None:
        """Try these tasks with care: each attempt is counted before it is made."""
        for task_id in task_ids:
            self._tell(self._attempts.attempt(task_id))

    def _tell(self, applied: Applied) -> None:
        if not applied.task_ids:
            return
        _log.info("tasks.applied", count=len(applied.task_ids), task_ids=applied.task_ids[:10])
        self._told(applied)
