"""Many rows in one statement: they travel as one JSON document, so a batch costs one round trip whatever its size."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import JSON, FromClause, Table, Text, bindparam, cast, column, func, select
from sqlalchemy.dialects.postgresql import Insert, insert


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
