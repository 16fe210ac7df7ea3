"""Connects to a target: one lookup, every address judged, then exactly a judged address, all before one deadline."""

import contextlib
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from functools import cache
from ipaddress import IPv6Address, ip_address
from typing import Final, Literal

import certifi
import msgspec

from shared.outbox.addresses import NOTHING_ALLOWED, Address, Allowlist, ParsedTarget, RefusedTarget, check_address

Reason = Literal["dns", "refused", "connect", "tls", "too_slow", "protocol"]
Resolver = Callable[[str, int], Sequence[str]]
"""From a name and a port to addresses, best first. Raises ``OSError``; may block."""

CONNECT_TIMEOUT_S: Final = 3.0
MAX_ADDRESSES_TRIED: Final = 4
MAX_LOOKUPS: Final = 64

_lookups = threading.BoundedSemaphore(MAX_LOOKUPS)


class Undelivered(Exception):
    """No whole answer came. The text is for the receiver's owner: no address, no driver's words."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(f"{reason}: {text}")
        self.reason: Reason = reason
        self.latency_ms = 0


class Deadline:
    """One end for everything that an attempt does, however many steps it takes."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._started = time.monotonic()

    def left_s(self) -> float:
        """Always above zero. Raises ``Undelivered`` when nothing is left."""
        left = self._started + self._seconds - time.monotonic()
        if left <= 0:
            raise self.missed()
        return left

    def spent_ms(self) -> int:
        return round((time.monotonic() - self._started) * 1000)

    def missed(self) -> Undelivered:
        return Undelivered("too_slow", f"there was no whole answer within {self._seconds:g} s")


class Connector(msgspec.Struct, frozen=True, kw_only=True):
    """How targets are reached. Shared by threads."""

    allow: Allowlist = NOTHING_ALLOWED
    resolve: Resolver | None = None
    """``None`` asks the system."""
    tls: ssl.SSLContext | None = None
    """``None`` trusts what the system trusts."""

    def connect(self, target: ParsedTarget, deadline: Deadline) -> socket.socket:
        """An open connection; for https encrypted, its certificate checked against the name. Raises ``Undelivered``."""
        addresses = [self._judged(address) for address in self._addresses(target, deadline)]
        plain = _first_connection(addresses[:MAX_ADDRESSES_TRIED], target.port, deadline)
        return plain if target.scheme == "http" else self._encrypted(plain, target.host, deadline)

    def _addresses(self, target: ParsedTarget, deadline: Deadline) -> list[Address]:
        if target.address is not None:
            return [target.address]
        found = _looked_up(self.resolve or _ask_system, target, deadline)
        return [ip_address(address) for address in dict.fromkeys(found)]

    def _judged(self, address: Address) -> Address:
        try:
            plain = check_address(address, self.allow)
        except RefusedTarget as refused:
            raise Undelivered("refused", refused.reason) from None
        if not self.allow.names(plain) and is_own(plain):
            raise Undelivered("refused", "its address is this machine's own")
        return plain

    def _encrypted(self, plain: socket.socket, host: str, deadline: Deadline) -> socket.socket:
        context = self.tls or _system_trust()
        try:
            plain.settimeout(deadline.left_s())
            return context.wrap_socket(plain, server_hostname=host)
        except BaseException as error:
            plain.close()
            if isinstance(error, TimeoutError):
                raise deadline.missed() from None
            if isinstance(error, OSError):
                raise _tls_failed(error) from None
            raise


def is_own(address: Address) -> bool:
    """Whether this machine would talk to itself. Sends nothing: connecting a datagram socket only picks a route."""
    with socket.socket(_family(address), socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(address), 9))
            return ip_address(probe.getsockname()[0]) == address
        except OSError:
            return False


def _first_connection(addresses: Sequence[Address], port: int, deadline: Deadline) -> socket.socket:
    for address in addresses:
        with contextlib.suppress(OSError):
            return _connection(address, port, min(CONNECT_TIMEOUT_S, deadline.left_s()))
    raise Undelivered("connect", "no connection could be made")


def _connection(address: Address, port: int, timeout_s: float) -> socket.socket:
    connection = socket.socket(_family(address), socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        connection.connect((str(address), port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        connection.close()
        raise
    return connection


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET6 if isinstance(address, IPv6Address) else socket.AF_INET


def _tls_failed(error: OSError) -> Undelivered:
    if isinstance(error, ssl.SSLCertVerificationError):
        return Undelivered("tls", f"its certificate is not accepted: {error.verify_message}")
    return Undelivered("tls", "no encrypted connection could be made")


def _looked_up(resolve: Resolver, target: ParsedTarget, deadline: Deadline) -> Sequence[str]:
    """The system's lookup has no timeout, so it runs beside us and is left behind when it takes too long."""
    answers: queue.SimpleQueue[Sequence[str]] = queue.SimpleQueue()
    if not _lookups.acquire(timeout=deadline.left_s()):
        raise Undelivered("dns", "too many lookups hang already")
    threading.Thread(target=_look_up, args=(resolve, target, answers), name="lookup", daemon=True).start()
    try:
        found = answers.get(timeout=deadline.left_s())
    except queue.Empty:
        raise deadline.missed() from None
    if not found:
        raise Undelivered("dns", "its host name cannot be resolved")
    return found


def _look_up(resolve: Resolver, target: ParsedTarget, answers: "queue.SimpleQueue[Sequence[str]]") -> None:
    found: Sequence[str] = ()
    try:
        found = resolve(target.host, target.port)
    except (OSError, UnicodeError):
        found = ()
    finally:
        _lookups.release()
        answers.put(found)


def _ask_system(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [str(address[0]) for *_, address in found]


@cache
def _system_trust() -> ssl.SSLContext:
    """The system's certificates, and certifi's where the system has none, as in a bare container."""
    context = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    if not any((paths.cafile, paths.capath)):
        context.load_verify_locations(certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    return context
