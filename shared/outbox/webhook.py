"""The form of a webhook: Standard Webhooks 1.0 (https://www.standardwebhooks.com), symmetric signatures."""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, cast

import msgspec

MAX_BODY_BYTES: Final = 20_000
SCHEMA: Final = 1
"""Of the body: another one when what is there changes its place or meaning, and not when fields are added."""

SECRET_PREFIX: Final = "whsec_"  # noqa: S105  the standard's marker, not a secret

_SECRET_BYTES: Final = range(24, 65)
_LONG_VALUE: Final = 255
_ROOM_FOR_FRAME: Final = 1_000

_encode = msgspec.json.Encoder().encode


class UnusableSecretError(ValueError):
    """A signing secret that cannot sign. The text never shows it."""


def new_secret() -> str:
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def body(event_type: str, occurred_at: datetime, data: Mapping[str, Any]) -> bytes:
    """The bytes to sign and send, the same at every attempt and always under ``MAX_BODY_BYTES``.

    Data that does not fit keeps what can be kept in order, texts cut and lists left out, and says so with
    ``"truncated": true``.
    """
    encoded = _framed(event_type, occurred_at, data)
    if len(encoded) < MAX_BODY_BYTES:
        return encoded
    return _framed(event_type, occurred_at, _shortened(data))


def sign(secrets: Sequence[str], message_id: str, sent_at: datetime, body: bytes) -> dict[str, str]:
    """The three headers for one attempt. Several secrets, while one replaces another, give one signature each.

    ``message_id`` stays the same over all attempts and replays and holds no full stop; ``sent_at`` is the attempt's own
    time. Raises ``UnusableSecretError``.
    """
    if not secrets:
        raise UnusableSecretError("There is no secret to sign with.")
    if not message_id or "." in message_id:
        raise ValueError("A message id is not empty and holds no full stop.")
    timestamp = str(int(sent_at.timestamp()))
    signed = f"{message_id}.{timestamp}.".encode() + body
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(_signature(secret, signed) for secret in secrets),
    }


def _framed(event_type: str, occurred_at: datetime, data: Mapping[str, Any]) -> bytes:
    return _encode({"type": event_type, "timestamp": occurred_at.astimezone(UTC), "schema": SCHEMA, "data": data})


def _shortened(data: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    room = MAX_BODY_BYTES - _ROOM_FOR_FRAME
    for name, value in data.items():
        short = _cut(value)
        size = len(_encode({name: short}))
        if size <= room:
            kept[name] = short
            room -= size
    return kept | {"truncated": True}


def _cut(value: Any) -> Any:
    match value:
        case str():
            return value[:_LONG_VALUE]
        case Mapping():
            inner = cast("Mapping[str, Any]", value)
            return {name: _cut(inner[name]) for name in inner}
        case list() | tuple():
            return None
        case _:
            return value


def _signature(secret: str, signed: bytes) -> str:
    digest = hmac.new(_key(secret), signed, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def _key(secret: str) -> bytes:
    encoded = secret.removeprefix(SECRET_PREFIX)
    padding = "=" * (-len(encoded) % 4)
    try:
        key = base64.b64decode(encoded + padding, validate=True)
    except (binascii.Error, ValueError):
        raise UnusableSecretError("A signing secret is whsec_ followed by base64.") from None
    if len(key) not in _SECRET_BYTES:
        raise UnusableSecretError("A signing secret has 24 to 64 bytes.")
    return key
