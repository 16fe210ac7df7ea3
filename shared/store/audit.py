"""Statements on the audit log and on the head row where it ends."""

from datetime import datetime
from functools import cache

import msgspec
from sqlalchemy import Update, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import Insert

from shared.audit.entries import AuditEntry
from shared.store.rows import AnyRow, Selection, fields_of, insert_rows
from shared.store.tables import audit_entry, head

_COLUMNS = AuditEntry.__struct_fields__


@cache
def lock_head() -> Selection:
    """Takes the one serial point of the system; the last lock of a transaction."""
    return select(head.c.position, head.c.hash, head.c.revision, head.c.model_count).with_for_update()


@cache
def move_head() -> Update:
    """Parameters: ``new_position``, ``new_hash``, ``new_revision``, ``new_model_count``."""
    return update(head).values(
        position=bindparam("new_position"),
        hash=bindparam("new_hash"),
        revision=bindparam("new_revision"),
        model_count=bindparam("new_model_count"),
    )


@cache
def append() -> Insert:
    """Parameter: ``packed(list[AuditEntry])``."""
    return insert_rows(audit_entry, *_COLUMNS)


class EntryFilter(msgspec.Struct, frozen=True, kw_only=True):
    """What a page is narrowed down to; None narrows nothing. Both times are included."""

    action: str | None = None
    operation: str | None = None
    object_type: str | None = None
    object_id: str | None = None
    actor: str | None = None
    actor_key: str | None = None
    changed_by: str | None = None
    task_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def page(wanted: EntryFilter, *, limit: int, offset: int = 0, before: int | None = None) -> Selection:
    """Newest first, by position; ``before`` is a position. Index: the primary key, walked backwards."""
    statement = _filtered(select(audit_entry), wanted).order_by(audit_entry.c.position.desc()).limit(limit)
    if before is not None:
        statement = statement.where(audit_entry.c.position < before)
    return statement.offset(offset) if offset else statement


def count(wanted: EntryFilter) -> Selection:
    return _filtered(select(func.count()).select_from(audit_entry), wanted)


def by_entry_id(entry_id: str) -> Selection:
    return select(audit_entry).where(audit_entry.c.entry_id == entry_id)


def known_ids(entry_ids: list[str]) -> Selection:
    return select(audit_entry.c.entry_id).where(audit_entry.c.entry_id.in_(entry_ids))


def in_order(after_position: int = 0, limit: int = 1000, until_position: int | None = None) -> Selection:
    """The chain from one position on, for its verification and its export."""
    statement = select(audit_entry).where(audit_entry.c.position > after_position)
    if until_position is not None:
        statement = statement.where(audit_entry.c.position <= until_position)
    return statement.order_by(audit_entry.c.position).limit(limit)


def head_now() -> Selection:
    """Where the chain ends, without a lock."""
    return select(head.c.position, head.c.hash)


def hash_at(position: int) -> Selection:
    return select(audit_entry.c.position, audit_entry.c.hash).where(audit_entry.c.position == position)


def from_row(row: AnyRow) -> AuditEntry:
    return AuditEntry(**fields_of(row))


def _filtered(statement: Selection, wanted: EntryFilter) -> Selection:
    for name in ("action", "operation", "object_type", "object_id", "actor", "actor_key", "task_id"):
        if (value := getattr(wanted, name)) is not None:
            statement = statement.where(audit_entry.c[name] == value)
    if wanted.changed_by is not None:
        # Whoever said nothing of a change being made for somebody else made it for themselves.
        made_for = func.coalesce(audit_entry.c.changed_by, audit_entry.c.actor)
        statement = statement.where(made_for == wanted.changed_by)
    if wanted.since is not None:
        statement = statement.where(audit_entry.c.recorded_at >= wanted.since)
    if wanted.until is not None:
        statement = statement.where(audit_entry.c.recorded_at <= wanted.until)
    return statement
