"""Where sealed values lie: THE table of every column that holds ciphertext, and the statements that walk them.

A column that is not listed here is neither re-sealed nor verified, and its values are lost with their key.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    Column,
    ColumnElement,
    Table,
    Text,
    Update,
    bindparam,
    func,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.sql.dml import ReturningInsert

from shared.encryption.documents import JsonValue, Path
from shared.encryption.resealing import Resealer, at, with_value_at
from shared.encryption.sealing import Binding
from shared.store.rows import AnyRow, Selection, fields_of
from shared.store.tables import credential, model, model_revision, seal_count, signing_secret, task, webhook_endpoint

Key = tuple[Any, ...]
"""The primary key of a row, as JSON can hold it."""

_PARAMS: Path = ("litellm_params",)
_VALUES: Path = ("credential_values",)
_URL: Path = ("url",)
_SECRET: Path = ("secret",)


class SealedPart(msgspec.Struct, frozen=True):
    """One place in a column: the names that lead to it, the path that it was sealed with, and its object."""

    column: str
    inside: tuple[str, ...]
    path: Path
    binding: Callable[[AnyRow], Binding]


class SealedTable(msgspec.Struct, frozen=True):
    """A table with ciphertext; ``needed`` names further columns that the bindings look at."""

    table: Table
    parts: tuple[SealedPart, ...]
    needed: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.table.name

    @property
    def key(self) -> list[Column[Any]]:
        return list(self.table.primary_key.columns)

    @property
    def columns(self) -> list[str]:
        return list(dict.fromkeys(part.column for part in self.parts))

    def key_of(self, row: AnyRow) -> Key:
        fields = fields_of(row)
        return tuple(fields[column.name] for column in self.key)


def _model(row: AnyRow) -> Binding:
    return Binding("model", row.model_id)


def _credential(row: AnyRow) -> Binding:
    return Binding("credential", row.credential_name)


def _task_object(row: AnyRow) -> Binding:
    return Binding(row.object_type, row.object_id)


def _task(row: AnyRow) -> Binding:
    return Binding("task", row.task_id)


def _webhook(row: AnyRow) -> Binding:
    return Binding("webhook", row.webhook_id)


def _user(row: AnyRow) -> Binding:
    return Binding("signing_secret", row.user_id)


# In this order: what waits in tasks may yet become any of the others, and a model a revision.
SEALED_TABLES: tuple[SealedTable, ...] = (
    SealedTable(
        task,
        (
            SealedPart("command", ("litellm_params",), _PARAMS, _task_object),
            SealedPart("command", ("set_params",), _PARAMS, _task_object),
            SealedPart("command", ("credential_values",), _VALUES, _task_object),
            SealedPart("command", ("set_values",), _VALUES, _task_object),
            SealedPart("command", ("url",), _URL, _task_object),
            SealedPart("command", ("secret",), _SECRET, _task_object),
            SealedPart("result", ("litellm_params",), _PARAMS, _task_object),
            SealedPart("result", ("url",), _URL, _task_object),
            SealedPart("webhook_url", (), ("webhook_url",), _task),
        ),
        ("object_type", "object_id"),
    ),
    SealedTable(model, (SealedPart("litellm_params", (), _PARAMS, _model),)),
    SealedTable(model_revision, (SealedPart("state", ("litellm_params",), _PARAMS, _model),)),
    SealedTable(credential, (SealedPart("credential_values", (), _VALUES, _credential),)),
    SealedTable(
        webhook_endpoint,
        (
            SealedPart("url", (), _URL, _webhook),
            SealedPart("secret", (), _SECRET, _webhook),
            SealedPart("previous_secret", (), _SECRET, _webhook),
        ),
    ),
    SealedTable(signing_secret, (SealedPart("secret", (), _SECRET, _user),)),
)


# --- walking ---


def keys_after(place: SealedTable, after: Sequence[Any] | None, limit: int) -> Selection:
    """The next rows' keys in order. Index: the primary key."""
    statement = select(*place.key).order_by(*place.key).limit(limit)
    return statement if after is None else statement.where(tuple_(*place.key) > _key_values(place, after))


