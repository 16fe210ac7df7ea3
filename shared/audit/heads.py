"""Signed heads: where the chain ended at a time, written down elsewhere, so that rewriting it is found.

A signed head is one line of JSON: ``position``, ``hash``, ``signed_at``, ``public_key`` and ``signature``, the Ed25519
signature of the lines ``pointsman-audit-head-1``, position, hash and signed_at, each ended by one line feed.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

import msgspec

from shared.audit.chain import Head
from shared.encryption.signing import SigningKey, is_signed_by

_VERSION: Final = "pointsman-audit-head-1"


class SignedHead(msgspec.Struct, frozen=True, kw_only=True):
    position: int
    hash: str
    signed_at: str
    public_key: str
    signature: str

    @property
    def head(self) -> Head:
        return Head(self.position, self.hash)


class BadHead(Exception):
    """A line that is no signed head, or not signed by the key that is trusted. Says which line, and why."""


_decoder = msgspec.json.Decoder(SignedHead)


def sign(head: Head, key: SigningKey, now: datetime) -> SignedHead:
    signed_at: str = msgspec.to_builtins(now)
    return SignedHead(
        position=head.position,
        hash=head.hash,
        signed_at=signed_at,
        public_key=key.public,
        signature=key.sign(_message(head, signed_at)),
    )


def line(signed: SignedHead) -> bytes:
    return msgspec.json.encode(signed) + b"\n"


def read(lines: Iterable[bytes], public_key: str) -> list[SignedHead]:
    """The heads of a file, each with its signature checked against the trusted key. Blank lines are passed over.

    Raises:
        BadHead: at the first line that cannot be trusted.
    """
    return [_read(number, text, public_key) for number, text in enumerate(lines, start=1) if text.strip()]


def decode(text: bytes) -> SignedHead:
    """Without a look at the signature. Raises BadHead."""
    try:
        return _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise BadHead("is no signed head") from None


def _read(number: int, text: bytes, public_key: str) -> SignedHead:
    try:
        signed = decode(text)
    except BadHead as bad:
        raise BadHead(f"line {number} {bad}") from None
    if not is_signed_by(public_key, _message(signed.head, signed.signed_at), signed.signature):
        raise BadHead(f"line {number}, position {signed.position}: not signed by the given key")
    return signed


def _message(head: Head, signed_at: str) -> bytes:
    return f"{_VERSION}\n{head.position}\n{head.hash}\n{signed_at}\n".encode()
