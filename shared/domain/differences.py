"""What is different between two documents, field by field."""

from collections.abc import Iterator
from typing import Any, cast

Document = dict[str, Any]
Difference = tuple[str, Any, Any]


def differences(before: Document, after: Document, at: str = "") -> Iterator[Difference]:
    """Dotted path, value before, value after; lists count as one value, what is not there as None."""
    for name in sorted(before.keys() | after.keys()):
        path = f"{at}.{name}" if at else name
        was, now = before.get(name), after.get(name)
        if isinstance(was, dict) or isinstance(now, dict):
            yield from differences(_as_document(was), _as_document(now), path)
        if not (isinstance(was, dict) and isinstance(now, dict)):
            yield from _leaf(path, was, now)


def _leaf(path: str, was: Any, now: Any) -> Iterator[Difference]:
    was, now = (None if isinstance(value, dict) else value for value in (was, now))
    if was != now or type(was) is not type(now):
        yield path, was, now


def _as_document(value: Any) -> Document:
    return cast("Document", value) if isinstance(value, dict) else {}
