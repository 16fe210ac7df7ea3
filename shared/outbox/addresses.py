"""Where a webhook may go. The same filter guards an ``api_base`` that somebody who is not an admin sets.

A URL is judged when it is registered. Every address its name has is judged again at every attempt, by the connector,
which connects to exactly that address: a name may point elsewhere by then. Python's ``is_global`` is no filter: it
calls multicast global, and mapped, compatible and translated forms of private addresses too (3.11 to 3.13).
"""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Literal, Self, cast
from urllib.parse import SplitResult, quote, urlsplit

import msgspec

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Scheme = Literal["http", "https"]

MAX_URL_LENGTH: Final = 2048


class RefusedTarget(Exception):
    """A URL or an address that nothing is sent to. Its text is for whoever set it and shows no resolved address."""

    @property
    def reason(self) -> str:
        return str(self)


class Allowlist(msgspec.Struct, frozen=True):
    """The networks an operator names although they are not public."""

    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Networks or single addresses, comma separated. Raises ``ValueError`` that names the first bad one."""
        items = (item.strip() for item in text.split(","))
        return cls(tuple(_network(item) for item in items if item))

    def names(self, address: Address) -> bool:
        return any(address in network for network in self.networks)


NOTHING_ALLOWED: Final = Allowlist()


class ParsedTarget(msgspec.Struct, frozen=True, kw_only=True):
    """A URL that may be called, in parts, so that nobody parses it again and reads it differently."""

    scheme: Scheme
    host: str
    """Lower case ASCII without a trailing dot or brackets."""
    port: int
    path: str
    """Path and query as they go on the request line."""
    address: Address | None = None
    """Set when the host is an address; it has been judged."""

    @property
    def authority(self) -> str:
        """For the Host header: the port only when it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


_DEFAULT_PORTS: Final[dict[Scheme, int]] = {"http": 80, "https": 443}

