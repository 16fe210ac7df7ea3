"""The audit log as JSON Lines: a first line that says what follows, then an entry a line, in the order of the chain.

The first line names the entry before the first one and the entry that is the last one, so that a file which was cut
off, at whatever end, is found. An entry's line holds exactly the fields that are hashed, and the two hashes.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from shared.audit.chain import GENESIS, Head
from shared.audit.entries import AuditEntry
from shared.audit.heads import SignedHead

FORMAT: Final = "pointsman-audit-1"
MEDIA_TYPE: Final = "application/x-ndjson"


class Place(msgspec.Struct, frozen=True):
    """Where the chain is at one position."""

    position: int
    hash: str

    @property
    def head(self) -> Head:
        return Head(self.position, self.hash)


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """The first line. ``after`` is the entry before the first one, ``head`` the last one."""

    format: str
    after: Place
    head: Place
    signed_head: SignedHead | None = None


class _Line(AuditEntry, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is not hashed must not stand beside what is."""


class BadExport(Exception):
    """The file is no export, or a line of it is no entry. Says which line."""


_encoder = msgspec.json.Encoder()
_opening = msgspec.json.Decoder(Opening)
_entry = msgspec.json.Decoder(_Line)


def opening(head: Head, after: Head = GENESIS, signed: SignedHead | None = None) -> bytes:
    document = Opening(format=FORMAT, after=Place(*after), head=Place(*head), signed_head=signed)
    return _encoder.encode(document) + b"\n"


def entry_lines(entries: Iterable[AuditEntry]) -> bytes:
    return b"".join(_encoder.encode(entry) + b"\n" for entry in entries)


def read_opening(text: bytes) -> Opening:
    """Raises BadExport."""
    try:
        document = _opening.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise BadExport("line 1 is not the first line of an export of the audit log") from None
    if document.format != FORMAT:
        raise BadExport(f"the export has the format {document.format!r}; this version reads {FORMAT!r}")
    return document


def read_entries(lines: Iterable[bytes]) -> Iterator[AuditEntry]:
    """The lines after the first one, one by one. Raises BadExport at a line that is no entry."""
    for number, text in enumerate(lines, start=2):
        try:
            yield _entry.decode(text)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise BadExport(f"line {number} is no audit entry, or not all of one") from None
