"""What virtual keys stand for, as this process knows it: asked for once a second at most, whatever comes in."""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime

import structlog

from api.reads import Reads
from shared.domain.principals import Standing, principal_of
from shared.domain.problems import Unavailable
from shared.domain.rights import Principal
from shared.runtime.clock import now
from shared.store import principals

KNOWN_FOR_S = 1.0
"""A refusal takes effect everywhere within this time and that of a query."""
_MAX_KNOWN = 10_000
_NOTE_USE_EVERY_S = 60.0

_log = structlog.get_logger(__name__)


class VirtualKeys:
    """Keys by their tokens. Those that do not exist are remembered alike, so that guessing asks no more than using."""

    def __init__(self, reads: Reads, clock: Callable[[], datetime] = now) -> None:
        self._reads = reads
        self._clock = clock
        self._known: dict[str, tuple[float, Standing | None]] = {}
        self._asking: dict[str, asyncio.Task[Standing | None]] = {}
        self._used: dict[str, datetime] = {}
        self._noting: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._noting = asyncio.create_task(self._note_use_regularly())

    async def stop(self) -> None:
        if self._noting is not None:
            self._noting.cancel()
            await asyncio.gather(self._noting, return_exceptions=True)
        await self.note_use()

    async def standing(self, token: str) -> Standing | None:
        """Raises Unavailable, if the database cannot be reached and what was known is too old."""
        until, known = self._known.get(token, (0.0, None))
        if until > time.monotonic():
            return known
        asking = self._asking.get(token)
        if asking is None:
            asking = self._asking[token] = asyncio.create_task(self._ask(token))
            asking.add_done_callback(lambda _: self._asking.pop(token, None))
        # Of those who wait for the answer, one may give up without the others.
        return await asyncio.shield(asking)

    async def principal(self, token: str) -> Principal:
        """Who asks with this key, right now. Raises UnknownKey, KeyBlocked, KeyExpired, Unavailable."""
        return principal_of(await self.standing(token), self._clock())

    def was_used(self, token: str) -> None:
        self._used[token] = self._clock()

    async def note_use(self) -> None:
        """Write down when keys were last used; what cannot be written now is written the next time."""
        used, self._used = self._used, {}
        if not used:
            return
        tokens = sorted(used)
        try:
            await self._reads.write(principals.note_use(), tokens=tokens, used_at=[used[token] for token in tokens])
        except Unavailable:
            self._used = used | self._used
            _log.warning("keys.use_not_noted", keys=len(used))

    async def _note_use_regularly(self) -> None:
        while True:
            await asyncio.sleep(_NOTE_USE_EVERY_S)
            await self.note_use()

    async def _ask(self, token: str) -> Standing | None:
        asked_at = time.monotonic()
        found = principals.standings(await self._reads.rows(principals.by_tokens(), tokens=[token]))
        if len(self._known) >= _MAX_KNOWN:
            self._forget(asked_at)
        standing = found.get(token)
        self._known[token] = (asked_at + KNOWN_FOR_S, standing)
        return standing

    def _forget(self, before: float) -> None:
        """What is too old and, should that be little, all."""
        kept = {token: known for token, known in self._known.items() if known[0] > before}
        self._known = kept if len(kept) < _MAX_KNOWN else {}
