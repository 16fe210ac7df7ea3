"""Carries out the chunks of long tasks, a few at a ring, with the ordinary changes in between."""

import contextlib
import time
from collections.abc import Callable, Generator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import structlog
from sqlalchemy import Connection, Engine

from shared.domain.decision import Decision
from shared.domain.problems import Refusal
from shared.domain.rights import Principal, authorise
from shared.runtime.failpoints import reach
from shared.store import chores, tasks
from shared.store.chores import ClaimedChore
from shared.store.engines import is_transient
from shared.store.rows import AnyRow, fields_of
from worker.apply import Applied, Applier
from worker.attempts import NOTHING, delay_s, poison, unless_broken_off
from worker.batch import Batch

# How long one ring goes on, after it has drained for at most ten seconds.
CHORE_FOR_S: Final = 3.0
# The share of the changes that come in meanwhile: some of them between any two chunks, however many there are.
DRAIN_BETWEEN_S: Final = 0.05
# Whoever dies is replaced at once, because a lock dies with its session. Where that is not noticed, as with a frozen
# process, this says when somebody else may go on. Longer than the hard time limit of a ring.
LEASE_S: Final = 90.0

_log = structlog.get_logger(__name__)


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What one chunk came to. ``decision`` ends the task."""

    cursor: dict[str, Any]
    progress: dict[str, int]
    decision: Decision | None = None


Chore = Callable[[Connection, ClaimedChore], Step]
"""Does one chunk in the given transaction, from where ``cursor`` says. Raises Refusal to end the task."""


class Chores:
    """``told`` hears of every commit, after it; ``meanwhile`` is called between two chunks, with seconds."""

    def __init__(
        self,
        engine: Engine,
        applier: Applier,
        by_operation: Mapping[str, Chore],
        *,
        max_attempts: int,
        clock: Callable[[], datetime],
        jitter: Callable[[], float],
        told: Callable[[Applied], None],
        meanwhile: Callable[[float], object],
    ) -> None:
        self._engine = engine
        self._applier = applier
        self._by_operation = by_operation
        self._max_attempts = max_attempts
        self._clock = clock
        self._jitter = jitter
        self._told = told
        self._meanwhile = meanwhile

    def go_on(self, for_s: float = CHORE_FOR_S) -> bool:
        """Chunk after chunk for a moment. Returns whether there is more to do at once."""
        with self._engine.begin() as connection:
            found = connection.execute(chores.next_chore()).first()
        if found is None:
            return False
        with _presence(self._engine, found.task_id) as is_alone:
            if not (found.is_due or is_alone):
                return False
            version = self._begin(found.task_id, is_alone=is_alone)
            return version is not None and self._go_on(found.task_id, version, for_s)

    def _go_on(self, task_id: str, begun: int, for_s: float) -> bool:
        reach("chore.after_lease")
        version: int | None = begun
        until = time.monotonic() + for_s
        while version is not None:
            version = self._attempt(task_id, version)
            if version is not None and time.monotonic() >= until:
                self._release(task_id, version)
                return True
            self._meanwhile(DRAIN_BETWEEN_S)
        return False

    def _begin(self, task_id: str, *, is_alone: bool) -> int | None:
        """Takes a lease on the chore, counting the attempt; its version then.

        Or ends one that is to be cancelled, or that broke off too often. Asking for the one moves the version, so
        whoever was at work finds itself overtaken.
        """
        with self._engine.begin() as connection:
            row = connection.execute(chores.claim_chore(task_id, leased_too=is_alone)).first()
            if row is None:
                return None
            task = _claimed(row)
            if not task.is_cancelled and task.attempt < self._max_attempts:
                return connection.execute(chores.lease_chore(task_id, self._clock(), LEASE_S)).scalar_one()
            applied = self._applier.end(connection, task, Batch.cancel if task.is_cancelled else poison)
        self._told(applied)
        return None

    def _attempt(self, task_id: str, version: int) -> int | None:
        """One chunk. Returns the version to go on with, or None if there is nothing to go on with."""
        version_now, applied = unless_broken_off(
            lambda: self._chunk(task_id, version), lambda error: self._broke_off(task_id, version, error)
        )
        reach("chore.after_chunk")
        if applied.task_ids:
            self._told(applied)
        return version_now

    def _chunk(self, task_id: str, version: int) -> tuple[int | None, Applied]:
        with self._engine.begin() as connection:
            row = connection.execute(chores.claim_chore_again(task_id, version)).first()
            if row is None:
                return None, NOTHING
            task = _claimed(row)
            savepoint = connection.begin_nested()
            try:
                authorise(msgspec.convert(task.principal, Principal), task.operation)
                step = self._by_operation[task.operation](connection, task)
            except Refusal as refusal:
                savepoint.rollback()
                problem = refusal.problem()
                return None, self._applier.end(connection, task, lambda batch, claimed: batch.fail(claimed, problem))
            savepoint.commit()
            kept = chores.keep_place(task_id, step.cursor, step.progress, LEASE_S)
            version = connection.execute(kept).scalar_one()
            decision = step.decision
            reach("chore.before_commit")
            if decision is None:
                return version, Applied(task_ids=[task_id], delivery_ids=[])
            return None, self._applier.end(connection, task, lambda batch, claimed: batch.succeed(claimed, decision))

    def _release(self, task_id: str, version: int) -> None:
        with self._engine.begin() as connection:
            connection.execute(chores.release_chore(task_id, version))

    def _broke_off(self, task_id: str, version: int, error: Exception) -> tuple[None, Applied]:
        passes_by_itself = is_transient(error)
        log = _log.warning if passes_by_itself else _log.error
        log("chore.broke_off", task_id=task_id, exc_info=error)
        with self._engine.begin() as connection:
            row = connection.execute(chores.claim_chore_again(task_id, version)).first()
            if row is None:
                return None, NOTHING
            # What passes by itself is the system's failure, not the task's: the attempt is not held against it.
            attempt = max(0, row.attempt - passes_by_itself)
            again_at = self._clock() + timedelta(seconds=delay_s(attempt, self._jitter()))
            connection.execute(tasks.postpone(task_id, again_at, attempt, type(error).__name__))
        return None, NOTHING


@contextlib.contextmanager
def _presence(engine: Engine, task_id: str) -> Generator[bool]:
    """Shows that somebody works on it, until this ends or the process dies. Yields whether nobody else showed it."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # Closed at the end, not given back: the lock goes with the session.
        connection.detach()
        yield connection.execute(chores.show_presence(task_id)).scalar_one()


def _claimed(row: AnyRow) -> ClaimedChore:
    return msgspec.convert(fields_of(row), ClaimedChore)
