"""The only HTTP client: one POST on a connection of its own, with one deadline for the lookup, the call and the answer.

It is built on httpcore's HTTP/1.1 connection rather than on httpx's client, whose timeouts hold for each read alone (a
byte a second keeps it busy for ever) and which resolves the name out of our sight. A connection is never used twice:
the address is judged at every attempt, and two names on one address never share one.
"""

import re
import socket
import unicodedata
from collections.abc import Iterable, Mapping
from contextlib import closing
from email.utils import parsedate_to_datetime
from typing import Any, Final, cast

import httpcore
import msgspec

from shared.outbox.addresses import ParsedTarget, RefusedTarget, check_url
from shared.runtime.clock import now
from worker.senders.connector import Connector, Deadline, Undelivered

DEADLINE_S: Final = 15.0
MAX_READ_BYTES: Final = 64 * 1024
MAX_EXCERPT_BYTES: Final = 1024

# Unicode's categories: control, format, unassigned, private and surrogate; line and paragraph separators.
_UNREADABLE: Final = ("C", "Zl", "Zp")
_SECONDS: Final = re.compile(r"[0-9]{1,9}(\.[0-9]+)?")


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back, whatever it says. The excerpt is safe to store and to show to the receiver's owner."""

    status: int
    excerpt: str
    retry_after_s: float | None
    latency_ms: int


def post(
    target: ParsedTarget | str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    connector: Connector,
    deadline_s: float = DEADLINE_S,
) -> Answer:
    """Sends these bytes once. Redirects are answers like others. Raises ``Undelivered`` when no whole answer came."""
    deadline = Deadline(deadline_s)
    try:
        return _post(_judged(target, connector), body, headers, connector, deadline)
    except Undelivered as undelivered:
        undelivered.latency_ms = deadline.spent_ms()
        raise


def _judged(target: ParsedTarget | str, connector: Connector) -> ParsedTarget:
    if isinstance(target, ParsedTarget):
        return target
    try:
        return check_url(target, connector.allow)
    except RefusedTarget as refused:
        raise Undelivered("refused", refused.reason) from None


def _post(
    target: ParsedTarget, body: bytes, headers: Mapping[str, str], connector: Connector, deadline: Deadline
) -> Answer:
    request = _request(target, body, headers)
    stream = _Stream(connector.connect(target, deadline), deadline)
    with closing(httpcore.HTTP11Connection(request.url.origin, stream)) as connection:
        try:
            response = connection.handle_request(request)
            start = _start_of(cast("Iterable[bytes]", response.stream))
        except httpcore.ProtocolError:
            raise Undelivered("protocol", "what came back is not a whole HTTP answer") from None
        except httpcore.NetworkError:
            raise Undelivered("protocol", "the connection broke off") from None
    return Answer(
        status=response.status,
        excerpt=_readable(start[:MAX_EXCERPT_BYTES]),
        retry_after_s=_retry_after_s(response.headers),
        latency_ms=deadline.spent_ms(),
    )


def _request(target: ParsedTarget, body: bytes, headers: Mapping[str, str]) -> httpcore.Request:
    own = {
        "Host": target.authority,
        "Content-Length": str(len(body)),
        "Accept-Encoding": "identity",
        "Connection": "close",
    }
    url = httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
    return httpcore.Request("POST", url, headers=list((own | dict(headers)).items()), content=body)


def _start_of(stream: Iterable[bytes]) -> bytes:
    start = bytearray()
    for chunk in stream:
        start += chunk
        if len(start) >= MAX_READ_BYTES:
            break
    return bytes(start)


def _readable(start: bytes) -> str:
    """Line breaks, control and formatting characters become blanks: they could forge log lines or turn text around."""
    text = start.decode("utf-8", "replace")
    return "".join(" " if unicodedata.category(char).startswith(_UNREADABLE) else char for char in text).strip()


def _retry_after_s(headers: Iterable[tuple[bytes, bytes]]) -> float | None:
    asked = next((value.decode("latin-1").strip() for name, value in headers if name.lower() == b"retry-after"), "")
    if _SECONDS.fullmatch(asked):
        return float(asked)
    try:
        return max(0.0, (parsedate_to_datetime(asked) - now()).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


class _Stream(httpcore.NetworkStream):
    """A socket whose every read and write ends at the same deadline, whatever httpcore asks for."""

    def __init__(self, connection: socket.socket, deadline: Deadline) -> None:
        self._connection = connection
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        try:
            self._connection.settimeout(self._deadline.left_s())
            return self._connection.recv(max_bytes)
        except TimeoutError:
            raise self._deadline.missed() from None
        except OSError as error:
            raise httpcore.ReadError(error) from None

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        try:
            self._connection.settimeout(self._deadline.left_s())
            self._connection.sendall(buffer)
        except TimeoutError:
            raise self._deadline.missed() from None
        except OSError as error:
            raise httpcore.WriteError(error) from None

    def close(self) -> None:
        self._connection.close()

    def get_extra_info(self, info: str) -> Any:  # noqa: ARG002
        return None
