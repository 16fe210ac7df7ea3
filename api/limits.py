"""Slows brute force on keys, and floods of writes: Litestar's rate limiting, counted in Redis for all processes.

The hot path does not pay for it: requests of one key are counted in portions, and of the sources only the failures are.
While Redis is away each process counts for itself, so nothing stops and the limits hold for each process.
"""

import contextlib
import time
from collections.abc import AsyncGenerator, Callable
from datetime import timedelta
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any, cast

import redis.asyncio
import structlog
from litestar import Request
from litestar.exceptions import TooManyRequestsException
from litestar.middleware.rate_limit import CacheObject, RateLimitConfig, RateLimitMiddleware
from litestar.stores.base import Store
from litestar.stores.memory import MemoryStore
from litestar.stores.redis import RedisStore
from litestar.types import ASGIApp, Receive, Scope, Send

from shared.domain.problems import KeyBlocked, KeyExpired, NotAuthenticated, UnknownKey

STORE = "rate_limit"
NAMESPACE = "pointsman:limits"
_WINDOW = "minute"
_PORTIONS = 100
"""Into which a limit is divided, so that what is kept of a key in Redis stays small."""
_AWAY_FOR_S = 5.0
_CLEAN_EVERY_S = 60.0
_REFUSED_KEYS = (NotAuthenticated, UnknownKey, KeyBlocked, KeyExpired)
_IPV6_NETWORK_BITS = 64
"""Whoever has one address has all of its network."""

_log = structlog.get_logger(__name__)
_Request = Request[Any, Any, Any]


class SharedCounts(Store):
    """Redis or, while it cannot be reached, the memory of this process."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._shared = RedisStore(client, namespace=NAMESPACE)
        self._own = MemoryStore()
        self._away_until = 0.0
        self._clean_until = 0.0

    async def get(self, key: str, renew_for: int | timedelta | None = None) -> bytes | None:
        if time.monotonic() >= self._away_until:
            try:
                return await self._shared.get(key, renew_for)
            except (redis.RedisError, OSError) as error:
                self._is_away(error)
        return await self._own.get(key, renew_for)

    async def set(self, key: str, value: str | bytes, expires_in: int | timedelta | None = None) -> None:
        if time.monotonic() >= self._away_until:
            try:
                await self._shared.set(key, value, expires_in)
            except (redis.RedisError, OSError) as error:
                self._is_away(error)
            else:
                return
        await self._own.set(key, value, expires_in)
        if time.monotonic() >= self._clean_until:
            self._clean_until = time.monotonic() + _CLEAN_EVERY_S
            await self._own.delete_expired()

    async def delete(self, key: str) -> None:
        await self._own.delete(key)
        await self._shared.delete(key)

    async def delete_all(self) -> None:
        await self._own.delete_all()
        await self._shared.delete_all()

    async def exists(self, key: str) -> bool:
        return await self.get(key) is not None

    async def expires_in(self, key: str) -> int | None:
        return await self._shared.expires_in(key)

    def _is_away(self, error: Exception) -> None:
        self._away_until = time.monotonic() + _AWAY_FOR_S
        _log.warning("limits.redis_away", error=type(error).__name__)


class _Limit(RateLimitMiddleware):
    """Says when to try again, and nothing of how much is left: that is known in portions only."""

    def create_send_wrapper(self, send: Send, cache_object: CacheObject) -> Send:  # noqa: ARG002  (Litestar's form)
        return send

    def create_response_headers(self, cache_object: CacheObject) -> dict[str, str]:
        return {"Retry-After": str(max(1, cache_object.reset - int(time.time())))}


class FailureLimit(_Limit):
    """Counts the keys that were refused, by source. Who is over the limit has no further key looked at."""

    def __init__(self, per_minute: int) -> None:
        config = RateLimitConfig(rate_limit=(_WINDOW, per_minute), identifier_for_request=source_of, store=STORE)
        super().__init__(_nothing_behind, config)
        self._over: dict[str, int] = {}

    def is_known_to_be_over(self, host: str) -> bool:
        """Whether this process refused this source lately: known without asking Redis."""
        return bool(self._over) and self._over.get(host, 0) > time.time()

    @contextlib.asynccontextmanager
    async def counting(self, scope: Scope) -> AsyncGenerator[None]:
        """Around the look at a key. Raises TooManyRequestsException before it."""
        store = self.config.get_store_from_app(scope["litestar_app"])
        request = cast("_Request", scope["litestar_app"].request_class(scope))
        key = self.cache_key_from_request(request)
        failures = await self.retrieve_cached_history(key, store)
        if len(failures.history) >= self.max_requests:
            self._over = {known: reset for known, reset in self._over.items() if reset > time.time()}
            self._over[host_of(scope)] = failures.reset
            raise TooManyRequestsException(headers=self.create_response_headers(failures))
        try:
            yield
        except _REFUSED_KEYS:
            async with self._lock:
                await self.set_cached_history(key, await self.retrieve_cached_history(key, store), store)
            raise


async def _nothing_behind(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """For a limit that is asked, and passes nothing on."""


class Portions:
    """So many requests at a time are counted as one."""

    def __init__(self, per_minute: int) -> None:
        self.size = max(1, per_minute // _PORTIONS)
        self.count = -(-per_minute // self.size)
        self._left: dict[str, int] = {}

    def take(self, identifier: str) -> bool:
        """Whether there was something left of the portion that was counted last."""
        left = self._left.pop(identifier, 0)
        if left > 1:
            self._left[identifier] = left - 1
        return left > 0

    def add(self, identifier: str) -> None:
        """After the first of a new portion."""
        if self.size > 1:
            self._left[identifier] = self._left.get(identifier, 0) + self.size - 1


class FloodLimit(_Limit):
    """Counts writes by what ``identified`` makes of a request."""

    def __init__(self, app: ASGIApp, portions: Portions, identified: Callable[[_Request], str]) -> None:
        async def must_ask(request: _Request) -> bool:
            return not portions.take(identified(request))

        config = RateLimitConfig(
            rate_limit=(_WINDOW, portions.count),
            identifier_for_request=identified,
            check_throttle_handler=must_ask,
            store=STORE,
        )
        super().__init__(app, config)
        self._portions = portions

    async def set_cached_history(self, key: str, cache_object: CacheObject, store: Store) -> None:
        await super().set_cached_history(key, cache_object, store)
        self._portions.add(key.partition("::")[2])


def host_of(scope: Scope) -> str:
    client = scope["client"]
    return client[0] if client else ""


def source_of(request: _Request) -> str:
    """Where a request comes from: an address or, of IPv6, a network."""
    host = request.client.host if request.client else "unknown"
    try:
        address = ip_address(host)
    except ValueError:
        return f"source:{host}"
    if isinstance(address, IPv6Address):
        return f"source:{ip_network((address, _IPV6_NETWORK_BITS), strict=False)}"
    return f"source:{address}"


def key_of_request(request: _Request) -> str:
    return f"key:{request.user.key_id}"
