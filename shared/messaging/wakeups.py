"""Wake-ups: the worker tells every API process which tasks moved, so that waiters need not poll. Best effort."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any, cast

import msgspec
import redis
import redis.asyncio
import structlog

CHANNEL = "pointsman:tasks"
_CONNECT_TIMEOUT_S = 1.0
_PAUSE_AFTER_FAILURE_S = 2.0

_log = structlog.get_logger(__name__)
_ids = msgspec.json.Decoder(list[str])


class Waker:
    """The worker's side. After a failure it stays silent for a moment, so that a dead Redis does not slow the drain."""

    def __init__(self, redis_url: str) -> None:
        self._client = redis.Redis.from_url(
            redis_url, socket_timeout=_CONNECT_TIMEOUT_S, socket_connect_timeout=_CONNECT_TIMEOUT_S
        )
        self._silent_until = 0.0

    def wake(self, task_ids: Sequence[str]) -> None:
        """Never raises for a Redis that is away: waiters look by themselves as well."""
        if time.monotonic() < self._silent_until:
            return
        try:
            self._client.publish(CHANNEL, msgspec.json.encode(list(task_ids)))
        except redis.RedisError as error:
            self._silent_until = time.monotonic() + _PAUSE_AFTER_FAILURE_S
            _log.warning("wakeup.failed", error=type(error).__name__)

    def close(self) -> None:
        self._client.close()


async def woken(redis_url: str) -> AsyncGenerator[list[str]]:
    """The API's side: ids of tasks that moved. An empty list follows every (re)connect: look at everything then."""
    while True:
        # Since redis-py 8 the read timeout is 5 s by default, which would end a quiet subscription.
        client = redis.asyncio.Redis.from_url(
            redis_url, socket_timeout=None, socket_connect_timeout=_CONNECT_TIMEOUT_S, health_check_interval=10
        )
        try:
            async with client.pubsub() as channel:
                await channel.subscribe(CHANNEL)
                yield []
                async for message in cast("AsyncIterator[dict[str, Any]]", channel.listen()):
                    if message["type"] == "message":
                        yield _ids.decode(cast("bytes", message["data"]))
        except (redis.RedisError, OSError) as error:
            _log.warning("wakeups.disconnected", error=type(error).__name__)
            await asyncio.sleep(_PAUSE_AFTER_FAILURE_S)
        finally:
            await client.aclose()
