"""Statements on events, their deliveries, and the secrets that sign them."""

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any, Literal

import msgspec
from sqlalchemy import Delete, Update, bindparam, delete, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY, UUID, Insert, insert

from shared.outbox.routing import Destination
from shared.store.rows import Selection, insert_rows
from shared.store.tables import delivery, delivery_attempt, event, signing_secret, task


class StoredEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event in the outbox; its id is the ``webhook-id`` of every attempt and replay."""

    event_id: str
    type: str
    occurred_at: datetime
    object_type: str
    object_id: str
    data: Mapping[str, Any]
    task_id: str | None


class NewDelivery(msgspec.Struct, frozen=True, kw_only=True):
    delivery_id: str
    event_id: str
    destination: Destination
    task_id: str | None


class DueDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """One event to be sent to one destination, with all that sending needs."""

    delivery_id: str
    event_id: str
    destination: Destination
    attempt: int
    type: str
    occurred_at: datetime
    data: dict[str, Any]
    task_id: str | None
    webhook_url: str | None
    submitted_by: str | None


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try, as the attempt log keeps it."""

    delivery_id: str
    number: int
    attempted_at: datetime
    status_code: int | None
    error: str | None
    latency_ms: int
    excerpt: str


_is_pending = delivery.c.status == "pending"
_is_due = delivery.c.next_attempt_at <= func.now()


@cache
def insert_events() -> Insert:
    """Parameter: ``packed(list[StoredEvent])``."""
    return insert_rows(event, *StoredEvent.__struct_fields__)


@cache
def insert_deliveries() -> Insert:
    """Parameter: ``packed(list[NewDelivery])``."""
    return insert_rows(delivery, *NewDelivery.__struct_fields__)


def lease_due(limit: int, lease_s: float) -> Update:
    """Takes due deliveries, the longest due first, for this long: counts the attempt before it is made.

    Nobody else takes them while the lease runs; if the sender dies, they are due again when it has run out.
    """
    due = (
        select(delivery.c.delivery_id)
        .where(_is_pending, _is_due)
        .order_by(delivery.c.next_attempt_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .subquery()
    )
    return (
        update(delivery)
        .where(delivery.c.delivery_id == due.c.delivery_id)
        .values(
            attempt=delivery.c.attempt + 1,
            next_attempt_at=func.now() + func.make_interval(0, 0, 0, 0, 0, 0, lease_s),
        )
        .returning(delivery.c.delivery_id)
    )


def to_send(delivery_ids: list[str]) -> Selection:
    """What sending these needs."""
    return (
        select(
            delivery.c.delivery_id,
            delivery.c.event_id,
            delivery.c.destination,
            delivery.c.attempt,
            event.c.type,
            event.c.occurred_at,
            event.c.data,
            delivery.c.task_id,
            task.c.webhook_url,
            task.c.submitted_by,
        )
        .join_from(delivery, event, event.c.event_id == delivery.c.event_id)
        .outerjoin(task, task.c.task_id == delivery.c.task_id)
        .where(delivery.c.delivery_id.in_(delivery_ids))
    )


def finish(delivery_id: str, attempt: int, status: Literal["succeeded", "failed"], now: datetime) -> Update:
    """Ends a delivery, unless a later attempt has been leased meanwhile."""
    return _leased(delivery_id, attempt).values(status=status, finished_at=now)


def retry_at(delivery_id: str, attempt: int, next_attempt_at: datetime) -> Update:
    return _leased(delivery_id, attempt).values(next_attempt_at=next_attempt_at)


def log_attempt() -> Insert:
    """Parameters: an ``Attempt`` as a dictionary. Repeating one is harmless."""
    return insert(delivery_attempt).on_conflict_do_nothing()


def any_due() -> Selection:
    return select(delivery.c.delivery_id).where(_is_pending, _is_due).limit(1)


def purge(finished_before: datetime, limit: int) -> Delete:
    """Deletes some events all of whose deliveries ended before, with the deliveries and their attempts."""
    kept = exists().where(
        delivery.c.event_id == event.c.event_id,
        or_(delivery.c.finished_at.is_(None), delivery.c.finished_at >= finished_before),
    )
    old = select(event.c.event_id).where(event.c.occurred_at < finished_before, ~kept).limit(limit).subquery()
    return delete(event).where(event.c.event_id.in_(select(old.c.event_id)))


def of_tasks(task_ids: list[str]) -> Selection:
    """The callbacks of tasks with every attempt, in order."""
    return (
        select(
            delivery.c.task_id,
            delivery.c.delivery_id,
            delivery.c.event_id,
            delivery.c.status,
            delivery.c.attempt,
            delivery.c.next_attempt_at,
            delivery_attempt.c.number,
            delivery_attempt.c.attempted_at,
            delivery_attempt.c.status_code,
            delivery_attempt.c.error,
            delivery_attempt.c.latency_ms,
            delivery_attempt.c.excerpt,
        )
        .outerjoin(delivery_attempt, delivery_attempt.c.delivery_id == delivery.c.delivery_id)
        .where(
            delivery.c.task_id == func.any(bindparam("task_ids", task_ids, type_=ARRAY(UUID(as_uuid=False)))),
            delivery.c.destination == "callback",
        )
        .order_by(delivery.c.created_at, delivery.c.delivery_id, delivery_attempt.c.number)
    )


def add_signing_secret(user_id: str, sealed: str) -> Insert:
    """Keeps the first secret that anybody made for this user."""
    return insert(signing_secret).values(user_id=user_id, secret=sealed).on_conflict_do_nothing()


def signing_secret_of(user_id: str) -> Selection:
    return select(signing_secret.c.secret).where(signing_secret.c.user_id == user_id)


def _leased(delivery_id: str, attempt: int) -> Update:
    return update(delivery).where(delivery.c.delivery_id == delivery_id, delivery.c.attempt == attempt, _is_pending)
