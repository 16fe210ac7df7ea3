"""The keys by id: seals and opens single texts, and makes keyed digests.

A sealed text is ``pm1:<key id>:<data>``, data being the unpadded url-safe base64 of nonce (12 bytes), ciphertext and
tag (16 bytes) of AES-256-GCM. The associated data is ``pm1:<key id>:`` followed by the caller's context. Nonces are
random, so a key should seal at most 2**32 texts (NIST SP 800-38D, 8.3): rotate long before.

Digests are HMAC-SHA256 with keys derived by HKDF-SHA256, one per purpose, so that none of them tells about another.
"""

import hmac
import os
import re
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from typing import Final, Literal, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.encryption.weakness import why_weak

KEY_SIZE_BYTES: Final = 32
MOST_SEALS: Final = 2**32
"""With random nonces, what one key should seal at most."""
_NONCE_SIZE_BYTES: Final = 12
_TAG_SIZE_BYTES: Final = 16
_VERSION: Final = "pm1"
_KEY_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")
_SEALED: Final = re.compile(rf"{_VERSION}:({_KEY_ID.pattern}):(.*)", re.DOTALL)
_SEALED_FORM: Final = re.compile(rf"{_VERSION}:{_KEY_ID.pattern}:[A-Za-z0-9_-]{{38,}}")
_HOW_TO_MEND: Final = "make a key with 'openssl rand -base64 32' and give it as <id>:<that text>"

Reason = Literal["format", "unknown_key", "tampered"]
_SENTENCES: Final[dict[Reason, str]] = {
    "format": "it is not a sealed text",
    "unknown_key": "the keyring has no key {key_id!r}",
    "tampered": "it was altered, or moved from another place, or key {key_id!r} is not the one that sealed it",
}


class BadKey(Exception):
    """A key that must not be used. The text names the entry and says how to mend it, and never shows the key."""


class Unreadable(Exception):
    """A sealed text that does not open. ``key_id`` is empty if the text names none."""

    def __init__(self, key_id: str, reason: Reason) -> None:
        self.key_id = key_id
        self.reason: Reason = reason
        super().__init__(f"cannot be read: {self.explanation}")

    @property
    def explanation(self) -> str:
        return _SENTENCES[self.reason].format(key_id=self.key_id)


class _Key:
    """One key with its cipher, and the digest keys derived from it so far."""

    def __init__(self, key_id: str, material: bytes) -> None:
        self.cipher = AESGCM(material)
        self.prefix = f"{_VERSION}:{key_id}:"
        self.prefix_bytes = self.prefix.encode()
        self._material = material
        self._digest_keys: dict[str, bytes] = {}

    def hmac_sha256(self, value: bytes, purpose: str) -> str:
        key = self._digest_keys.get(purpose)
        if key is None:
            key = self._digest_keys[purpose] = self._derive(purpose)
        return hmac.digest(key, value, "sha256").hex()

    def _derive(self, purpose: str) -> bytes:
        info = b"pointsman digest 1:" + _utf8(purpose)
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(self._material)


class Keyring:
    """All keys by id. The first writes, all read. Safe to share between threads."""

    def __init__(self, keys: dict[str, bytes]) -> None:
        """Takes keys that were checked; ``parse`` does."""
        self.key_ids: tuple[str, ...] = tuple(keys)
        self.writing_key_id: str = self.key_ids[0]
        self._keys = {key_id: _Key(key_id, material) for key_id, material in keys.items()}
        self._writing = self._keys[self.writing_key_id]
        self._seals = 0

    @classmethod
    def parse(cls, text: str) -> "Keyring":
        """Reads ``id:base64,id:base64``; line breaks separate as well as commas. Raises BadKey."""
        keys: dict[str, bytes] = {}
        for number, entry in enumerate(_entries(text), start=1):
            key = _read_entry(number, entry)
            _check_new(key, keys)
            keys[key.key_id] = key.material
        if not keys:
            raise BadKey(f"there is no encryption key: {_HOW_TO_MEND}")
        return cls(keys)

    def __repr__(self) -> str:
        return f"Keyring({', '.join(self.key_ids)})"

    def seal(self, plaintext: str, context: bytes) -> str:
        """ASCII text that opens only with the same context."""
        key = self._writing
        self._seals += 1
        nonce = os.urandom(_NONCE_SIZE_BYTES)
        sealed = key.cipher.encrypt(nonce, _utf8(plaintext), key.prefix_bytes + context)
        return key.prefix + _encode(nonce + sealed)

    def open(self, sealed: str, context: bytes) -> str:
        """Raises Unreadable."""
        key_id, data = _split(sealed)
        key = self._keys.get(key_id)
        if key is None:
            raise Unreadable(key_id, "unknown_key")
        try:
            plain = key.cipher.decrypt(data[:_NONCE_SIZE_BYTES], data[_NONCE_SIZE_BYTES:], key.prefix_bytes + context)
        except InvalidTag:
            raise Unreadable(key_id, "tampered") from None
        return plain.decode("utf-8", "surrogatepass")

    def take_seal_count(self) -> int:
        """How many texts were sealed since this was last asked, for the budget of the writing key."""
        taken = self._seals
        self._seals -= taken
        return taken

    def give_back_seal_count(self, count: int) -> None:
        """For one who could not tell anybody."""
        self._seals += count

    def fingerprint(self, value: str, purpose: str = "audit") -> str:
        """``fp:<key id>:<16 hex>``: shows that two values are equal, or differ, and nothing else about them."""
        return f"fp:{self.writing_key_id}:{self._writing.hmac_sha256(_utf8(value), purpose)[:16]}"

    def digest(self, value: bytes, purpose: str) -> str:
        """``<key id>:<64 hex>``, to be compared with ``digest_matches``, also after a rotation."""
        return f"{self.writing_key_id}:{self._writing.hmac_sha256(value, purpose)}"

    def digest_matches(self, digest: str, value: bytes, purpose: str) -> bool:
        """False also if the key that made the digest is gone."""
        key_id, _, hexadecimal = digest.partition(":")
        key = self._keys.get(key_id)
        return key is not None and hmac.compare_digest(_utf8(hexadecimal), key.hmac_sha256(value, purpose).encode())


