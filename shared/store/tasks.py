"""Statements on tasks."""

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any

import msgspec
from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Delete,
    FromClause,
    Integer,
    Text,
    Update,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    literal,
    not_,
    null,
    or_,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import UUID, Insert, array

from shared.domain.decision import ObjectRef
from shared.domain.rights import Principal
from shared.domain.tasks import CHORES, OPEN, Status
from shared.store.rows import Selection, insert_rows, rows_of
from shared.store.tables import delivery, task
from shared.store.waits import ever_used, has_belongings_with_tasks, may_change_use_of_credential

IS_OPEN = task.c.status.in_([literal(status, literal_execute=True) for status in OPEN])
_is_chore = task.c.operation.in_([literal(name, literal_execute=True) for name in sorted(CHORES)])
_is_due = task.c.next_attempt_at <= func.now()
_is_one_of_these = task.c.task_id == func.any(bindparam("task_ids", type_=ARRAY(UUID(as_uuid=False))))
# Types of objects whose lines others may need.
_NEEDED_TYPES = [literal(name, literal_execute=True) for name in ("credential", "key", "team", "user")]


DELETED_TOGETHER = ("team", "user", "key")
"""Types of which several objects can be deleted by one task."""


class Origin(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a submission came from, for the audit log."""

    request_id: str
    source_address: str | None = None
    changed_by: str | None = None


class Canceller(msgspec.Struct, frozen=True, kw_only=True):
    """Who called a task off, for the audit log; ``principal`` is an ``identity()``."""

    principal: Principal
    origin: Origin


class NewTask(msgspec.Struct, frozen=True, kw_only=True):
    """The row of an accepted command."""

    task_id: str
    operation: str
    object_type: str
    object_id: str
    needs: list[str] | None = None
    command: msgspec.Raw
    digest: str
    principal: Principal
    submitted_by: str
    origin: Origin
    idempotency_key: str | None
    webhook_url: str | None
    retry_of: str | None = None
    submitted_at: datetime


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """A task that this transaction holds locked.

    Command, principal and origin are as they are stored: what cannot be read must break off its own attempt, not every
    claim.
    """

    task_id: str
    seq: int
    operation: str
    object_type: str
    object_id: str
    command: Any
    principal: dict[str, Any]
    submitted_by: str
    origin: dict[str, Any]
    webhook_url: str | None
    """Sealed."""
    is_cancelled: bool = False
    cancelled_by: dict[str, Any] | None = None
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
CLAIM_COLUMNS = (
    task.c.task_id,
    task.c.seq,
    task.c.operation,
    task.c.object_type,
    task.c.object_id,
    task.c.command,
    task.c.principal,
    task.c.submitted_by,
    task.c.origin,
    task.c.webhook_url,
    task.c.cancel_requested_at.is_not(None).label("is_cancelled"),
    task.c.cancelled_by,
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
    task.c.cancel_requested_at,
    task.c.retry_of,
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


@cache
def insert_tasks() -> Insert:
    """Accepts the tasks of one group commit, in their order. Parameter: ``packed(list[NewTask])``.

    Repeating it is harmless. A conflict on an idempotency key is not passed over.
    """
    return insert_rows(task, *_NEW_COLUMNS).on_conflict_do_nothing(index_elements=[task.c.task_id])


def insert_unless_known() -> Insert:
    """As ``insert_tasks``, but passes over those whose idempotency key was used before."""
    return insert_rows(task, *_NEW_COLUMNS).on_conflict_do_nothing()


def accepted_with_keys(user_ids: list[str], keys: list[str]) -> Selection:
    """The tasks that these users submitted with these idempotency keys. Index: uq_task_idempotency_key."""
    pairs = list(zip(user_ids, keys, strict=True))
    return select(task.c.task_id, task.c.digest, task.c.submitted_by, task.c.idempotency_key).where(
        task.c.idempotency_key.is_not(None), tuple_(task.c.submitted_by, task.c.idempotency_key).in_(pairs)
    )


def waiting_on(refs: list[ObjectRef]) -> Selection:
    """Open tasks in the lines of these objects, oldest first, but for those that will be cancelled.

    With the owners that their commands name, which are those of the objects that they create. A deletion of several
    stands in the line of the first and ``needs`` the others. Index: ix_task_open_line, ix_task_open_needs.
    """
    lines = [ref.line for ref in refs]
    ends_it = and_(
        task.c.needs.overlap(bindparam("lines", lines, type_=ARRAY(Text))),
        task.c.operation.in_([literal(f"{kind}.delete", literal_execute=True) for kind in DELETED_TOGETHER]),
    )
    return (
        select(
            task.c.task_id,
            task.c.operation,
            task.c.digest,
            task.c.submitted_by,
            task.c.object_type,
            task.c.object_id,
            task.c.needs,
            task.c.command["team_id"].astext.label("team_id"),
            task.c.command["user_id"].astext.label("user_id"),
        )
        .where(IS_OPEN, task.c.cancel_requested_at.is_(None), or_(task.c.line.in_(lines), ends_it))
        .order_by(task.c.seq)
    )


# --- applying ---


@cache  # building it takes as long as running it
def claim_heads(*, of_these: bool = False) -> Selection:
    """Locks due tasks that are first in their line, oldest first, passing over those that another worker holds.

    A task also waits for what was accepted earlier in a line that it needs, for what was accepted earlier and needs
    its own line, and for what decides with it whether a credential is used; the end of a team also for what was
    accepted earlier for its models and keys. Parameters: ``limit``, and ``task_ids`` if
    it is to lock only ``of_these``.
    Index: ix_task_open_seq; ix_task_open_line and ix_task_open_needs for the probes.
    """
    other, is_open, is_earlier = _others()
    same_line = and_(other.c.line == task.c.line, is_open)
    is_blocked = or_(exists().where(same_line, is_earlier), _waits_for_other_lines())
    statement = select(
        *CLAIM_COLUMNS, exists().where(same_line, other.c.seq > task.c.seq).label("has_followers")
    ).where(IS_OPEN, _is_due, ~_is_chore, ~is_blocked)
    if of_these:
        statement = statement.where(_is_one_of_these)
    limit = bindparam("limit", type_=Integer)
    return statement.order_by(task.c.seq).limit(limit).with_for_update(skip_locked=True, of=task)


def _others() -> tuple[FromClause, ColumnElement[bool], ColumnElement[bool]]:
    """Tasks beside the one in question; that such a task is open, and that it was accepted earlier."""
    other = task.alias("other")
    is_open = other.c.status.in_([literal(status, literal_execute=True) for status in OPEN])
    return other, is_open, other.c.seq < task.c.seq


def _waits_for_other_lines() -> ColumnElement[bool]:
    """Whether anything that was accepted earlier in other lines comes first. Index: ix_task_open_line or _needs."""
    other, is_open, is_earlier = _others()
    return or_(
        and_(task.c.needs.is_not(None), exists().where(is_open, is_earlier, other.c.line == func.any(task.c.needs))),
        and_(
            task.c.object_type.in_(_NEEDED_TYPES),
            exists().where(is_open, is_earlier, other.c.needs.contains(array([task.c.line]))),
        ),
        and_(task.c.operation == "credential.delete", may_change_use_of_credential(task, other, is_open, is_earlier)),
        and_(task.c.operation == "team.delete", has_belongings_with_tasks(task, other, is_open, is_earlier)),
        and_(
            task.c.operation == "model.rollback",
            exists().where(is_open, is_earlier, other.c.object_type == "credential", ever_used(task, other)),
        ),
    )


def claim_followers(refs: list[ObjectRef], limit: int) -> Selection:
    """Locks what waits behind claimed heads, in order. Only the holder of a head takes these.

    ``is_free`` is false for what must not be taken yet; nor may what stands behind it. Whatever may rename a model is
    claimed as a head, because what lists the name is loaded by the name that is stored.
    """
    may_rename = or_(
        task.c.operation == "model.rollback",
        and_(task.c.operation == "model.update", task.c.command["model_name"].astext.is_not(None)),
    )
    return (
        select(*CLAIM_COLUMNS, and_(_is_due, ~_waits_for_other_lines(), not_(may_rename)).label("is_free"))
        .where(IS_OPEN, task.c.line.in_([ref.line for ref in refs]))
        .order_by(task.c.seq)
        .limit(limit)
        .with_for_update(of=task)
    )


@cache
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
        .where(task.c.task_id == task_id, IS_OPEN)
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
        .where(task.c.task_id == task_id, IS_OPEN)
        .values(
            status="queued",
            version=task.c.version + 1,
            attempt=attempt,
            next_attempt_at=next_attempt_at,
            last_error=last_error,
        )
    )


# --- seeing ---


@cache
def by_ids() -> Selection:
    """Parameter: ``task_ids``."""
    return select(*VIEW_COLUMNS).where(_is_one_of_these)


@cache
def versions() -> Selection:
    """How far these tasks have come, for waiters that missed a wake-up. Parameter: ``task_ids``."""
    return select(task.c.task_id, task.c.version, task.c.status).where(_is_one_of_these)


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


# --- cancelling and retrying ---


def request_cancel(now: datetime, by: Canceller, *, passes_over_held: bool = False) -> Update:
    """Asks for open tasks to be ended without effect, and makes them due: whoever claims them next ends them.

    Of several, those that somebody holds are to be passed over: whoever waits for one row while it has another
    locked can deadlock with a worker. Parameter: ``task_ids``.
    """
    wanted = and_(_is_one_of_these, IS_OPEN, task.c.cancel_requested_at.is_(None))
    if passes_over_held:
        free = select(task.c.task_id).where(wanted).with_for_update(skip_locked=True).cte("free")
        wanted = task.c.task_id.in_(select(free.c.task_id))
    return (
        update(task)
        .where(wanted)
        .values(
            cancel_requested_at=now,
            cancelled_by=msgspec.to_builtins(by),
            next_attempt_at=func.now(),
            version=task.c.version + 1,
        )
        .returning(task.c.task_id)
    )


def to_cancel(*, limit: int, submitted_by: str | None, **equal: str) -> Selection:
    """The oldest open tasks that nobody asked to cancel yet. Index: ix_task_open_seq."""
    return _matching(submitted_by, equal).where(IS_OPEN, task.c.cancel_requested_at.is_(None)).limit(limit)


def failed(*, limit: int, submitted_by: str | None, **equal: str) -> Selection:
    """The oldest failed tasks that were not tried again yet. Index: ix_task_retry_of for that."""
    again = task.alias("again")
    is_retried = exists().where(again.c.retry_of == task.c.task_id)
    return _matching(submitted_by, equal).where(task.c.status == "failed", ~is_retried).limit(limit)


def _matching(submitted_by: str | None, equal: Mapping[str, str]) -> Selection:
    statement = select(task.c.task_id).order_by(task.c.seq)
    if submitted_by is not None:
        statement = statement.where(task.c.submitted_by == submitted_by)
    for name, value in equal.items():
        statement = statement.where(task.c[name] == value)
    return statement


def to_retry(task_id: str) -> Selection:
    """A task with its command, to be submitted anew."""
    return select(
        task.c.task_id,
        task.c.operation,
        task.c.status,
        task.c.command,
        task.c.webhook_url,
        task.c.submitted_by,
    ).where(task.c.task_id == task_id)


# --- retention ---


def purge(ended_before: datetime, limit: int) -> Delete:
    """Deletes some of the tasks that ended before, with their idempotency keys; never one that has not ended.

    A task whose announcement is still to be delivered stays. Index: ix_task_finished_at.
    """
    pending = exists().where(delivery.c.task_id == task.c.task_id, delivery.c.status == "pending")
    old = (
        select(task.c.task_id)
        .where(task.c.finished_at < ended_before, ~pending)
        .order_by(task.c.finished_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .subquery()
    )
    return delete(task).where(task.c.task_id.in_(select(old.c.task_id)))


# --- sweeping ---


def due(limit: int) -> Selection:
    """The oldest due tasks that nobody holds."""
    return (
        select(task.c.task_id)
        .where(IS_OPEN, _is_due)
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
        .where(IS_OPEN, task.c.next_attempt_at < long_ago)
        .where(or_(is_overtaken, func.coalesce(last_ended_at < long_ago, true())))
        .order_by(task.c.seq)
        .limit(limit)
        .with_for_update(skip_locked=True, of=task)
    )


def progress() -> Selection:
    """Since when the oldest due task waits, and when a task last ended; each ``None`` where there is none."""
    oldest = select(task.c.next_attempt_at).where(IS_OPEN, _is_due).order_by(task.c.seq).limit(1).scalar_subquery()
    last = select(func.max(task.c.finished_at)).scalar_subquery()
    return select(oldest.label("due_since"), last.label("last_ended_at"), func.now().label("now"))
