"""Statements on destinations: whose turn it is, what is taken for it, and how it fares.

A destination is leased as a whole: one worker at a time sends to it, so a cap on calls at a time holds over all workers
without a counter, and a dead worker's destination is free again when its lease has run out. Whose turn comes is the
same for one that waits with ten thousand deliveries as for one that waits with one.
"""

from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import (
    ARRAY,
    UUID,
    Column,
    Delete,
    Integer,
    Text,
    Update,
    bindparam,
    delete,
    exists,
    func,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import Insert, insert

from shared.outbox.breaker import Health
from shared.outbox.routing import Destination
from shared.store.outbox import is_due, is_pending
from shared.store.rows import Selection, rows_of
from shared.store.tables import delivery, destination, event, signing_secret, task, webhook_endpoint

UNSORTED: Final = "unsorted"
"""The destination of whatever an earlier release wrote. It is always there."""


class Turn(Health, frozen=True, kw_only=True):
    """A destination whose turn it is, and how it fared until now."""

    destination_id: str


class Fared(Turn, frozen=True, kw_only=True):
    """How a destination fares after its turn; ``lease_id`` proves that the turn was still its holder's."""

    lease_id: str


class Leased(msgspec.Struct, frozen=True, kw_only=True):
    """One event to be sent to one destination, with all that sending needs. Secrets and URLs are sealed."""

    delivery_id: str
    event_id: str
    destination: Destination
    destination_id: str
    attempt: int
    schedule_from: int
    type: str
    occurred_at: datetime
    data: dict[str, Any]
    task_id: str | None
    callback_url: str | None
    submitted_by: str | None
    signing_secret: str | None
    webhook_id: str | None
    endpoint_url: str | None
    endpoint_enabled: bool | None
    endpoint_version: int | None
    secret: str | None
    previous_secret: str | None
    overlap_until: datetime | None


def add() -> Insert:
    """Makes the rows of new destinations. Parameter: ``packed`` structs with a ``destination_id``.

    Those that are there are filtered out beforehand: a conflict would wait for the worker that has its turn. They are
    locked against ``remove``, and against nothing else.
    """
    given = rows_of(destination, "destination_id")
    there = (
        select(destination.c.destination_id)
        .where(destination.c.destination_id.in_(select(given.c.destination_id)))
        .order_by(destination.c.destination_id)
        .with_for_update(read=True, key_share=True)
        .cte("there")
    )
    is_new = ~exists().where(there.c.destination_id == given.c.destination_id)
    new = select(given.c.destination_id).distinct().where(is_new).order_by(given.c.destination_id)
    return insert(destination).from_select(["destination_id"], new).on_conflict_do_nothing()


def next_turns(limit: int) -> Selection:
    """Locks destinations that have something due, are not paused and nobody serves, the longest unserved first."""
    return (
        _with_due(*(destination.c[name] for name in Turn.__struct_fields__))
        .order_by(destination.c.served_at.asc().nulls_first())
        .limit(limit)
        .with_for_update(of=destination, skip_locked=True, key_share=True)
    )


def any_due() -> Selection:
    """A destination that has something due, if there is one whose turn it may be."""
    return _with_due(destination.c.destination_id).limit(1)


def _with_due(*columns: Column[Any]) -> Selection:
    """Walks ix_delivery_line from destination to destination, however many deliveries wait at each."""
    other = delivery.alias("other")
    is_other_pending = other.c.status == is_pending.right
    waiting = (
        select(func.min(delivery.c.destination_id).label("destination_id"))
        .where(is_pending)
        .cte("waiting", recursive=True)
    )
    following = (
        select(func.min(other.c.destination_id))
        .where(is_other_pending, other.c.destination_id > waiting.c.destination_id)
        .correlate(waiting)
        .scalar_subquery()
    )
    waiting = waiting.union_all(select(following).where(waiting.c.destination_id.is_not(None)))
    has_due = exists().where(delivery.c.destination_id == destination.c.destination_id, is_pending, is_due)
    return (
        select(*columns)
        .join_from(destination, waiting, waiting.c.destination_id == destination.c.destination_id)
        .where(_is_over(destination.c.leased_until), _is_over(destination.c.paused_until), has_due)
    )


def begin_turns(destination_ids: list[str], lease_id: str, lease_s: float) -> Update:
    """Nobody else sends to these while the lease runs."""
    return (
        update(destination)
        .where(destination.c.destination_id == func.any(bindparam("ids", destination_ids, type_=ARRAY(Text))))
        .values(lease_id=lease_id, leased_until=_in(lease_s), served_at=func.clock_timestamp())
    )


def due(rooms: dict[str, int]) -> Selection:
    """What is due for these turns, the longest first. ``rooms`` says how many each destination may have.

    Index: ix_delivery_line.
    """
    given = (
        func.unnest(
            bindparam("ids", list(rooms), type_=ARRAY(Text)),
            bindparam("rooms", list(rooms.values()), type_=ARRAY(Integer)),
        )
        .table_valued("destination_id", "room", name="given")
        .render_derived()
    )
    of_one = (
        select(delivery.c.delivery_id)
        .where(delivery.c.destination_id == given.c.destination_id, is_pending, is_due)
        .order_by(delivery.c.next_attempt_at, delivery.c.delivery_id)
        .limit(given.c.room)
        .correlate(given)
        .lateral("of_one")
    )
    return select(of_one.c.delivery_id).select_from(given.join(of_one, true()))


def take(delivery_ids: list[str], lease_s: float) -> Selection:
    """Counts the attempts before they are made; what is taken is due again when the lease has run out.

    Apart from ``due``: joined with it, 5,000 waiting deliveries took 20 s as long as the statistics knew of few. Index:
    the primary key, which ``finished_at`` leaves as the only one.
    """
    ids = bindparam("delivery_ids", delivery_ids, type_=ARRAY(UUID(as_uuid=False)))
    taken = (
        update(delivery)
        .where(delivery.c.delivery_id == func.any(ids), delivery.c.finished_at.is_(None))
        .values(attempt=delivery.c.attempt + 1, next_attempt_at=_in(lease_s))
        .returning(*delivery.c)
        .cte("taken")
    )
    return (
        select(
            taken.c.delivery_id,
            taken.c.event_id,
            taken.c.destination,
            taken.c.destination_id,
            taken.c.attempt,
            taken.c.schedule_from,
            event.c.type,
            event.c.occurred_at,
            event.c.data,
            taken.c.task_id,
            task.c.webhook_url.label("callback_url"),
            task.c.submitted_by,
            signing_secret.c.secret.label("signing_secret"),
            taken.c.webhook_id,
            webhook_endpoint.c.url.label("endpoint_url"),
            webhook_endpoint.c.enabled.label("endpoint_enabled"),
            webhook_endpoint.c.version.label("endpoint_version"),
            webhook_endpoint.c.secret,
            webhook_endpoint.c.previous_secret,
            webhook_endpoint.c.overlap_until,
        )
        .join_from(taken, event, event.c.event_id == taken.c.event_id)
        .outerjoin(task, task.c.task_id == taken.c.task_id)
        .outerjoin(signing_secret, signing_secret.c.user_id == task.c.submitted_by)
        .outerjoin(webhook_endpoint, webhook_endpoint.c.webhook_id == taken.c.webhook_id)
        .order_by(taken.c.delivery_id)
    )


def end_turns() -> Update:
    """Parameter: ``packed(list[Fared])``. A turn that somebody else has by now is left alone."""
    given = rows_of(destination, *Fared.__struct_fields__)
    kept = {name: given.c[name] for name in Turn.__struct_fields__ if name != "destination_id"}
    return (
        update(destination)
        .where(destination.c.destination_id == given.c.destination_id, destination.c.lease_id == given.c.lease_id)
        .values(**kept, lease_id=None, leased_until=None)
    )


def forget_failures(destination_ids: list[str]) -> Update:
    """A new chance: for an endpoint that was switched on, or a replay that was asked for."""
    return (
        update(destination)
        .where(destination.c.destination_id == func.any(bindparam("ids", destination_ids, type_=ARRAY(Text))))
        .values(consecutive_failures=0, pauses=0, failing_since=None, last_error=None, paused_until=None)
    )


def unused_locked(unused_since: datetime, limit: int) -> Selection:
    """Locks destinations that had no turn since then, passing over those to which something is just being added."""
    return (
        select(destination.c.destination_id)
        .where(destination.c.served_at < unused_since, destination.c.destination_id != UNSORTED)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )


def remove(destination_ids: list[str]) -> Delete:
    """Those of them, locked by an earlier statement, for which nothing waits: what was added before is seen now."""
    waits = exists().where(delivery.c.destination_id == destination.c.destination_id, is_pending)
    return delete(destination).where(
        destination.c.destination_id == func.any(bindparam("ids", destination_ids, type_=ARRAY(Text))), ~waits
    )


def _is_over(column: Any) -> Any:
    return or_(column.is_(None), column <= func.now())


def _in(seconds: float) -> Any:
    return func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)