def new_key(key_id: str) -> str:
    """A fresh random key as an entry that ``Keyring.parse`` reads."""
    return f"{key_id}:{b64encode(os.urandom(KEY_SIZE_BYTES)).decode()}"


def is_sealed(text: str) -> bool:
    """Whether it has the form of a sealed text, which says nothing about whether it opens."""
    return text.startswith(_VERSION) and _SEALED_FORM.fullmatch(text) is not None


def key_id_of(sealed: str) -> str:
    """The key that a sealed text names, or an empty text if it names none."""
    parts = _SEALED.fullmatch(sealed)
    return "" if parts is None else parts.group(1)


class _Entry(NamedTuple):
    key_id: str
    material: bytes


def _entries(text: str) -> list[str]:
    return [entry.strip() for entry in re.split(r"[,\r\n]", text) if entry.strip()]


def _read_entry(number: int, entry: str) -> _Entry:
    key_id, colon, encoded = entry.partition(":")
    if not colon or _KEY_ID.fullmatch(key_id) is None:  # not quoted in the error: it may be the key itself
        raise BadKey(
            f"encryption key number {number} does not start with an id and a colon: "
            "write it as <id>:<base64>, the id being 1 to 32 letters, digits, '-' or '_'"
        )
    material = _decode_key(key_id, encoded.strip())
    if weakness := why_weak(material):
        raise BadKey(f"encryption key {key_id!r} {weakness}: {_HOW_TO_MEND}")
    return _Entry(key_id, material)


def _decode_key(key_id: str, encoded: str) -> bytes:
    material = _from_base64(encoded)
    if material is None:
        raise BadKey(f"encryption key {key_id!r} is not base64: {_HOW_TO_MEND}")
    if len(material) != KEY_SIZE_BYTES:
        raise BadKey(f"encryption key {key_id!r} has {len(material)} bytes instead of {KEY_SIZE_BYTES}: {_HOW_TO_MEND}")
    return material


def _check_new(key: _Entry, keys: dict[str, bytes]) -> None:
    if key.key_id in keys:
        raise BadKey(f"the id {key.key_id!r} stands for two encryption keys: give the newer one another id")
    for other_id, material in keys.items():
        if hmac.compare_digest(material, key.material):
            raise BadKey(f"{other_id!r} and {key.key_id!r} are the same encryption key: {_HOW_TO_MEND}")


def _split(sealed: str) -> tuple[str, bytes]:
    """Key id, and nonce with ciphertext. Raises Unreadable."""
    parts = _SEALED.fullmatch(sealed)
    if parts is None:
        raise Unreadable("", "format")
    key_id, encoded = parts.groups()
    try:
        data = urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    except ValueError:
        raise Unreadable(key_id, "format") from None
    # Decoding overlooks foreign characters and left-over bits; only the spelling that seal writes is accepted.
    if len(data) < _NONCE_SIZE_BYTES + _TAG_SIZE_BYTES or _encode(data) != encoded:
        raise Unreadable(key_id, "format")
    return key_id, data


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _from_base64(text: str) -> bytes | None:
    """Standard or url-safe alphabet, padded or not."""
    bare = text.rstrip("=").replace("+", "-").replace("/", "_")
    if re.fullmatch(r"[A-Za-z0-9_-]*", bare) is None or len(bare) % 4 == 1:
        return None
    return urlsafe_b64decode(bare + "=" * (-len(bare) % 4))


def _utf8(text: str) -> bytes:
    """Total, unlike plain encode: JSON can spell half of a surrogate pair, and that must come back as it was."""
    return text.encode("utf-8", "surrogatepass")
