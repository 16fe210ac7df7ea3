"""Statements on secrets that did not open: noted by whoever met them, told once by whoever sweeps."""

from datetime import datetime
from typing import Self

import msgspec
from sqlalchemy import Delete, Update, delete, func, select, update
from sqlalchemy.dialects.postgresql import Insert

from shared.encryption.sealing import UnreadableField
from shared.store.rows import Selection, insert_rows, rows_of
from shared.store.tables import unreadable_secret


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a value lies that does not open, and the id of the key that it would need."""

    object_type: str
    object_id: str
    field: str
    key_id: str

    @classmethod
    def of(cls, unreadable: UnreadableField) -> Self:
        return cls(
            object_type=unreadable.object_type,
            object_id=unreadable.object_id,
            field=unreadable.field,
            key_id=unreadable.key_id,
        )


_FIELDS = Place.__struct_fields__
_KEY = tuple(unreadable_secret.primary_key.columns)


def note() -> Insert:
    """Parameter: ``packed(list[Place])``, no two alike. One that is known was seen once more."""
    statement = insert_rows(unreadable_secret, *_FIELDS)
    return statement.on_conflict_do_update(index_elements=_KEY, set_={"seen_at": func.now()})


def untold_locked(limit: int) -> Selection:
    """Some that nobody was told of; several sweeps do not take the same. Index: ix_unreadable_secret_untold."""
    return (
        select(*(unreadable_secret.c[name] for name in _FIELDS))
        .where(unreadable_secret.c.told_at.is_(None))
        .limit(limit)
        .with_for_update(skip_locked=True)
    )


def told() -> Update:
    """Parameter: ``packed(list[Place])``."""
    given = rows_of(unreadable_secret, *_FIELDS)
    is_one = [column == given.c[column.name] for column in _KEY]
    return update(unreadable_secret).where(*is_one).values(told_at=func.now())


def purge(seen_before: datetime, limit: int) -> Delete:
    """Forgets what was not met since then. Whoever meets it again has it told again."""
    old = (
        select(*_KEY)
        .where(unreadable_secret.c.told_at.is_not(None), unreadable_secret.c.seen_at < seen_before)
        .limit(limit)
        .subquery()
    )
    return delete(unreadable_secret).where(*(column == old.c[column.name] for column in _KEY))
