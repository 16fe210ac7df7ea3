"""Rows in and out of statements. Many go in as one JSON document: a batch costs one round trip whatever its size."""

import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
from sqlalchemy import JSON, FromClause, Row, Select, Table, Text, bindparam, cast, column, func, select
from sqlalchemy.dialects.postgresql import Insert, insert

Selection: TypeAlias = Select[*tuple[Any, ...]]
AnyRow: TypeAlias = Row[*tuple[Any, ...]]


def fields_of(row: AnyRow) -> Mapping[str, Any]:
    """The row by column names."""
    # SQLAlchemy's documented way, underscore or not.
    return typing.cast("Mapping[str, Any]", row._mapping)  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001


def rows_of(table: Table, *names: str) -> FromClause:
    """The parameter ``rows`` (see ``packed``) as a relation with the types of the table's columns."""
    columns = [column(name, table.c[name].type) for name in names]
    document = cast(bindparam("rows", type_=Text), JSON)
    return func.json_to_recordset(document).table_valued(*columns, name="given").render_derived(with_types=True)


def insert_rows(table: Table, *names: str) -> Insert:
    given = rows_of(table, *names)
    return insert(table).from_select(list(names), select(*given.c))


def packed(rows: Sequence[Any]) -> dict[str, str]:
    """The parameter for ``rows_of``: structs or dictionaries whose fields are the columns."""
    return {"rows": msgspec.json.encode(rows).decode()}
