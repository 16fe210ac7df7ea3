"""From the key in a request to its principal (contract 3.3), and who is kept waiting instead."""

import hmac
from collections.abc import Callable, Mapping
from typing import cast

import msgspec
from litestar.datastructures import Headers
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from api.limits import FailureLimit, FloodLimit, Portions, host_of, key_of_request, source_of
from api.virtual_keys import VirtualKeys
from shared.domain.key_text import is_mistyped, token_of
from shared.domain.principals import Standing, principal_of
from shared.domain.problems import NotAuthenticated, Refusal, RouteNotAllowed, UnknownKey
from shared.domain.rights import MASTER, Principal
from shared.domain.routes import may_call
from shared.runtime.clock import now

_PLAIN_HEADERS = ("x-api-key", "api-key", "x-goog-api-key", "ocp-apim-subscription-key")
_READING = frozenset(("GET", "HEAD", "OPTIONS"))
_MAX_PROVEN = 10_000


class Bearer:
    """With which key a request came: the ``auth`` of its connection, beside the principal, its ``user``."""

    def __init__(self, keys: VirtualKeys | None = None, token: str = "", standing: Standing | None = None) -> None:
        self._keys = keys
        self._token = token
        self.default_wait_s = None if standing is None else standing.default_wait_s
        self._is_trusted = standing is None or standing.is_trusted

    def may_act_for(self, principal: Principal) -> bool:
        """Whether ``litellm-changed-by`` is believed: of proxy admins, and where an admin has allowed it."""
        return self._is_trusted or principal.role == "proxy_admin"

    async def still_holds(self) -> None:
        """For those who are answered for long. Raises UnknownKey, KeyBlocked, KeyExpired."""
        if self._keys is not None:
            await self._keys.principal(self._token)


_OF_MASTER = Bearer()


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much in a minute; 0 is no limit."""

    failures_of_source: int
    writes_of_key: int
    writes_of_source: int


class _Asked(msgspec.Struct, frozen=True):
    """A key, what it is stored as, and where it came from."""

    key: str
    token: str
    host: str

    @property
    def pair(self) -> tuple[str, str]:
        return self.host, self.token


class Authenticator:
    """Knows the master key, as a hash, and finds out who asks."""

    def __init__(self, master_key: str, keys: VirtualKeys, limits: Limits) -> None:
        self._master_token = token_of(master_key)
        self._keys = keys
        self._failures = FailureLimit(limits.failures_of_source)
        self._has_no_limit = limits.failures_of_source == 0
        self._portions_of_key = Portions(limits.writes_of_key) if limits.writes_of_key else None
        self._portions_of_source = Portions(limits.writes_of_source) if limits.writes_of_source else None
        # Who guesses keys must not lock out those behind the same address whose keys have worked from there before.
        self._proven: dict[tuple[str, str], None] = {}

    @property
    def before(self) -> Callable[[ASGIApp], ASGIApp]:
        """A Litestar middleware: puts the principal into the connection's ``user``, its key into ``auth``.

        Raises NotAuthenticated, UnknownKey, KeyBlocked, KeyExpired, RouteNotAllowed, TooManyRequestsException.
        """
        # A function and no method: Litestar copies routers deeply, and would copy what the method is bound to.
        return lambda app: self._before(app)

    def _before(self, app: ASGIApp) -> ASGIApp:
        limited = self._limited(app)

        # Not a guard: for one, Litestar copies the handler at each request, and runs it in a thread if it is not async.
        async def authenticate(scope: Scope, receive: Receive, send: Send) -> None:
            key = key_of(Headers.from_scope(scope))
            asked = _Asked(key, token_of(key), host_of(scope))
            if self._is_beyond_suspicion(asked):
                await self._find_out(scope, asked)
            else:
                async with self._failures.counting(scope):
                    await self._find_out(scope, asked)
            is_free = scope["user"] is MASTER or _method(scope) in _READING
            await (app if is_free else limited)(scope, receive, send)

        return authenticate

    def _is_beyond_suspicion(self, asked: _Asked) -> bool:
        """The master key waits for no Redis, unless somebody is guessing where it comes from."""
        if self._has_no_limit or asked.pair in self._proven:
            return True
        return self._is_master(asked) and not self._failures.is_known_to_be_over(asked.host)

    def _is_master(self, asked: _Asked) -> bool:
        return hmac.compare_digest(asked.token, self._master_token)

    async def _find_out(self, scope: Scope, asked: _Asked) -> None:
        if self._is_master(asked):
            scope["user"], scope["auth"] = MASTER, _OF_MASTER
        else:
            await self._find_out_virtual(scope, asked)
        if asked.pair not in self._proven:
            self._prove(asked.pair)

    async def _find_out_virtual(self, scope: Scope, asked: _Asked) -> None:
        try:
            standing = await self._standing(asked)
            principal = principal_of(standing, now())
        except Refusal:
            self._proven.pop(asked.pair, None)
            raise
        path = scope["path"]
        if not may_call(principal.allowed_routes, _method(scope), path):
            raise RouteNotAllowed(path)
        self._keys.was_used(principal.key_id)
        scope["user"], scope["auth"] = principal, Bearer(self._keys, asked.token, standing)

    async def _standing(self, asked: _Asked) -> Standing | None:
        """Raises NotAuthenticated, UnknownKey, Unavailable."""
        if not asked.key.startswith("sk-"):
            raise NotAuthenticated("LiteLLM Virtual Key expected. Received=****, expected to start with 'sk-'.")
        if is_mistyped(asked.key):
            raise UnknownKey
        return await self._keys.standing(asked.token)

    def _prove(self, pair: tuple[str, str]) -> None:
        if len(self._proven) >= _MAX_PROVEN:
            del self._proven[next(iter(self._proven))]
        self._proven[pair] = None

    def _limited(self, app: ASGIApp) -> ASGIApp:
        if self._portions_of_key is not None:
            app = FloodLimit(app, self._portions_of_key, key_of_request)
        if self._portions_of_source is not None:
            app = FloodLimit(app, self._portions_of_source, source_of)
        return app


def _method(scope: Scope) -> str:
    return cast("HTTPScope", scope)["method"]


def key_of(headers: Mapping[str, str]) -> str:
    """The key as any of the accepted headers carries it. Raises NotAuthenticated."""
    authorization = headers.get("authorization")
    if authorization is not None:
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise NotAuthenticated("Malformed API Key passed in. Ensure Key has `Bearer ` prefix.")
        return key.strip()
    litellm = headers.get("x-litellm-api-key")
    if litellm is not None:
        return litellm.removeprefix("Bearer ").strip()
    for name in _PLAIN_HEADERS:
        if (key := headers.get(name)) is not None:
            return key.strip()
    raise NotAuthenticated("Authentication Error, No api key passed in.")
