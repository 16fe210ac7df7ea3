"""Statements on long tasks, which are carried out chunk by chunk."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Update, and_, exists, func, literal, or_, select, update
from sqlalchemy.sql.dml import ReturningUpdate

from shared.domain.tasks import CHORES, OPEN
from shared.store.rows import Selection
from shared.store.tables import task
from shared.store.tasks import CLAIM_COLUMNS, IS_OPEN, Claimed

_is_chore = and_(
    task.c.line.in_([literal(line, literal_execute=True) for line in sorted(set(CHORES.values()))]),
    task.c.operation.in_([literal(name, literal_execute=True) for name in sorted(CHORES)]),
)
_is_due = task.c.next_attempt_at <= func.now()
# Its holder is at work, or dead. One that is put off is queued.
_is_leased = task.c.status == "running"


class ClaimedChore(Claimed, frozen=True, kw_only=True):
    """A long task, and how far it has come. ``version`` fences: who goes on with another one has been overtaken."""

    version: int
    cursor: dict[str, Any] | None
    progress: dict[str, int] | None


def next_chore() -> Selection:
    """The oldest chore that is first in its line and due or leased, without a lock. Index: ix_task_open_line."""
    return _first_in_line(select(task.c.task_id, _is_due.label("is_due")), or_(_is_due, _is_leased)).limit(1)


def claim_chore(task_id: str, *, leased_too: bool) -> Selection:
    """Locks it, unless somebody holds its row, if it is due; or also if it is leased, and whoever leased it is gone."""
    is_free = or_(_is_due, _is_leased) if leased_too else _is_due
    return _first_in_line(_claim(), and_(task.c.task_id == task_id, is_free))


def claim_chore_again(task_id: str, version: int) -> Selection:
    """Locks a chore for its next chunk, if nobody else has moved it since."""
    return _claim().where(task.c.task_id == task_id, task.c.version == version)


def _claim() -> Selection:
    return (
        select(*CLAIM_COLUMNS, task.c.version, task.c.cursor, task.c.progress)
        .where(IS_OPEN, _is_chore)
        .with_for_update(skip_locked=True, of=task)
    )


def _first_in_line(statement: Selection, wanted: ColumnElement[bool]) -> Selection:
    other = task.alias("other")
    is_behind = exists().where(
        other.c.line == task.c.line,
        other.c.status.in_([literal(status, literal_execute=True) for status in OPEN]),
        other.c.seq < task.c.seq,
    )
    return statement.where(IS_OPEN, _is_chore, wanted, ~is_behind).order_by(task.c.seq)


def show_presence(task_id: str) -> Selection:
    """Takes a lock that goes with the session, as a sign of life of who works on the chore; whether it was free.

    A sign only: what keeps a chunk from being done twice is the version. For a connection in autocommit mode.
    """
    return select(func.pg_try_advisory_lock(_presence_key(task_id)))


def leased() -> Selection:
    """Chores that somebody works on, or did until they died. Index: ix_task_open_line."""
    return select(task.c.task_id).where(IS_OPEN, _is_chore, _is_leased)


def _presence_key(task_id: str) -> ColumnElement[int]:
    return func.hashtextextended("chore/" + task_id, 0)


def keep_place(task_id: str, cursor: dict[str, Any], progress: dict[str, int], lease_s: float) -> ReturningUpdate[Any]:
    """A chunk is done, with what it did. Nobody else takes the chore up before the lease runs out."""
    return (
        _moved(task_id)
        .values(cursor=cursor, progress=progress, attempt=0, next_attempt_at=_in(lease_s))
        .returning(task.c.version)
    )


def lease_chore(task_id: str, now: datetime, lease_s: float) -> ReturningUpdate[Any]:
    """Counts an attempt at the next chunk, in a commit of its own before the work."""
    return (
        _moved(task_id)
        .values(
            status="running",
            attempt=task.c.attempt + 1,
            started_at=func.coalesce(task.c.started_at, now),
            next_attempt_at=_in(lease_s),
        )
        .returning(task.c.version)
    )


def release_chore(task_id: str, version: int) -> Update:
    """Whoever comes next may go on."""
    return (
        update(task)
        .where(task.c.task_id == task_id, task.c.version == version, IS_OPEN)
        .values(next_attempt_at=func.now())
    )


def _moved(task_id: str) -> Update:
    return update(task).where(task.c.task_id == task_id, IS_OPEN).values(version=task.c.version + 1)


def _in(seconds: float) -> ColumnElement[datetime]:
    return func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)
