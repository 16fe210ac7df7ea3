"""Seals anew, with the key that writes now, what another key has sealed. What does not open stays as it is."""

from typing import cast

from shared.encryption.documents import Document, JsonValue, Path, map_strings
from shared.encryption.keyring import Keyring, key_id_of
from shared.encryption.sealing import Binding, UnreadableField, open_text, seal_text


class Resealer:
    """Walks the sealed texts of rows and counts what it meets."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self.resealed = 0
        self.unreadable: list[UnreadableField] = []
        self.by_key: dict[str, int] = {}

    def reseal(self, binding: Binding, path: Path, value: JsonValue) -> JsonValue:
        """The same text or document, sealed by the writing key wherever it opens."""

        def change(sealed: str, where: Path) -> str:
            if key_id_of(sealed) == self._keyring.writing_key_id:
                return sealed
            try:
                plain = open_text(self._keyring, binding, sealed, where)
            except UnreadableField as unreadable:
                self.unreadable.append(unreadable)
                return sealed
            self.resealed += 1
            return seal_text(self._keyring, binding, plain, where)

        return map_strings(value, path, change)

    def look(self, binding: Binding, path: Path, value: JsonValue) -> None:
        """Counts every text under its key, and tries whether it opens."""

        def check(sealed: str, where: Path) -> str:
            key_id = key_id_of(sealed)
            self.by_key[key_id] = self.by_key.get(key_id, 0) + 1
            try:
                open_text(self._keyring, binding, sealed, where)
            except UnreadableField as unreadable:
                self.unreadable.append(unreadable)
            return sealed

        map_strings(value, path, check)


def at(document: JsonValue, steps: tuple[str, ...]) -> JsonValue:
    """What lies in the document at these names, or None."""
    for step in steps:
        document = document.get(step) if isinstance(document, dict) else None
    return document


def with_value_at(document: JsonValue, steps: tuple[str, ...], value: JsonValue) -> JsonValue:
    """The document with another value at these names, which it has."""
    if not steps:
        return value
    name, *rest = steps
    inside = cast("Document", document)
    return {**inside, name: with_value_at(inside[name], tuple(rest), value)}
