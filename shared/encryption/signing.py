"""Ed25519 signatures (RFC 8032). A signing key is the base64 of its 32-byte seed, a public key of its 32 bytes."""

import os
import re
from base64 import b64decode, b64encode
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from shared.encryption.weakness import why_weak

_SIZE_BYTES: Final = 32
_HOW_TO_MEND: Final = "`pointsman audit keygen` makes a pair"


class BadSigningKey(Exception):
    """A signing or public key that cannot be used. The text never shows the key."""


class SigningKey:
    """Signs; ``public`` is what others verify with."""

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public: str = _text(self._key.public_key().public_bytes_raw())

    @classmethod
    def parse(cls, text: str) -> "SigningKey":
        """Raises BadSigningKey."""
        seed = _bytes(text, "signing key")
        if weakness := why_weak(seed):
            raise BadSigningKey(f"the signing key {weakness}: {_HOW_TO_MEND}")
        return cls(seed)

    def __repr__(self) -> str:
        return f"SigningKey(public={self.public})"

    def sign(self, message: bytes) -> str:
        return _text(self._key.sign(message))


def check_public_key(text: str) -> str:
    """The key in the spelling that ``SigningKey.public`` has. Raises BadSigningKey."""
    return _text(_bytes(text, "public key"))


def is_signed_by(public_key: str, message: bytes, signature: str) -> bool:
    """False also for what is no signature at all. Raises BadSigningKey for what is no key."""
    key = Ed25519PublicKey.from_public_bytes(_bytes(public_key, "public key"))
    try:
        key.verify(b64decode(signature, validate=True), message)
    except (InvalidSignature, ValueError):
        return False
    return True


def new_signing_key() -> str:
    """A fresh random key as ``SigningKey.parse`` reads it."""
    return _text(os.urandom(_SIZE_BYTES))


def _bytes(text: str, name: str) -> bytes:
    bare = text.strip()
    if re.fullmatch(r"[A-Za-z0-9+/]{43}=", bare) is None:
        raise BadSigningKey(f"the {name} is not the base64 of {_SIZE_BYTES} bytes: {_HOW_TO_MEND}")
    return b64decode(bare)


def _text(data: bytes) -> str:
    return b64encode(data).decode()
