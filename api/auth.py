"""From the key in a request to its principal (contract 3.3)."""

import hashlib
import hmac
from collections.abc import Mapping

from litestar.datastructures import Headers
from litestar.types import ASGIApp, Receive, Scope, Send

from shared.domain.problems import NotAuthenticated
from shared.domain.rights import MASTER, Principal

_PLAIN_HEADERS = ("x-api-key", "api-key", "x-goog-api-key", "ocp-apim-subscription-key")


class Authenticator:
    """Knows the master key, as a hash, and finds out who asks."""

    def __init__(self, master_key: str) -> None:
        self._master_hash = _hash(master_key)

    def before(self, app: ASGIApp) -> ASGIApp:
        """A Litestar middleware: puts the principal into the connection's ``user``. Raises NotAuthenticated."""

        # Not a guard: for one, Litestar copies the handler at each request, and runs it in a thread if it is not async.
        async def authenticate(scope: Scope, receive: Receive, send: Send) -> None:
            scope["user"] = self.principal(key_of(Headers.from_scope(scope)))
            await app(scope, receive, send)

        return authenticate

    def principal(self, key: str) -> Principal:
        """Raises NotAuthenticated."""
        if not key.startswith("sk-"):
            raise NotAuthenticated("LiteLLM Virtual Key expected. Received=****, expected to start with 'sk-'.")
        if hmac.compare_digest(_hash(key), self._master_hash):
            return MASTER
        raise NotAuthenticated("Authentication Error, Invalid proxy server token passed.")


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


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
