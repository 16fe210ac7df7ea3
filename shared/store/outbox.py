"""Statements on events, their deliveries, and the secrets that sign them."""

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any, Literal

import msgspec
from sqlalchemy import Delete, Text, Update, bindparam, delete, exists, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY, UUID, Insert, insert

from shared.outbox.routing import Destination
from shared.store.rows import Selection, insert_rows, rows_of
from shared.store.tables import delivery, delivery_attempt, event, signing_secret


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
    """One event for one destination. A held one is born failed: only a replay sends it."""

    delivery_id: str
    event_id: str
    destination: Destination
    destination_id: str
    webhook_id: str | None
    task_id: str | None
    status: Literal["pending", "failed"] = "pending"
    give_up_at: datetime
    finished_at: datetime | None = None


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try, as the attempt log keeps it."""

    delivery_id: str
    number: int
    attempted_at: datetime
    status_code: int | None
    error: str | None
    latency_ms: int
    excerpt: str


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """Where an attempt leaves its delivery: ended, or pending until the next."""

    delivery_id: str
    attempt: int
    status: Literal["pending", "succeeded", "failed"]
    next_attempt_at: datetime
    finished_at: datetime | None


# Literal, so that a prepared statement's generic plan still finds the partial indexes.
is_pending = delivery.c.status == literal("pending", literal_execute=True)
# The same, where deliveries are known by their ids: no partial index tempts the planner away from the primary key.
_is_open = delivery.c.finished_at.is_(None)
is_due = delivery.c.next_attempt_at <= func.now()


@cache
def insert_events() -> Insert:
    """Parameter: ``packed(list[StoredEvent])``."""
    return insert_rows(event, *StoredEvent.__struct_fields__)


@cache
def insert_deliveries() -> Insert:
    """Parameter: ``packed(list[NewDelivery])``."""
    return insert_rows(delivery, *NewDelivery.__struct_fields__)


def log_attempts() -> Insert:
    """Parameter: ``packed(list[Attempt])``. Repeating one is harmless."""
    return insert_rows(delivery_attempt, *Attempt.__struct_fields__).on_conflict_do_nothing()


def move() -> Update:
    """Parameter: ``packed(list[Move])``. Passes over those of which a later attempt has been leased meanwhile."""
    given = rows_of(delivery, *Move.__struct_fields__)
    return (
        update(delivery)
        .where(delivery.c.delivery_id == given.c.delivery_id, delivery.c.attempt == given.c.attempt, _is_open)
        .values(status=given.c.status, next_attempt_at=given.c.next_attempt_at, finished_at=given.c.finished_at)
    )


def hand_back() -> Update:
    """Makes leased deliveries due again whose attempt was not made. Parameter: packed ``delivery_id, attempt``."""
    given = rows_of(delivery, "delivery_id", "attempt")
    return (
        update(delivery)
        .where(delivery.c.delivery_id == given.c.delivery_id, delivery.c.attempt == given.c.attempt, _is_open)
        .values(attempt=delivery.c.attempt - 1, next_attempt_at=func.now())
    )


def give_up(destination_ids: list[str]) -> Update:
    """Ends what these destinations did not take in time. Index: ix_delivery_line."""
    return (
        update(delivery)
        .where(
            delivery.c.destination_id == func.any(bindparam("destination_ids", destination_ids, type_=ARRAY(Text))),
            is_pending,
            delivery.c.give_up_at <= func.now(),
        )
        .values(status="failed", finished_at=func.now())
    )


def replay_one(webhook_id: str, delivery_id: str, give_up_at: datetime) -> Update:
    """Makes one delivery due again, whatever became of it; one that is pending is only hurried."""
    return _replayed(give_up_at).where(delivery.c.webhook_id == webhook_id, delivery.c.delivery_id == delivery_id)


def replay_failed(webhook_id: str, since: datetime, give_up_at: datetime) -> Update:
    """Makes due again what failed of the events since then. Index: ix_delivery_webhook_id_delivery_id."""
    return _replayed(give_up_at).where(
        delivery.c.webhook_id == webhook_id,
        delivery.c.status == "failed",
        delivery.c.event_id == event.c.event_id,
        event.c.occurred_at >= since,
    )


def _replayed(give_up_at: datetime) -> Update:
    return update(delivery).values(
        status="pending",
        schedule_from=delivery.c.attempt,
        next_attempt_at=func.now(),
        give_up_at=give_up_at,
        finished_at=None,
    )


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


# --- seeing ---


def of_webhook(webhook_id: str, *, limit: int, before_id: str | None, status: str | None) -> Selection:
    """The deliveries of one endpoint, newest first. Index: ix_delivery_webhook_id_delivery_id."""
    statement = _deliveries().where(delivery.c.webhook_id == webhook_id).order_by(delivery.c.delivery_id.desc())
    if before_id is not None:
        statement = statement.where(delivery.c.delivery_id < before_id)
    if status is not None:
        statement = statement.where(delivery.c.status == status)
    return statement.limit(limit)


def one_of_webhook(webhook_id: str, delivery_id: str) -> Selection:
    return _deliveries().where(delivery.c.webhook_id == webhook_id, delivery.c.delivery_id == delivery_id)


def attempts_of(delivery_id: str) -> Selection:
    return (
        select(*delivery_attempt.c)
        .where(delivery_attempt.c.delivery_id == delivery_id)
        .order_by(delivery_attempt.c.number)
    )


def _deliveries() -> Selection:
    return select(
        delivery.c.delivery_id,
        delivery.c.event_id,
        event.c.type,
        event.c.occurred_at,
        delivery.c.status,
        delivery.c.attempt,
        delivery.c.next_attempt_at,
        delivery.c.finished_at,
    ).join_from(delivery, event, event.c.event_id == delivery.c.event_id)
