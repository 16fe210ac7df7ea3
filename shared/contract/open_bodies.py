"""Bodies of which only some fields are interpreted; the others are kept and shown as they were sent."""

from collections.abc import Set as AbstractSet
from typing import Any, Generic, TypeVar

import msgspec

from shared.contract.decoding import decode, field_error, unstorable
from shared.domain.problems import FieldError, InvalidRequest

T = TypeVar("T", bound=msgspec.Struct)

_document = msgspec.json.Decoder(dict[str, Any])


class Open(msgspec.Struct, Generic[T], frozen=True):
    """``named`` is what is interpreted, ``others`` the rest."""

    named: T
    others: dict[str, Any]


def decode_open(body: bytes, shape: type[T], dropped: AbstractSet[str]) -> Open[T]:
    """``dropped`` are fields that the server owns: they are accepted, and say nothing. Raises InvalidRequest."""
    document = decode(_document, body)
    try:
        named = msgspec.convert(document, shape)
    except msgspec.ValidationError as error:
        raise InvalidRequest(field_error(str(error))) from None
    errors: list[FieldError] = []
    for name, value in document.items():
        errors.extend(unstorable(name, "body"))
        errors.extend(unstorable(value, name))
    if errors:
        raise InvalidRequest(*errors)
    known = shape.__struct_fields__
    others = {name: value for name, value in document.items() if name not in known and name not in dropped}
    return Open(named, others)
