"""Entries of the audit log, and how a change is shown in them."""

from datetime import datetime
from typing import Any, Final

import msgspec

from shared.domain.decision import Change
from shared.encryption.documents import Document
from shared.encryption.keyring import Keyring
from shared.encryption.masking import Plain, masked
from shared.encryption.sealing import Binding, UnreadableField, open_document, open_text
from shared.encryption.urls import shown_url

MASTER_KEY: Final = "litellm_proxy_master_key"
"""What stands for the master key wherever a key is named, as in LiteLLM."""

REFUSED: Final = "refused"
"""The action of an entry about a change that was not made."""

_SEALED: Final = ("litellm_params", "credential_values")
# Sealed texts, and the path at which each was sealed.
_SEALED_TEXTS: Final = {"webhook": {"url": "url", "secret": "secret", "previous_secret": "secret"}}


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One link of the chain. Ids are in the spelling that the database returns: UUIDs in lower case with hyphens.

    ``actor_key`` is the key's id or MASTER_KEY, ``changed_by`` what the client said in ``litellm-changed-by``.
    """

    position: int
    entry_id: str
    recorded_at: datetime
    actor: str
    actor_key: str
    changed_by: str | None = None
    source_address: str | None = None
    request_id: str | None = None
    task_id: str | None = None
    operation: str
    action: str
    object_type: str
    object_id: str
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    problem: dict[str, Any] | None = None
    previous_hash: str = ""
    hash: str = ""


def describe(keyring: Keyring, change: Change) -> tuple[Document | None, Document | None]:
    """Before and after as the audit shows them. A value that does not open is shown as ``unreadable:<key id>``."""
    binding = Binding(change.object_type, change.object_id)
    return _described(keyring, binding, change.before), _described(keyring, binding, change.after)


def _described(keyring: Keyring, binding: Binding, document: Document | None) -> Document | None:
    if document is None:
        return None
    texts = _SEALED_TEXTS.get(binding.object_type, {})
    plain = {name: value for name, value in document.items() if name not in _SEALED and name not in texts}
    shown = masked(plain, keyring.fingerprint, shown="unless_sensitive")
    for name in _SEALED:
        if name in document:
            opened = open_document(keyring, binding, document[name], name, instead=_unreadable)
            shown[name] = masked(opened, keyring.fingerprint)
    for name, path in texts.items():
        if document.get(name) is not None:
            shown[name] = _shown_text(keyring, binding, name, document[name], path)
    return shown


def _shown_text(keyring: Keyring, binding: Binding, name: str, sealed: str, path: str) -> str:
    """A fingerprint; of a URL also what gives nothing away."""
    try:
        text = open_text(keyring, binding, sealed, path)
    except UnreadableField as problem:
        return _unreadable(problem)
    fingerprint = keyring.fingerprint(text)
    return f"{shown_url(text)} ({fingerprint})" if name == "url" else fingerprint


def _unreadable(problem: UnreadableField) -> str:
    return Plain(f"unreadable:{problem.key_id}")
