"""Runs the store's selects on the API's engine."""

from collections.abc import Sequence

from sqlalchemy import Executable
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.domain.problems import InvalidQuery, Unavailable
from shared.store.engines import is_transient, is_unstorable_text
from shared.store.rows import AnyRow, Selection


class Reads:
    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def rows(self, statement: Selection) -> Sequence[AnyRow]:
        """Raises Unavailable."""
        try:
            async with self._engine.connect() as connection:
                return (await connection.execute(statement)).all()
        except (SQLAlchemyError, OSError) as error:
            raise translated(error) from error

    async def row(self, statement: Selection) -> AnyRow | None:
        """The first row, if any. Raises Unavailable."""
        rows = await self.rows(statement)
        return rows[0] if rows else None

    async def write(self, statement: Executable) -> None:
        """For the few rows that belong to nobody's line. Raises Unavailable."""
        try:
            async with self._engine.begin() as connection:
                await connection.execute(statement)
        except (SQLAlchemyError, OSError) as error:
            raise translated(error) from error


def translated(error: Exception) -> Exception:
    """A failure that passes by itself is the client's to repeat; anything else is a bug and stays what it is."""
    if is_unstorable_text(error):
        return InvalidQuery("query", "holds a NUL, which no text here has")
    return Unavailable() if is_transient(error) else error
