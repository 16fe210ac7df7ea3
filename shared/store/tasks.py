"""Statements on tasks."""

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Update,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal,
    null,
    or_,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import UUID, Insert

from shared.domain.decision import ObjectRef
from shared.domain.rights import Principal
from shared.domain.tasks import OPEN, Status
from shared.store.rows import Selection, insert_rows, rows_of
from shared.store.tables import task

_is_open = task.c.status.in_([literal(status, literal_execute=True) for status in OPEN])
_is_due = task.c.next_attempt_at <= func.now()
_IDS = ARRAY(UUID(as_uuid=False))


class Origin(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a submission came from, for the audit log."""

    request_id: str
    source_address: str | None = None
    changed_by: str | None = None


class NewTask(msgspec.Struct, frozen=True, kw_only=True):
    """The row of an accepted command."""

    task_id: str
    operation: str
    object_type: str
    object_id: str
    command: msgspec.Raw
    digest: str
    principal: Principal
    submitted_by: str
    origin: Origin
    idempotency_key: str | None
    webhook_url: str | None
    submitted_at: datetime


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """A task that this transaction holds locked."""

    task_id: str
    seq: int
    operation: str
    object_type: str
    object_id: str
    command: dict[str, Any]
    principal: Principal
    origin: Origin
    webhook_url: str | None
    """Sealed."""
    attempt: int
    has_followers: bool = False


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a task, committed together with its effect."""

    task_id: str
    status: Status
    finished_at: datetime
    started_at: datetime
    result: dict[str, Any] | None = None
    problem: dict[str, Any] | None = None


_NEW_COLUMNS = NewTask.__struct_fields__
_CLAIM_COLUMNS = (
    task.c.task_id,
    task.c.seq,
    task.c.operation,
    task.c.object_type,
    task.c.object_id,
    task.c.command,
    task.c.principal,
    task.c.origin,
    task.c.webhook_url,
    task.c.attempt,
)
# What a client is shown; the command and the principal's key stay inside.
VIEW_COLUMNS = (
    task.c.task_id,
    task.c.seq,
    task.c.operation,
    task.c.object_type,
    task.c.object_id,
    task.c.status,
    task.c.version,
    task.c.attempt,
    task.c.next_attempt_at,
    task.c.last_error,
    task.c.progress,
    task.c.result,
    task.c.problem,
    task.c.submitted_by,
    task.c.submitted_at,
    task.c.started_at,
    task.c.finished_at,
    task.c.webhook_url,
)


# --- accepting ---


def lock_lines(keys: str = "keys") -> Selection:
    """Serialises accepting per object and per idempotency key over all API processes, until the commit.

    Takes bigints; ordered, so that two batches cannot deadlock. With it, ``seq`` is each line's order of acceptance.
    """
    given = select(func.unnest(bindparam(keys, type_=ARRAY(BigInteger))).label("key")).order_by("key").subquery()
    return select(func.pg_advisory_xact_lock(given.c.key))


def insert_tasks() -> Insert:
    """Accepts the tasks of one group commit, in their order. Parameter: ``packed(list[NewTask])``."""
    return insert_rows(task, *_NEW_COLUMNS)


def accepted_with_keys(user_ids: list[str], keys: list[str]) -> Selection:
    """The tasks that these users submitted with these idempotency keys. Index: uq_task_idempotency_key."""
    pairs = list(zip(user_ids, keys, strict=True))
    return select(task.c.task_id, task.c.digest, task.c.submitted_by, task.c.idempotency_key).where(
        task.c.idempotency_key.is_not(None), tuple_(task.c.submitted_by, task.c.idempotency_key).in_(pairs)
    )


def waiting_on(refs: list[ObjectRef]) -> Selection:
    """Open tasks in the lines of these objects, oldest first. Index: ix_task_open_line."""
    pairs = [(ref.object_type, ref.object_id) for ref in refs]
    return (
        select(
            task.c.task_id, task.c.operation, task.c.digest, task.c.submitted_by, task.c.object_type, task.c.object_id
        )
        .where(_is_open, tuple_(task.c.object_type, task.c.object_id).in_(pairs))
        .order_by(task.c.seq)
    )


# --- applying ---


def claim_heads(limit: int, task_ids: list[str] | None = None) -> Selection:
    """Locks due tasks that are first in their line, oldest first, passing over those that another worker holds.

    Index: ix_task_open_seq, and ix_task_open_line for the two probes.
    """
    other = task.alias("other")
    same_line = and_(
        other.c.object_type == task.c.object_type,
        other.c.object_id == task.c.object_id,
        other.c.status.in_([literal(status, literal_execute=True) for status in OPEN]),
    )
    statement = select(
        *_CLAIM_COLUMNS, exists().where(same_line, other.c.seq > task.c.seq).label("has_followers")
    ).where(_is_open, _is_due, ~exists().where(same_line, other.c.seq < task.c.seq))
    if task_ids is not None:
        statement = statement.where(task.c.task_id == func.any(bindparam("task_ids", task_ids, type_=_IDS)))
    return statement.order_by(task.c.seq).limit(limit).with_for_update(skip_locked=True, of=task)


def claim_followers(refs: list[ObjectRef], limit: int) -> Selection:
    """Locks what waits behind claimed heads, in order. Only the holder of a head takes these."""
    pairs = [(ref.object_type, ref.object_id) for ref in refs]
    return (
        select(*_CLAIM_COLUMNS, _is_due.label("is_due"))
        .where(_is_open, tuple_(task.c.object_type, task.c.object_id).in_(pairs))
        .order_by(task.c.seq)
        .limit(limit)
        .with_for_update(of=task)
    )


def end_tasks() -> Update:
    """Ends tasks, counting the attempt that ends them. Parameter: ``packed(list[Ending])``.

    A succeeded task no longer needs its command, so the sealed secrets in it go.
    """
    given = rows_of(task, *Ending.__struct_fields__)
    return (
        update(task)
        .where(task.c.task_id == given.c.task_id)
        .values(
            status=given.c.status,
            version=task.c.version + 1,
            attempt=func.greatest(task.c.attempt, 1),
            result=given.c.result,
            problem=given.c.problem,
            started_at=func.coalesce(task.c.started_at, given.c.started_at),
            finished_at=given.c.finished_at,
            command=case((given.c.status == "succeeded", null()), else_=task.c.command),
            last_error=None,
        )
    )


def begin_attempt(task_id: str, now: datetime) -> Update:
    """Counts an attempt, in a commit of its own before the work."""
    return (
        update(task)
        .where(task.c.task_id == task_id, _is_open)
        .values(
            status="running",
            version=task.c.version + 1,
            attempt=task.c.attempt + 1,
            started_at=func.coalesce(task.c.started_at, now),
        )
        .returning(task.c.attempt)
    )


def postpone(task_id: str, next_attempt_at: datetime, attempt: int, last_error: str) -> Update:
    """Puts a task whose attempt broke off back into its line, due later. ``attempt`` says how many count."""
    return (
        update(task)
        .where(task.c.task_id == task_id, _is_open)
        .values(
            status="queued",
            version=task.c.version + 1,
            attempt=attempt,
            next_attempt_at=next_attempt_at,
            last_error=last_error,
        )
    )


# --- seeing ---


def by_ids(task_ids: list[str]) -> Selection:
    return select(*VIEW_COLUMNS).where(task.c.task_id == func.any(bindparam("task_ids", task_ids, type_=_IDS)))


def versions(task_ids: list[str]) -> Selection:
    """How far these tasks have come, for waiters that missed a wake-up."""
    return select(task.c.task_id, task.c.version, task.c.status).where(
        task.c.task_id == func.any(bindparam("task_ids", task_ids, type_=_IDS))
    )


def page(*, limit: int, before_seq: int | None = None, submitted_by: str | None = None, **equal: str) -> Selection:
    """Newest first. ``equal`` filters on columns. Index: the unique one on seq, or ix_task_submitted_by_seq."""
    statement = select(*VIEW_COLUMNS).order_by(task.c.seq.desc()).limit(limit)
    if before_seq is not None:
        statement = statement.where(task.c.seq < before_seq)
    if submitted_by is not None:
        statement = statement.where(task.c.submitted_by == submitted_by)
    for name, value in equal.items():
        statement = statement.where(task.c[name] == value)
    return statement


# --- sweeping ---


def due(limit: int) -> Selection:
    """The oldest due tasks that nobody holds."""
    return (
        select(task.c.task_id)
        .where(_is_open, _is_due)
        .order_by(task.c.seq)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )


def suspects(limit: int, after_s: float) -> Selection:
    """Tasks that are due for long, held by nobody, and overtaken or without any progress around them.

    Those may be what keeps breaking batches off, so they are to be tried one by one.
    """
    long_ago = func.now() - func.make_interval(0, 0, 0, 0, 0, 0, after_s)
    other = task.alias("other")
    is_overtaken = exists().where(other.c.seq > task.c.seq, other.c.finished_at < long_ago)
    last_ended_at = select(func.max(other.c.finished_at)).scalar_subquery()
    return (
        select(task.c.task_id)
        .where(_is_open, task.c.next_attempt_at < long_ago)
        .where(or_(is_overtaken, func.coalesce(last_ended_at < long_ago, true())))
        .order_by(task.c.seq)
        .limit(limit)
        .with_for_update(skip_locked=True, of=task)
    )


def progress() -> Selection:
    """Since when the oldest due task waits, and when a task last ended; each ``None`` where there is none."""
    oldest = select(task.c.next_attempt_at).where(_is_open, _is_due).order_by(task.c.seq).limit(1).scalar_subquery()
    last = select(func.max(task.c.finished_at)).scalar_subquery()
    return select(oldest.label("due_since"), last.label("last_ended_at"), func.now().label("now"))
