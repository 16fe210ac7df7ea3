"""The one spelling of a JSON value that is hashed.

It is RFC 8785 (JSON Canonicalization Scheme): no spaces, members sorted by the UTF-16 code units of their names, UTF-8,
only the necessary escapes, numbers as ECMAScript writes them. One difference: a whole number is always written with all
its digits (10**21, not 1e+21), because that is how PostgreSQL returns it from jsonb, and so that no two integers beyond
2**53 are spelled alike. So ``1e-06``, ``1.0``, ``1.10``, ``-0.0`` and ``1e20`` are hashed alike before and after they
were stored.
"""

import math
from decimal import Decimal
from typing import Any

import msgspec

_ENCODER = msgspec.json.Encoder()
_EXACT_BELOW = 2.0**53


def canonical_json(document: dict[str, Any]) -> bytes:
    """Raises ValueError or TypeError for what JSON cannot say: NaN, infinity, half a surrogate pair, other types."""
    return _ENCODER.encode(_canonical(document))


def _canonical(value: Any) -> Any:
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, dict):
        return _sorted(value)  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(value, list):
        return [_canonical(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, int):
        return value if abs(value) < _EXACT_BELOW else msgspec.Raw(str(value).encode())
    if isinstance(value, float):
        return msgspec.Raw(_float(value).encode())
    raise TypeError(f"an audit entry cannot hold a {type(value).__name__}")


def _sorted(document: dict[str, Any]) -> dict[str, Any]:
    ascii_only = all(map(str.isascii, document))
    names = sorted(document) if ascii_only else sorted(document, key=_utf16)
    return {name: _canonical(document[name]) for name in names}


def _utf16(name: str) -> bytes:
    return name.encode("utf-16-be")


def _float(value: float) -> str:
    if not math.isfinite(value):
        raise ValueError("an audit entry cannot hold a number that is not finite")
    if value.is_integer():
        return str(int(value) if abs(value) < _EXACT_BELOW else int(Decimal(repr(value))))
    shortest = repr(value)
    mantissa, exponential, exponent = shortest.partition("e")
    if not exponential:
        return shortest
    return format(Decimal(shortest), "f") if int(exponent) >= -6 else f"{mantissa}e{int(exponent)}"
