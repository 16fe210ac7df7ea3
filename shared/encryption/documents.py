"""Walks documents, the JSON values that objects are made of, by path.

A path is a tuple of keys and list positions, because a key may contain dots; only for people it is written with dots.
Walking recurses: whoever lets a document in bounds its depth.
"""

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

JsonValue: TypeAlias = "dict[str, JsonValue] | list[JsonValue] | str | int | float | bool | None"
Document: TypeAlias = dict[str, Any]
Path: TypeAlias = tuple[str | int, ...]


def dotted(path: Path) -> str:
    """For people: two paths may read the same."""
    return ".".join(str(step) for step in path)


def fields(document: JsonValue, path: Path = ()) -> Iterator[tuple[Path, JsonValue]]:
    """Every value that is neither dict nor list, with its path, in the order of the document."""
    if isinstance(document, dict):
        for name, value in document.items():
            yield from fields(value, (*path, name))
    elif isinstance(document, list):
        for index, value in enumerate(document):
            yield from fields(value, (*path, index))
    else:
        yield path, document


def map_strings(document: JsonValue, path: Path, change: Callable[[str, Path], str]) -> JsonValue:
    """The same document with every string value replaced; keys and everything else stay."""
    if isinstance(document, str):
        return change(document, path)
    if isinstance(document, dict):
        return {name: map_strings(value, (*path, name), change) for name, value in document.items()}
    if isinstance(document, list):
        return [map_strings(value, (*path, index), change) for index, value in enumerate(document)]
    return document
