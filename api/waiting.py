"""Waiting for tasks: woken by pub/sub, and by a look of its own should Redis be away. A waiter holds no connection."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Generator, Iterable

import structlog

from api.reads import Reads
from shared.domain.problems import TooManyWaiters, Unavailable
from shared.domain.tasks import ENDED
from shared.messaging.wakeups import woken
from shared.store import tasks

LOOK_EVERY_S = 1.0
StillHolds = Callable[[], Awaitable[None]]

_log = structlog.get_logger(__name__)


class Watch:
    """How far one task has come, as far as this process knows."""

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        self.version = 0
        self.has_ended = False
        self._moved = asyncio.Event()

    def saw(self, version: int, status: str) -> None:
        if version > self.version:
            self.version = version
            self.has_ended = status in ENDED
            self._moved.set()

    async def moved_beyond(self, version: int, timeout_s: float, still_holds: StillHolds) -> bool:
        """Whether the task got past this version in time. Raises Refusal, once the right to know it is lost."""
        return await self._while_held(lambda: self.version > version, timeout_s, still_holds)

    async def ended(self, timeout_s: float, still_holds: StillHolds) -> bool:
        """Whether the task ended in time. Raises Refusal, once the right to know it is lost."""
        return await self._while_held(lambda: self.has_ended, timeout_s, still_holds)

    async def _while_held(self, is_reached: Callable[[], bool], timeout_s: float, still_holds: StillHolds) -> bool:
        until = asyncio.get_running_loop().time() + timeout_s
        while (left_s := until - asyncio.get_running_loop().time()) > LOOK_EVERY_S:
            if await self._until(is_reached, LOOK_EVERY_S):
                return True
            # While the database is away nobody can take the right away either.
            with contextlib.suppress(Unavailable):
                await still_holds()
        return await self._until(is_reached, max(0, left_s))

    async def _until(self, is_reached: Callable[[], bool], timeout_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not is_reached():
                    self._moved.clear()
                    await self._moved.wait()
        return is_reached()


class Waiting:
    """All watches of one API process, served by one subscription and one query for all of them."""

    def __init__(self, reads: Reads, redis_url: str, max_watches: int) -> None:
        self._reads = reads
        self._redis_url = redis_url
        self._max_watches = max_watches
        self._watches: dict[str, set[Watch]] = {}
        self._count = 0
        self._loops: list[asyncio.Task[None]] = []

    @property
    def is_full(self) -> bool:
        return self._count >= self._max_watches

    def start(self) -> None:
        self._loops = [asyncio.create_task(self._listen()), asyncio.create_task(self._look_regularly())]

    async def stop(self) -> None:
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)

    @contextlib.contextmanager
    def watch(self, task_id: str) -> Generator[Watch]:
        """Begin before reading the task or submitting it, so that no move is missed. Raises TooManyWaiters."""
        if self.is_full:
            raise TooManyWaiters
        watch = Watch(task_id)
        self._watches.setdefault(task_id, set()).add(watch)
        self._count += 1
        try:
            yield watch
        finally:
            self._count -= 1
            self._watches[task_id].discard(watch)
            if not self._watches[task_id]:
                del self._watches[task_id]

    async def _listen(self) -> None:
        async with contextlib.aclosing(woken(self._redis_url)) as wakeups:
            async for task_ids in wakeups:
                await self._look(task_ids or self._watches)

    async def _look_regularly(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self._look(self._watches)

    async def _look(self, task_ids: Iterable[str]) -> None:
        watched = [task_id for task_id in task_ids if task_id in self._watches]
        if not watched:
            return
        try:
            for row in await self._reads.rows(tasks.versions(), task_ids=watched):
                for watch in self._watches.get(row.task_id, ()):
                    watch.saw(row.version, row.status)
        except Unavailable:
            _log.warning("waiting.look_failed", watched=len(watched))
