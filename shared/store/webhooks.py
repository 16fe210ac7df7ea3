"""Statements on webhook endpoints."""

from typing import Any

import msgspec
from sqlalchemy import ARRAY, ColumnElement, Delete, Text, bindparam, delete, func, or_, select
from sqlalchemy.dialects.postgresql import Insert

from shared.domain.rights import Scope
from shared.domain.webhooks import Webhook
from shared.outbox.routing import Endpoint
from shared.store.rows import AnyRow, Selection, fields_of, insert_rows
from shared.store.tables import destination, webhook_endpoint

_FIELDS = Webhook.__struct_fields__
_health = (
    destination.c.consecutive_failures,
    destination.c.failing_since,
    destination.c.paused_until,
    destination.c.last_success_at,
)


def by_ids(webhook_ids: list[str]) -> Selection:
    """Index: the primary key."""
    return select(*(webhook_endpoint.c[name] for name in _FIELDS)).where(_is_one_of(webhook_ids))


def by_ids_locked(webhook_ids: list[str]) -> Selection:
    """Locks the endpoints, in the order of their ids, until the commit."""
    return by_ids(webhook_ids).order_by(webhook_endpoint.c.webhook_id).with_for_update()


def known_ids(webhook_ids: list[str]) -> Selection:
    """Which of these ids are stored, whose they are, and in which version."""
    columns = webhook_endpoint.c
    return select(columns.webhook_id, columns.team_id, columns.version, columns.updated_at).where(
        _is_one_of(webhook_ids)
    )


def listening(patterns: list[str], team_ids: list[str], only: list[str]) -> Selection:
    """The endpoints that may have to be told: of these types, of no team or of these, or these ones.

    Index: ix_webhook_endpoint_event_types and the primary key.
    """
    listens = webhook_endpoint.c.event_types.overlap(bindparam("patterns", patterns, type_=ARRAY(Text)))
    team = webhook_endpoint.c.team_id
    is_in_scope = or_(team.is_(None), team == func.any(bindparam("team_ids", team_ids, type_=ARRAY(Text))))
    return select(*(webhook_endpoint.c[name] for name in Endpoint.__struct_fields__)).where(
        or_(listens & is_in_scope, _is_one_of(only))
    )


def with_health(webhook_id: str) -> Selection:
    return _with_health().where(webhook_endpoint.c.webhook_id == webhook_id)


def page(*, limit: int, after_id: str | None, visible: Scope) -> Selection:
    """In the order of their ids, which is that of their creation. Index: the primary key."""
    statement = _with_health().order_by(webhook_endpoint.c.webhook_id).limit(limit)
    if after_id is not None:
        statement = statement.where(webhook_endpoint.c.webhook_id > after_id)
    if not visible.is_all:
        statement = statement.where(webhook_endpoint.c.team_id.in_(visible.team_ids))
    return statement


def save() -> Insert:
    """Writes the new states of endpoints. Parameter: ``packed(list[Webhook])``."""
    statement = insert_rows(webhook_endpoint, *_FIELDS)
    replaced: dict[str, Any] = {name: statement.excluded[name] for name in _FIELDS if name != "webhook_id"}
    return statement.on_conflict_do_update(index_elements=[webhook_endpoint.c.webhook_id], set_=replaced)


def remove(webhook_ids: list[str]) -> Delete:
    return delete(webhook_endpoint).where(_is_one_of(webhook_ids))


def from_row(row: AnyRow) -> Webhook:
    """Also of a row that holds more."""
    return msgspec.convert(fields_of(row), Webhook)


def _with_health() -> Selection:
    on = destination.c.destination_id == func.concat("webhook:", webhook_endpoint.c.webhook_id)
    return select(*(webhook_endpoint.c[name] for name in _FIELDS), *_health).outerjoin(destination, on)


def _is_one_of(webhook_ids: list[str]) -> ColumnElement[bool]:
    return webhook_endpoint.c.webhook_id == func.any(bindparam("webhook_ids", webhook_ids, type_=ARRAY(Text)))
