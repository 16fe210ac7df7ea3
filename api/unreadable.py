"""Stored secrets that do not open: each is told to the operator once, however often it is read."""

import asyncio

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.encryption.sealing import UnreadableField
from shared.store import unreadable as store
from shared.store.rows import packed
from shared.store.unreadable import Place

NOTE_EVERY_S = 1.0
# So many places are remembered; what is beyond is logged each time, and not noted.
_MOST_REMEMBERED = 10_000

_log = structlog.get_logger(__name__)
_told: set[Place] = set()
_to_note: list[Place] = []


def report(unreadable: UnreadableField) -> None:
    place = Place.of(unreadable)
    if place in _told:
        return
    if len(_told) < _MOST_REMEMBERED:
        _told.add(place)
        _to_note.append(place)
    _log.error(
        "secret.unreadable",
        object_type=place.object_type,
        object_id=place.object_id,
        field=place.field,
        key_id=place.key_id,
        reason=unreadable.reason,
        places=len(_told),
    )


class UnreadableNotes:
    """Notes in the database what was reported, for the sweep to announce: a read waits for none of it."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._loop = asyncio.create_task(self._note_regularly())

    async def stop(self) -> None:
        """Notes the rest."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        await self.note()

    async def note(self) -> None:
        places = _to_note.copy()
        if not places:
            return
        try:
            async with self._engine.begin() as connection:
                await connection.execute(store.note(), packed(places))
        except (SQLAlchemyError, OSError) as error:
            _log.warning("secret.unreadable_not_noted", error=type(error).__name__)
            return
        del _to_note[: len(places)]

    async def _note_regularly(self) -> None:
        while True:
            await asyncio.sleep(NOTE_EVERY_S)
            await self.note()
