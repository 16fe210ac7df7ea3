"""The text of a virtual key: how one is made, told from a typing error, named and looked up (contract 3.3).

``sk-``, then 22 base62 digits of randomness, then 6 that are the checksum of what stands before them. A key of this
form whose checksum is wrong is a typing error, and nobody has to be asked. Keys of other forms come from elsewhere.
"""

import re
import string
import zlib
from hashlib import sha256
from typing import Final

from shared.domain.problems import FieldError, InvalidRequest

PREFIX: Final = "sk-"
RANDOM_DIGITS: Final = 22
"""131 bits; as many characters as LiteLLM's keys have."""
CHECKSUM_DIGITS: Final = 6
RANDOM_BYTES: Final = 32
"""What ``new_key`` is given: so many more than needed that no digit is likelier than another."""

_DIGITS: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_OWN_FORM: Final = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{RANDOM_DIGITS + CHECKSUM_DIGITS}}}")
_TOKEN: Final = re.compile(r"[0-9a-f]{64}")
_SHOWN_CHARACTERS: Final = 4
_SHORTEST_GIVEN: Final = 20
_LONGEST_GIVEN: Final = 200
_FEWEST_DIFFERENT: Final = 10
"""Of 20 random base62 digits about 17 differ; that fewer than 10 do happens about once in 10**7 keys."""


def new_key(randomness: bytes) -> str:
    """A key made of ``RANDOM_BYTES`` fresh random bytes."""
    if len(randomness) != RANDOM_BYTES:
        raise ValueError(f"a key takes {RANDOM_BYTES} random bytes")
    start = PREFIX + _base62(int.from_bytes(randomness), RANDOM_DIGITS)
    return start + _checksum(start)


def is_mistyped(key: str) -> bool:
    """Whether this has the form of ``new_key`` and a wrong checksum: such a key was never given out."""
    if _OWN_FORM.fullmatch(key) is None:
        return False
    return _checksum(key[:-CHECKSUM_DIGITS]) != key[-CHECKSUM_DIGITS:]


def token_of(key: str) -> str:
    """What a key is stored and looked up by: its SHA-256 in hexadecimal, as in LiteLLM."""
    return sha256(key.encode()).hexdigest()


def token_named(key_or_token: str) -> str:
    """The token that a request means, which may name a key by its text or by its token."""
    return key_or_token if _TOKEN.fullmatch(key_or_token) else token_of(key_or_token)


def name_of(key: str) -> str:
    """What may be shown of a key, to tell it from others."""
    return f"{PREFIX}...{key[-_SHOWN_CHARACTERS:]}"


def check_given(key: str) -> None:
    """Whether a key that a client chose itself can be taken. Raises InvalidRequest."""
    reason = _why_unusable(key)
    if reason is not None:
        raise InvalidRequest(FieldError("key", reason))


def _why_unusable(key: str) -> str | None:
    rest = key.removeprefix(PREFIX)
    if rest == key:
        return f"must start with {PREFIX}"
    if not _SHORTEST_GIVEN <= len(rest) <= _LONGEST_GIVEN:
        return f"must have {_SHORTEST_GIVEN} to {_LONGEST_GIVEN} characters after {PREFIX}"
    if not all("!" <= character <= "~" for character in rest):
        return "must be of printable ASCII characters without spaces"
    if len(set(rest)) < _FEWEST_DIFFERENT:
        return "is too uniform to be a secret; take a random one, or none to have one drawn"
    if is_mistyped(key):
        return "has the form of keys that are drawn here, but not their checksum; leave it out to have one drawn"
    return None


def _base62(number: int, digits: int) -> str:
    drawn = ""
    for _ in range(digits):
        number, digit = divmod(number, len(_DIGITS))
        drawn = _DIGITS[digit] + drawn
    return drawn


def _checksum(text: str) -> str:
    return _base62(zlib.crc32(text.encode()), CHECKSUM_DIGITS)
