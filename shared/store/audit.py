"""Statements on the audit log and on the head row where it ends."""

from datetime import datetime
from functools import cache

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


def page(
    *, limit: int, offset: int, filters: dict[str, str], since: datetime | None, until: datetime | None
) -> Selection:
    """Newest first."""
    return (
        _filtered(select(audit_entry), filters, since, until)
        .order_by(audit_entry.c.position.desc())
        .limit(limit)
        .offset(offset)
    )


def count(filters: dict[str, str], since: datetime | None, until: datetime | None) -> Selection:
    return _filtered(select(func.count()).select_from(audit_entry), filters, since, until)


def by_entry_id(entry_id: str) -> Selection:
    return select(audit_entry).where(audit_entry.c.entry_id == entry_id)


def in_order(after_position: int = 0, limit: int = 1000) -> Selection:
    """The chain from one position on, for its verification."""
    return (
        select(audit_entry).where(audit_entry.c.position > after_position).order_by(audit_entry.c.position).limit(limit)
    )


def from_row(row: AnyRow) -> AuditEntry:
    return AuditEntry(**fields_of(row))


def _filtered(
    statement: Selection, filters: dict[str, str], since: datetime | None, until: datetime | None
) -> Selection:
    for name, value in filters.items():
        # Whoever said nothing of a change being made for somebody else made it for themselves.
        made_for = func.coalesce(audit_entry.c.changed_by, audit_entry.c.actor)
        statement = statement.where((made_for if name == "changed_by" else audit_entry.c[name]) == value)
    if since is not None:
        statement = statement.where(audit_entry.c.recorded_at >= since)
    if until is not None:
        statement = statement.where(audit_entry.c.recorded_at <= until)
    return statement
