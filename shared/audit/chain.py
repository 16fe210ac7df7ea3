"""Links audit entries by hashes, and finds where a chain was tampered with.

The hash of an entry is the SHA-256, in hex, of the line ``pointsman-audit-1``, the line with the previous entry's hash,
and the canonical JSON of all other fields (``canonical.py``), ``recorded_at`` being written in UTC with microseconds:
``2026-01-31T12:00:00.000000Z``. Lines end with one line feed. The first entry has position 1 and follows GENESIS_HASH.

Who can write to the database can rewrite the chain from some entry to its end, or cut its end off. That is found by
comparing with a head, position and hash, that was kept elsewhere.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final, Literal, NamedTuple

import msgspec

from shared.audit.canonical import canonical_json
from shared.audit.entries import AuditEntry

_VERSION: Final = b"pointsman-audit-1\n"

Fault = Literal["changed", "missing", "inserted", "moved", "truncated", "rewritten"]


class Head(NamedTuple):
    """Where a chain ends, or is cut to be verified in pieces."""

    position: int
    hash: str


GENESIS_HASH: Final = "0" * 64
GENESIS: Final = Head(0, GENESIS_HASH)


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """``head`` is the last entry that is known to hold; ``position`` the first that does not, with its fault.

    ``changed``: not what was recorded. ``missing``: removed. ``inserted``: does not belong there. ``moved``: recorded,
    but not there. ``truncated``: the end is cut off. ``rewritten``: in itself sound, but not the chain that the given
    head was taken from; then the entry at that head is named, and earlier ones may differ too.
    """

    head: Head
    position: int | None = None
    fault: Fault | None = None

    @property
    def is_sound(self) -> bool:
        return self.fault is None


def link(previous_hash: str, entries: Iterable[AuditEntry]) -> list[AuditEntry]:
    """The entries with ``previous_hash`` and ``hash``. They come in order, with the positions that follow."""
    linked: list[AuditEntry] = []
    for entry in entries:
        digest = _hash(entry, previous_hash)
        linked.append(msgspec.structs.replace(entry, previous_hash=previous_hash, hash=digest))
        previous_hash = digest
    return linked


def continued(head: Head, entries: Iterable[AuditEntry]) -> list[AuditEntry]:
    """The entries with the positions that follow the head, linked to it and to each other."""
    numbered = (
        msgspec.structs.replace(entry, position=position)
        for position, entry in enumerate(entries, start=head.position + 1)
    )
    return link(head.hash, numbered)


def verify(
    entries: Iterable[AuditEntry],
    head: tuple[int, str] | None = None,
    start: tuple[int, str] = GENESIS,
    heads: Iterable[tuple[int, str]] = (),
) -> Verdict:
    """Reads the entries once, in the order of the log, and keeps none of them.

    ``head`` was noted before, at the end of the entries or among them, and so were all ``heads``; ``start`` is the
    entry before the first one.
    """
    noted = sorted({Head(*one) for one in (*heads, *([head] if head is not None else []))})
    if noted and noted[0].position < start[0]:
        raise ValueError("the head lies before the entries to verify")
    walk = _Walk(Head(*start), noted)
    rest = iter(entries)
    for entry in rest:
        verdict = walk.step(entry, rest)
        if verdict is not None:
            return verdict
    return walk.end()


class _Walk:
    """Holds the last two entries that were sound."""

    def __init__(self, start: Head, pinned: list[Head]) -> None:
        self._last = start
        self._before_last: Head | None = None
        self._pinned = pinned
        self._next = 0

    def step(self, entry: AuditEntry, rest: Iterator[AuditEntry]) -> Verdict | None:
        if self._is_not_the_pinned_one():
            return self._verdict(self._last.position, "rewritten")
        if entry.position <= self._last.position:
            return Verdict(head=self._last, position=entry.position, fault="inserted")
        if not _follows(entry, self._last.position) or not _holds(entry):
            return self._displaced(entry, rest)
        if entry.previous_hash != self._last.hash:
            return self._broken_link()
        self._before_last, self._last = self._last, Head(entry.position, entry.hash)
        return None

    def end(self) -> Verdict:
        if self._is_not_the_pinned_one():
            return self._verdict(self._last.position, "rewritten")
        if self._pinned and self._pinned[-1].position > self._last.position:
            return self._verdict(self._last.position + 1, "truncated")
        return Verdict(head=self._last)

    def _is_not_the_pinned_one(self) -> bool:
        while self._next < len(self._pinned) and self._pinned[self._next].position == self._last.position:
            if self._pinned[self._next] != self._last:
                return True
            self._next += 1
        return False

    def _displaced(self, entry: AuditEntry, rest: Iterator[AuditEntry]) -> Verdict:
        """The entry is not what was recorded at this position: tells why from where it, or the right one, stands."""
        expected = self._last.position + 1
        if self._before_last is not None and entry.previous_hash == self._before_last.hash:
            # Two that follow the same one: the later stands where it was meant to, unless the earlier was noted.
            return self._verdict(expected if self._last in self._pinned else self._last.position, "inserted")
        stands_later = any(later.previous_hash == self._last.hash for later in rest)
        if not _follows(entry, self._last.position) or _holds_at_a_neighbour(entry):
            return self._verdict(expected, "moved" if stands_later else "missing")
        return self._verdict(expected, "inserted" if stands_later else "changed")

    def _broken_link(self) -> Verdict:
        """The entry is as recorded, but after another one: so the one before it was replaced by something sound."""
        start_is_wrong = self._before_last is None
        return self._verdict(self._last.position + 1 if start_is_wrong else self._last.position, "changed")

    def _verdict(self, position: int, fault: Fault) -> Verdict:
        sound = self._last if position > self._last.position or self._before_last is None else self._before_last
        return Verdict(head=sound, position=position, fault=fault)


def _follows(entry: AuditEntry, position: int) -> bool:
    return entry.position == position + 1


def _holds_at_a_neighbour(entry: AuditEntry) -> bool:
    return any(_holds(msgspec.structs.replace(entry, position=entry.position + step)) for step in (1, -1))


def _holds(entry: AuditEntry) -> bool:
    try:
        return entry.hash == _hash(entry, entry.previous_hash)
    except (TypeError, ValueError):  # holds something that was never linked, such as a number too large for a float
        return False


def _hash(entry: AuditEntry, previous_hash: str) -> str:
    fields = msgspec.structs.asdict(entry)
    del fields["hash"], fields["previous_hash"]
    fields["recorded_at"] = _instant(entry.recorded_at)
    return sha256(_VERSION + previous_hash.encode() + b"\n" + canonical_json(fields)).hexdigest()


def _instant(at: datetime) -> str:
    if at.tzinfo is None:
        raise ValueError("recorded_at has no time zone")
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
