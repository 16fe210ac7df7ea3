"""Documents without their secrets: for reads, where they are left out, and for the audit, where fingerprints stand in.

A fingerprint is a keyed digest: it shows that a value changed, not what it is. The audit shows a string only where it
is known to be harmless; reads show what neither its name nor its form gives away as a secret.
"""

from collections.abc import Callable
from typing import Final, Literal, cast
from urllib.parse import urlsplit, urlunsplit

from shared.encryption.documents import Document, JsonValue
from shared.encryption.sensitivity import is_reference, is_sensitive_name, looks_like_secret

__all__ = ["Fingerprint", "Plain", "is_sensitive_name", "looks_like_secret", "masked", "without_secrets"]

Fingerprint = Callable[[str], str]
Shown = Literal["allowlisted", "unless_sensitive"]

_URLS: Final = frozenset({"api_base", "base_url", "aws_bedrock_runtime_endpoint", "aws_sts_endpoint"})
_ALLOWLIST: Final = _URLS | frozenset(
    {
        "api_type",
        "api_version",
        "auto_router_default_model",
        "auto_router_embedding_model",
        "aws_region_name",
        "base_model",
        "budget_duration",
        "complexity_router_default_model",
        "custom_llm_provider",
        "encoding_format",
        "litellm_credential_name",
        "mode",
        "model",
        "organization",
        "reasoning_effort",
        "region_name",
        "service_tier",
        "tier",
        "vertex_location",
        "vertex_project",
        "watsonx_region_name",
    }
)
"""Parameters whose strings the audit shows. Only directly in the document: what stands deeper is free-form."""

_LONGEST_SHOWN: Final = 500


class Plain(str):
    """A text that stands in for a value and is shown wherever it stands. JSON never decodes to one."""

    __slots__ = ()


GONE: Final = Plain("")
"""Marks, by being this very object, a value that could not be read."""


def without_gone(document: Document) -> Document:
    """The document without the entries and list items that are GONE."""
    return {name: _without_gone(value) for name, value in document.items() if value is not GONE}


def _without_gone(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        return without_gone(value)
    if isinstance(value, list):
        return [_without_gone(item) for item in value if item is not GONE]
    return value


def without_secrets(document: Document) -> Document:
    """For reads: entries and list items that are secret are left out, everything else stays exactly as it is.

    Left out are entries with a sensitive name, whatever is in them, and strings that look like a secret. A boolean
    stays under any name: it can hold no secret, and flags like ``use_xai_oauth`` are settings.
    """
    return {
        name: _stripped(value)
        for name, value in document.items()
        if not _is_secret(value) and (isinstance(value, bool) or not is_sensitive_name(name))
    }


def masked(document: Document, fingerprint: Fingerprint, shown: Shown = "allowlisted") -> Document:
    """For the audit: fingerprints instead of strings, unless they are shown; numbers, booleans and null as they are.

    ``allowlisted`` shows strings under the names of known harmless parameters, ``unless_sensitive`` those that neither
    their name nor their form gives away. Under a sensitive name numbers are fingerprinted too. References to
    environment variables are shown. Long strings are cut, and URLs shown without user, query and fragment; a
    fingerprint of the whole follows them.
    """
    mask = _Mask(fingerprint)
    entry = mask.allowlisted if shown == "allowlisted" else mask.unless_sensitive
    return {mask.name(name): entry(name, value) for name, value in document.items()}


def _stripped(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        return without_secrets(cast("Document", value))
    if isinstance(value, list):
        return [_stripped(item) for item in value if not _is_secret(item)]
    return value


def _is_secret(value: JsonValue) -> bool:
    return isinstance(value, str) and looks_like_secret(value)


class _Mask:
    def __init__(self, fingerprint: Fingerprint) -> None:
        self._fingerprint = fingerprint

    def name(self, name: str) -> str:
        if is_sensitive_name(name) and looks_like_secret(name):  # the first is remembered and spares the second
            return self._fingerprint(name)
        return _storable(name)

    def allowlisted(self, name: str, value: JsonValue) -> JsonValue:
        if name in _URLS and isinstance(value, str):
            return self._url(value)
        if name in _ALLOWLIST and isinstance(value, str):
            return self._text(value)
        return self._hidden(value, secret=is_sensitive_name(name))

    def unless_sensitive(self, name: str, value: JsonValue) -> JsonValue:
        if is_sensitive_name(name):
            return self._hidden(value, secret=True)
        return self._open(value)

    def _open(self, value: JsonValue) -> JsonValue:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, dict):
            return {self.name(name): self.unless_sensitive(name, inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self._open(item) for item in value]
        return value

    def _hidden(self, value: JsonValue, *, secret: bool) -> JsonValue:
        """Fingerprints of all strings, and of the numbers that are ``secret``."""
        if isinstance(value, dict):
            return {
                self.name(name): self._hidden(inner, secret=secret or is_sensitive_name(name))
                for name, inner in value.items()
            }
        if isinstance(value, list):
            return [self._hidden(item, secret=secret) for item in value]
        if isinstance(value, str):
            return self._hidden_text(value)
        return self._fingerprint(repr(value)) if secret and _is_number(value) else value

    def _hidden_text(self, text: str) -> str:
        if isinstance(text, Plain) or not text or is_reference(text):
            return str(text)
        return self._fingerprint(text)

    def _text(self, text: str) -> str:
        if looks_like_secret(text):
            return self._hidden_text(text)
        if len(text) <= _LONGEST_SHOWN:
            return _storable(text)
        return f"{_storable(text[:_LONGEST_SHOWN])}… ({len(text)} characters, {self._fingerprint(text)})"

    def _url(self, url: str) -> str:
        bare = _bare_url(url)
        if bare is None or looks_like_secret(bare):
            return self._hidden_text(url)
        return self._text(url) if bare == url else f"{self._text(bare)} ({self._fingerprint(url)})"


def _bare_url(url: str) -> str | None:
    """Without user, query and fragment. None if it cannot be told for sure where they are."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    host = parts.netloc.rpartition("@")[2]
    bare = urlunsplit((parts.scheme, host, parts.path, "", ""))
    return bare if parts.scheme and host and "@" not in bare else None


def _is_number(value: JsonValue) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _storable(text: str) -> str:
    """PostgreSQL stores neither NUL nor half a surrogate pair; an audit entry must not fail for one."""
    # Plainly a str: msgspec refuses to encode a Plain.
    return str(text) if text.isprintable() else text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
