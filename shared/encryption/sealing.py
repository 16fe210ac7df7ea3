"""Seals documents: every string value, however deep, bound to its object and to its path in it.

The context of a value is the sequence object type, object id, steps of the path. Each part is written as a letter
(``o`` for the object's parts, ``k`` for a key, ``i`` for a position in a list), its length in bytes, a colon and its
UTF-8 bytes, so that no two places have the same context: ``o5:modelo2:m1k14:litellm_paramsk7:api_key``.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import cast

import msgspec

from shared.encryption.documents import Document, Path, dotted, map_strings
from shared.encryption.keyring import Keyring, Reason, Unreadable


class Binding(msgspec.Struct, frozen=True):
    """The object that a sealed value belongs to. It opens nowhere else."""

    object_type: str
    object_id: str


class UnreadableField(Unreadable):
    """A field whose sealed value does not open: names the object, the field and the key, and nothing of the value."""

    def __init__(self, binding: Binding, path: Path, key_id: str, reason: Reason) -> None:
        super().__init__(key_id, reason)
        self.object_type = binding.object_type
        self.object_id = binding.object_id
        self.field = dotted(path)

    def __str__(self) -> str:
        return f"{self.object_type} {self.object_id!r}: {self.field} cannot be read: {self.explanation}"


def seal_document(keyring: Keyring, binding: Binding, document: Document, path: str = "litellm_params") -> Document:
    """The same structure with every string value sealed. ``path`` is the name of the document in its object."""
    context = _context_of(binding)

    def seal(text: str, where: Path) -> str:
        return keyring.seal(text, context(where))

    return cast("Document", map_strings(document, (path,), seal))


def open_document(
    keyring: Keyring,
    binding: Binding,
    document: Document,
    path: str = "litellm_params",
    *,
    instead: Callable[[UnreadableField], str] | None = None,
) -> Document:
    """The inverse of seal_document. Raises UnreadableField, unless ``instead`` says what to show for such a field."""
    context = _context_of(binding)

    def unseal(text: str, where: Path) -> str:
        try:
            return keyring.open(text, context(where))
        except Unreadable as problem:
            unreadable = UnreadableField(binding, where, problem.key_id, problem.reason)
        if instead is None:
            raise unreadable
        return instead(unreadable)

    return cast("Document", map_strings(document, (path,), unseal))


def seal_text(keyring: Keyring, binding: Binding, text: str, path: str | Path) -> str:
    """Seals one value, as seal_document would at that path. A text as path is a single key, dots included."""
    return keyring.seal(text, _context_of(binding)(_as_path(path)))


def open_text(keyring: Keyring, binding: Binding, sealed: str, path: str | Path) -> str:
    """Opens one value, also one of a document. Raises UnreadableField."""
    where = _as_path(path)
    try:
        return keyring.open(sealed, _context_of(binding)(where))
    except Unreadable as problem:
        raise UnreadableField(binding, where, problem.key_id, problem.reason) from None


def _as_path(path: str | Path) -> Path:
    return (path,) if isinstance(path, str) else path


def _context_of(binding: Binding) -> Callable[[Path], bytes]:
    of_object = _part("o", binding.object_type) + _part("o", binding.object_id)

    def context(path: Path) -> bytes:
        return of_object + _context_of_path(path)

    return context


@lru_cache(maxsize=4096)  # the same few paths in every model; without it this takes as long as half a seal
def _context_of_path(path: Path) -> bytes:
    return b"".join([_part("i" if isinstance(step, int) else "k", str(step)) for step in path])


def _part(kind: str, text: str) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    return b"%b%d:%b" % (kind.encode(), len(data), data)
