"""Runs the store's selects on the API's engine."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from sqlalchemy import Executable, UpdateBase
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.domain.problems import InvalidQuery, Unavailable
from shared.store.engines import is_transient, is_unstorable_text
from shared.store.rows import AnyRow, Selection

T = TypeVar("T")


class Reads:
    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = single_statements(engine)

    async def rows(self, statement: Selection, **parameters: object) -> Sequence[AnyRow]:
        """Raises Unavailable."""
        return await self._run(statement, parameters)

    async def row(self, statement: Selection, **parameters: object) -> AnyRow | None:
        """The first row, if any. Raises Unavailable."""
        rows = await self.rows(statement, **parameters)
        return rows[0] if rows else None

    async def write(self, statement: UpdateBase, **parameters: object) -> Sequence[AnyRow]:
        """For task rows, and the few others that belong to nobody's line; a statement that may be repeated.

        Returns the rows that the statement says it returns. Raises Unavailable.
        """
        return await self._run(statement, parameters)

    async def _run(self, statement: Executable, parameters: dict[str, object]) -> Sequence[AnyRow]:
        async def run() -> Sequence[AnyRow]:
            async with self._engine.connect() as connection:
                result = await connection.execute(statement, parameters)
                return result.all() if result.returns_rows else ()

        try:
            return await or_on_a_new_connection(run)
        except (SQLAlchemyError, OSError) as error:
            raise translated(error) from error


def single_statements(engine: AsyncEngine) -> AsyncEngine:
    """The same connections without BEGIN and COMMIT: two round trips less where one statement is all."""
    return engine.execution_options(isolation_level="AUTOCOMMIT")


async def or_on_a_new_connection(work: Callable[[], Awaitable[T]]) -> T:
    """Do it, and once more if the connection was lost, which may have been long ago: only its use shows it.

    What is done must be harmless to repeat, because the first time may have been a success that nobody heard of.
    """
    try:
        return await work()
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
    return await work()


def translated(error: Exception) -> Exception:
    """What passes by itself is the client's to repeat, and a text with a NUL to mend; anything else is a bug."""
    if is_transient(error):
        return Unavailable()
    if is_unstorable_text(error):
        return InvalidQuery("query", "holds a character that no stored text can hold")
    return error
