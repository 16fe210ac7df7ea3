"""Tells the database how much each key has sealed, so that a key is changed long before random nonces may repeat."""

import asyncio

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.encryption.keyring import MOST_SEALS, Keyring
from shared.store import sealed

REPORT_EVERY_S = 30.0
# A sixteenth of the budget: at a thousand new models a second there are still days to rotate in.
WARN_AT = MOST_SEALS // 16

_log = structlog.get_logger(__name__)


class SealBudget:
    """What a process has not reported when it is killed is lost: the count is a lower bound, the limit far away."""

    def __init__(self, engine: AsyncEngine, keyring: Keyring) -> None:
        self._engine = engine
        self._keyring = keyring
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._loop = asyncio.create_task(self._report_regularly())

    async def stop(self) -> None:
        """Reports the rest."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        await self.report()

    async def report(self) -> None:
        count = self._keyring.take_seal_count()
        if count == 0:
            return
        key_id = self._keyring.writing_key_id
        try:
            async with self._engine.begin() as connection:
                seals: int = (await connection.execute(sealed.add_seals(key_id, count))).scalar_one()
        except (SQLAlchemyError, OSError) as error:
            self._keyring.give_back_seal_count(count)
            _log.warning("seal_count.not_reported", error=type(error).__name__)
            return
        if seals >= WARN_AT:
            _log.warning("encryption.key_worn", key_id=key_id, seals=seals, limit=MOST_SEALS)

    async def _report_regularly(self) -> None:
        while True:
            await asyncio.sleep(REPORT_EVERY_S)
            await self.report()
