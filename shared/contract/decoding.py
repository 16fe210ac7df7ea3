"""From bytes to a request, or to a refusal that names the fields."""

import re
from collections.abc import Iterator
from typing import TypeVar, cast

import msgspec

from shared.domain.problems import FieldError, InvalidRequest

MAX_DEPTH = 32

T = TypeVar("T")

_NOTHING = (b"", b"null")
_MISSING = re.compile(r"^Object missing required field `([^`]+)`")
_PATH = re.compile(r" - at `\$\.?([^`]*)`$")
# PostgreSQL's text and jsonb hold neither NUL nor half of a surrogate pair.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """No body and ``null`` are an empty object, as LiteLLM has it (contract 7.4). Raises InvalidRequest."""
    try:
        return decoder.decode(b"{}" if body.strip() in _NOTHING else body)
    except msgspec.ValidationError as error:
        raise InvalidRequest(field_error(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise InvalidRequest(FieldError("body", "not valid JSON")) from None
    except RecursionError:
        raise InvalidRequest(FieldError("body", f"nested deeper than {MAX_DEPTH} levels")) from None


def field_error(message: str) -> FieldError:
    """Translate msgspec's ``Expected `int`, got `str` - at `$.a.b``` into the field and what is wrong with it."""
    at = _PATH.search(message)
    path = at.group(1) if at else ""
    text = _PATH.sub("", message)
    missing = _MISSING.match(text)
    if missing:
        return FieldError(".".join(part for part in (path, missing.group(1)) if part), "is required")
    if text.startswith("Invalid enum value"):
        text = "is none of the accepted values"
    return FieldError(path or "body", text[:1].lower() + text[1:])


def may_be_unstorable(body: bytes) -> bool:
    """False if nothing decoded from this body can be ``unstorable``: far quicker than looking through the documents.

    JSON can spell such characters only with an escape, and each level of depth takes a bracket.
    """
    return b"\\u" in body or body.count(b"{") + body.count(b"[") > MAX_DEPTH


def unstorable(document: object, field: str) -> Iterator[FieldError]:
    """What in a document could not be stored as it is: text that PostgreSQL refuses, too deep nesting."""
    stack: list[tuple[object, str, int]] = [(document, field, 1)]
    while stack:
        value, path, depth = stack.pop()
        if depth > MAX_DEPTH:
            yield FieldError(path, f"nested deeper than {MAX_DEPTH} levels")
        elif isinstance(value, str):
            if _UNSTORABLE.search(value):
                yield FieldError(path, "contains a NUL or an unpaired surrogate")
        elif isinstance(value, dict):
            items = cast("dict[str, object]", value)
            if any(_UNSTORABLE.search(key) for key in items):
                yield FieldError(path, "has a key with a NUL or an unpaired surrogate")
            else:
                stack.extend((item, f"{path}.{key}", depth + 1) for key, item in items.items())
        elif isinstance(value, list | tuple):
            items = cast("list[object]", value)
            stack.extend((item, f"{path}[{i}]", depth + 1) for i, item in enumerate(items))
