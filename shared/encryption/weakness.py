"""Which keys must not be used although they have the right length: well-known ones, and ones that a person typed."""

from hashlib import sha256
from itertools import pairwise
from typing import Final

_WELL_KNOWN_WORDS: Final = (
    "",
    "0",
    "1234",
    "12345678",
    "1234567890",
    "admin",
    "changeit",
    "changeme",
    "change-me",
    "change_me",
    "default",
    "demo",
    "dev",
    "development",
    "encryption",
    "encryption-key",
    "encryption_key",
    "example",
    "hello",
    "insecure",
    "key",
    "letmein",
    "litellm",
    "master",
    "master-key",
    "password",
    "pointsman",
    "qwerty",
    "root",
    "salt",
    "secret",
    "secret-key",
    "secret_key",
    "secretkey",
    "sk-1234",
    "sk-12345",
    "sk-12345678",
    "sk-salt",
    "sk-salt-1234",
    "test",
    "test-key",
    "testing",
)
_SPECIFICATION_EXAMPLES: Final = (
    "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",  # NIST SP 800-38A
    "c47b0294dbbbee0fec4757f22ffeee3587ca4730c3d33b691df38bab076bc558",  # NIST GCM test vectors
    "e3c08a8f06c6e3ad95a70557b23f75483ce33021a9c72b7025666204c69c0b72",  # IEEE 802.1AE test vectors
)


def _hashes_of_words() -> frozenset[bytes]:
    spellings = {
        spelled for word in _WELL_KNOWN_WORDS for spelled in (word, word.upper(), word.capitalize(), word + "\n")
    }
    return frozenset(sha256(word.encode()).digest() for word in spellings)


_WELL_KNOWN: Final = _hashes_of_words() | {bytes.fromhex(example) for example in _SPECIFICATION_EXAMPLES}

_FEWEST_DIFFERENT_BYTES: Final = 16
"""Of 32 random bytes about 30 differ; that fewer than 16 do happens about once in 10**15 keys."""


def why_weak(material: bytes) -> str | None:
    """The rest of a sentence that starts with the key's name, or None if nothing speaks against the key."""
    if material in _WELL_KNOWN:
        return "is publicly known"
    if _is_counting(material):
        return "is a sequence, not random bytes"
    if len(set(material)) < _FEWEST_DIFFERENT_BYTES or _is_repeated(material):
        return "is a repetition, not random bytes"
    if all(0x20 <= byte < 0x7F for byte in material):
        return "is text, not random bytes"
    return None


def _is_counting(material: bytes) -> bool:
    steps = {(after - before) % 256 for before, after in pairwise(material)}
    return len(steps) == 1 and steps != {0}


def _is_repeated(material: bytes) -> bool:
    half = len(material) // 2
    return material[:half] == material[half:]