def rows_between(place: SealedTable, first: Key, last: Key) -> Selection:
    """Whole rows of a stretch, as far as they concern sealed values."""
    names = dict.fromkeys([*(column.name for column in place.key), *place.needed, *place.columns])
    return select(*(place.table.c[name] for name in names)).where(
        tuple_(*place.key) >= _key_values(place, first), tuple_(*place.key) <= _key_values(place, last)
    )


def stale_between(place: SealedTable, first: Key, last: Key, writing_key_id: str) -> Selection:
    """Those of them in which another key than this one has sealed something."""
    found: list[ColumnElement[bool]] = [_is_stale(place.table.c[name], writing_key_id) for name in place.columns]
    return rows_between(place, first, last).where(or_(*found))


def stale_between_locked(place: SealedTable, first: Key, last: Key, writing_key_id: str) -> Selection:
    """The same, locked until the commit, without those that somebody else holds: waiting here could deadlock."""
    return (
        stale_between(place, first, last, writing_key_id)
        .order_by(*place.key)
        .with_for_update(skip_locked=True, of=place.table)
    )


def count_rows(place: SealedTable) -> Selection:
    return select(func.count()).select_from(place.table)


def replace_sealed(place: SealedTable) -> Update:
    """Only columns that hold ciphertext, of rows that the caller has locked. Parameters: what ``resealed`` returns."""
    of_key = [column == bindparam(f"key_{column.name}", type_=column.type) for column in place.key]
    values = {name: bindparam(f"new_{name}", type_=place.table.c[name].type) for name in place.columns}
    return update(place.table).where(*of_key).values(values)


def resealed(place: SealedTable, row: AnyRow, resealer: Resealer) -> dict[str, Any] | None:
    """The row's ciphertext sealed anew, as parameters for ``replace_sealed``; None if nothing changes."""
    before = fields_of(row)
    after: dict[str, Any] = {name: before[name] for name in place.columns}
    for part in place.parts:
        value: JsonValue = at(after[part.column], part.inside)
        if value is not None:
            anew = resealer.reseal(part.binding(row), part.path, value)
            after[part.column] = with_value_at(after[part.column], part.inside, anew)
    if all(value == before[name] for name, value in after.items()):
        return None
    key = {f"key_{column.name}": before[column.name] for column in place.key}
    return key | {f"new_{name}": value for name, value in after.items()}


def look_at(place: SealedTable, row: AnyRow, resealer: Resealer) -> None:
    """Shows the row's sealed values to ``resealer``, which counts them."""
    fields = fields_of(row)
    for part in place.parts:
        value: JsonValue = at(fields[part.column], part.inside)
        if value is not None:
            resealer.look(part.binding(row), part.path, value)


# --- the budget of each key ---


def add_seals(key_id: str, count: int) -> ReturningInsert[Any]:
    """Returns how many there are now."""
    statement = insert(seal_count).values(key_id=key_id, seals=count)
    return statement.on_conflict_do_update(
        index_elements=[seal_count.c.key_id], set_={"seals": seal_count.c.seals + statement.excluded.seals}
    ).returning(seal_count.c.seals)


def seal_counts() -> Selection:
    return select(seal_count.c.key_id, seal_count.c.seals)


def digests_by_key() -> Selection:
    """How many of the tasks with an idempotency key are recognised by which encryption key."""
    key_id = func.split_part(task.c.digest, ":", 1)
    return (
        select(key_id.label("key_id"), func.count().label("tasks"), func.max(task.c.submitted_at).label("newest_at"))
        .where(task.c.idempotency_key.is_not(None))
        .group_by(key_id)
    )


def _is_stale(column: Column[Any], writing_key_id: str) -> ColumnElement[bool]:
    """A look at the text is enough: a plain value that looks like a sealed one is met, and left alone."""
    text = sql_cast(column, Text)
    return text.op("~")(bindparam(None, rf"pm1:(?!{writing_key_id}:)", type_=Text))


def _key_values(place: SealedTable, values: Sequence[Any]) -> Any:
    pairs = zip(place.key, values, strict=True)
    return tuple_(*(bindparam(None, value, type_=column.type) for column, value in pairs))