# IANA's special-purpose registries, and what clouds answer on: 168.63.129.16 is Azure's own, though it looks public.
_SPECIAL_V4: Final[tuple[tuple[IPv4Network, str], ...]] = tuple(
    (IPv4Network(network), kind)
    for network, kind in (
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared (carrier-grade NAT)"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "a cloud's metadata service"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved for protocols"),
        ("192.0.2.0/24", "for documentation"),
        ("192.31.196.0/24", "reserved for protocols"),
        ("192.52.193.0/24", "reserved for protocols"),
        ("192.88.99.0/24", "a 6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("192.175.48.0/24", "reserved for protocols"),
        ("198.18.0.0/15", "for benchmarks"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)
_SPECIAL_V6: Final[tuple[tuple[IPv6Network, str], ...]] = tuple(
    (IPv6Network(network), kind)
    for network, kind in (
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::/96", "an IPv4 address in disguise"),
        ("::ffff:0:0:0/96", "an IPv4 address in disguise"),
        ("64:ff9b:1::/48", "an IPv4 address in disguise"),
        ("100::/64", "discarded"),
        ("2001::/32", "an IPv4 address in disguise (Teredo)"),
        ("2001::/23", "reserved for protocols"),
        ("2001:db8::/32", "for documentation"),
        ("2002::/16", "an IPv4 address in disguise (6to4)"),
        ("2620:4f:8000::/48", "reserved for protocols"),
        ("3ffe::/16", "withdrawn"),
        ("3fff::/20", "for documentation"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "private"),
        ("ff00::/8", "multicast"),
    )
)
_PUBLIC_V6: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_ISATAP: Final = (0x0000_5EFE, 0x0200_5EFE)

_BLANK_OR_BACKSLASH: Final = re.compile(r"[\s\\\x00-\x1f\x7f-\x9f]")
_AUTHORITY: Final = re.compile(r"(?:\[(?P<v6>[0-9a-fA-F:.]*)\]|(?P<name>[^\[\]:]*))(?::(?P<port>[0-9]{0,5}))?")
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PATH_CHARACTERS: Final = "/%:@!$&'()*+,;=~?"
# Letters and joiners that two versions of IDNA write differently: the same URL would lead to two owners.
_AMBIGUOUS: Final = re.compile("[\u00df\u03c2\u200c\u200d\u1e9e]")


def check_url(url: str, allow: Allowlist) -> ParsedTarget:
    """Judges all that can be judged without asking DNS. Raises ``RefusedTarget``."""
    parts = _split(url)
    authority = _AUTHORITY.fullmatch(parts.netloc)
    if authority is None:
        raise RefusedTarget("its host or port cannot be read")
    host = _host(authority["v6"], authority["name"])
    address = None if isinstance(host, str) else check_address(host, allow)
    if isinstance(host, str) and (host == "localhost" or host.endswith(".localhost")):
        check_address(IPv4Address("127.0.0.1"), allow)
    scheme = cast(Scheme, parts.scheme)
    return ParsedTarget(
        scheme=scheme, host=str(host), port=_port(authority["port"], scheme), path=_path(parts), address=address
    )


def check_address(address: Address, allow: Allowlist) -> Address:
    """The address to connect to, which is the given one without a mapping. Raises ``RefusedTarget``.

    Forms that carry an IPv4 address are unwrapped: mapped ones and NAT64 are judged by what they carry, the dead
    transitions (compatible, translated, 6to4, Teredo, ISATAP) are refused whatever they carry. Prefixes that a network
    translates by its own convention cannot be known here.
    """
    plain = _unmapped(address)
    kind = None if allow.names(plain) else _kind_if_refused(plain)
    if kind is not None:
        raise RefusedTarget(f"its address is {kind}, and POINTSMAN_WEBHOOK_ALLOW names no network that holds it")
    return plain


def _network(item: str) -> Network:
    try:
        return ip_network(item)
    except ValueError as error:
        raise ValueError(f"{item!r} is not a network such as 10.1.0.0/16: {error}") from None


def _unmapped(address: Address) -> Address:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _kind_if_refused(address: Address) -> str | None:
    if isinstance(address, IPv4Address):
        return next((kind for network, kind in _SPECIAL_V4 if address in network), None)
    if address.scope_id is not None:
        return "bound to one interface"
    if address in _NAT64:
        return _kind_if_refused(IPv4Address(int(address) & 0xFFFF_FFFF))
    if (int(address) >> 32) & 0xFFFF_FFFF in _ISATAP:
        return "an IPv4 address in disguise (ISATAP)"
    special = next((kind for network, kind in _SPECIAL_V6 if address in network), None)
    return special or (None if address in _PUBLIC_V6 else "not a public one")


def _split(url: str) -> SplitResult:
    if len(url) > MAX_URL_LENGTH:
        raise RefusedTarget(f"it is longer than {MAX_URL_LENGTH} characters")
    if _BLANK_OR_BACKSLASH.search(url):
        raise RefusedTarget("it holds a blank, a control character or a backslash")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise RefusedTarget("it is not a URL") from None
    if parts.scheme not in _DEFAULT_PORTS:
        raise RefusedTarget("it does not start with http:// or https://")
    if "@" in parts.netloc:
        raise RefusedTarget("it holds a user name or password")
    if "#" in url:
        raise RefusedTarget("it holds a fragment")
    return parts


def _host(v6: str | None, name: str | None) -> str | Address:
    if v6 is not None:
        return _address(v6, IPv6Address)
    host = _ascii(name or "")
    if _NUMBER.fullmatch(host.rpartition(".")[2]):
        return _address(host, IPv4Address)
    if not _NAME.fullmatch(host):
        raise RefusedTarget("its host name cannot be read")
    return host


def _ascii(name: str) -> str:
    if not name:
        raise RefusedTarget("it names no host")
    if _AMBIGUOUS.search(name):
        raise RefusedTarget("its host name means different names to different programs; write it in its xn-- form")
    try:
        encoded = name.encode("idna").decode("ascii")
    except UnicodeError:
        raise RefusedTarget("its host name cannot be read") from None
    return encoded.lower().removesuffix(".")


def _address(text: str, form: type[Address]) -> Address:
    """Dotted decimal in four parts or plain IPv6: other notations mean different hosts to different programs."""
    try:
        address = ip_address(text)
    except ValueError:
        address = None
    if not isinstance(address, form):
        raise RefusedTarget("its host is a number, and not an address in the usual notation")
    return address


def _port(text: str | None, scheme: Scheme) -> int:
    port = int(text) if text else _DEFAULT_PORTS[scheme]
    if not 1 <= port <= 65535:
        raise RefusedTarget("its port is not between 1 and 65535")
    return port


def _path(parts: SplitResult) -> str:
    try:
        path, query = (quote(part, safe=_PATH_CHARACTERS) for part in (parts.path or "/", parts.query))
    except UnicodeError:
        raise RefusedTarget("it is not a URL") from None
    return f"{path}?{query}" if query else path
