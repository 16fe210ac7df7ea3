"""Virtual keys as LiteLLM's clients write and read them (contract 1.9).

What is not interpreted here is kept and shown as it was sent.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from shared.contract.durations import duration_s
from shared.contract.open_bodies import Open, decode_open
from shared.domain import key_text
from shared.domain.keys import CreateKey, DeleteKeys, Key, KeyFields, RegenerateKey, document
from shared.domain.problems import FieldError, InvalidRequest
from shared.domain.rights import USERLESS_PREFIX

Document = dict[str, Any]
Text = Annotated[str, Meta(max_length=255)]
Names = tuple[Annotated[str, Meta(min_length=1, max_length=500)], ...]
Wait = Annotated[float, Meta(ge=0, le=30, description="Seconds that a write with this key waits unless it says so.")]
KeyType = Literal["default", "llm_api", "management", "read_only"]
_Duration = Annotated[str, Meta(description="`45s`, `30m`, `1h`, `30d`, `2w`, `1mo`.")]

NEVER = "-1"
"""In an update: the key expires no more."""
# What LiteLLM's kinds of keys may call, where nothing else is said.
_ROUTES_OF_TYPE: dict[KeyType, tuple[str, ...]] = {
    "llm_api": ("llm_api_routes",),
    "management": ("management_routes",),
    "read_only": ("info_routes",),
}
# What the server says of a key; a client that sends it back does not change it.
SERVER_OWNED = frozenset(
    (
        *("token", "token_id", "key_name", "expires", "status", "last_used_at", "last_active", "revoke_at"),
        *("version", "created_at", "created_by", "updated_at", "updated_by"),
    )
)
# How LiteLLM shows the fields that nobody has set.
_UNSET_FIELDS: Document = {
    "spend": 0.0,
    "max_budget": None,
    "soft_budget": None,
    "soft_budget_cooldown": False,
    "budget_id": None,
    "budget_duration": None,
    "budget_reset_at": None,
    "tpm_limit": None,
    "rpm_limit": None,
    "max_parallel_requests": None,
    "aliases": {},
    "config": {},
    "permissions": {},
    "model_spend": {},
    "model_max_budget": {},
    "allowed_cache_controls": [],
    "policies": [],
    "access_group_ids": [],
    "organization_id": None,
    "project_id": None,
    "agent_id": None,
    "router_settings": None,
}


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /key/generate``. LiteLLM's other fields are kept and shown as they are sent."""

    key: Annotated[str, Meta(description="The key itself; one is drawn if it is missing.")] | None = None
    key_alias: Text | None = None
    duration: _Duration | None = None
    user_id: Text | None = None
    team_id: Text | None = None
    models: Names | None = None
    allowed_routes: Names | None = None
    key_type: KeyType | None = None
    blocked: bool | None = None
    default_wait: Wait | None = None
    metadata: Document | None = None


class KeyChange(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /key/update``: what is not named stays, ``null`` empties. A ``duration`` of ``-1`` is for ever."""

    key: Annotated[str, Meta(min_length=1, description="The key, or its hash.")]
    key_alias: Text | UnsetType | None = UNSET
    duration: _Duration | None = None
    user_id: Text | UnsetType | None = UNSET
    team_id: Text | UnsetType | None = UNSET
    models: Names | UnsetType | None = UNSET
    allowed_routes: Names | UnsetType | None = UNSET
    blocked: bool | None = None
    default_wait: Wait | UnsetType | None = UNSET
    metadata: Document | UnsetType | None = UNSET


class KeyRegeneration(KeyChange, frozen=True, kw_only=True):
    """Body of ``POST /key/regenerate``, and, where the path names the key, of ``POST /key/{key}/regenerate``."""

    key: Annotated[str, Meta(description="The key, or its hash.")] | None = None  # pyright: ignore[reportIncompatibleVariableOverride]
    new_key: str | None = None
    new_master_key: str | None = None
    grace_period: Annotated[str, Meta(description="For how long the old key is still accepted: `24h`.")] | None = None


class KeysToDelete(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /key/delete``: keys or their hashes, or aliases."""

    keys: Annotated[Names, Meta(max_length=100)] | None = None
    key_aliases: Annotated[Names, Meta(max_length=100)] | None = None


class KeyNamed(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /key/block`` and ``/key/unblock``."""

    key: Annotated[str, Meta(min_length=1, description="The key, or its hash.")]


class KeyRow(msgspec.Struct, frozen=True, kw_only=True):
    """A key as a write answers it, together with all that was sent. ``token`` is its SHA-256.

    ``key`` is the key itself in the one answer to the request that made it, and its hash in every other.
    """

    key: str
    token: str
    token_id: str
    key_name: str
    key_alias: str | None
    user_id: str | None
    team_id: str | None
    models: list[str]
    allowed_routes: list[str]
    expires: str | None
    blocked: bool
    default_wait: float | None
    metadata: Document
    created_at: str
    created_by: str
    updated_at: str
    updated_by: str


class KeyInfo(msgspec.Struct, frozen=True, kw_only=True):
    """``key`` as it was asked for; ``info`` is the row without the hash, and ``status``: active, blocked or expired."""

    key: str
    info: Document


class KeyPage(msgspec.Struct, frozen=True, kw_only=True):
    """Hashes or, with ``return_full_object``, rows."""

    keys: list[Any]
    total_count: int
    current_page: int
    total_pages: int


class KeyAliases(msgspec.Struct, frozen=True, kw_only=True):
    aliases: list[str]
    total_count: int
    current_page: int
    total_pages: int
    size: int


class KeysDeleted(msgspec.Struct, frozen=True, kw_only=True):
    deleted_keys: list[str]


_to_delete = msgspec.json.Decoder(KeysToDelete)


def decode_new(body: bytes) -> Open[NewKey]:
    """Raises InvalidRequest."""
    request = decode_open(body, NewKey, SERVER_OWNED)
    errors = _errors(request.named.duration, request.named.user_id)
    if request.named.key is not None:
        key_text.check_given(request.named.key)
    if errors:
        raise InvalidRequest(*errors)
    return request


def decode_change(body: bytes) -> Open[KeyChange]:
    """Raises InvalidRequest."""
    request = decode_open(body, KeyChange, SERVER_OWNED)
    errors = _errors(request.named.duration, request.named.user_id, is_change=True)
    if errors:
        raise InvalidRequest(*errors)
    return request


def decode_regeneration(body: bytes) -> Open[KeyRegeneration]:
    """Raises InvalidRequest."""
    request = decode_open(body, KeyRegeneration, SERVER_OWNED)
    named = request.named
    errors = _errors(named.duration, named.user_id, is_change=True)
    if named.new_master_key:
        errors.append(FieldError("new_master_key", "is set in the configuration, and nothing is sealed with it"))
    if named.grace_period and duration_s(named.grace_period) is None:
        errors.append(FieldError("grace_period", "must be a span of time such as 24h"))
    if errors:
        raise InvalidRequest(*errors)
    if named.new_key is not None:
        key_text.check_given(named.new_key)
    return request


def decode_deletion(body: bytes) -> KeysToDelete:
    """Raises InvalidRequest."""
    request = decode_open(body, KeysToDelete, frozenset()).named
    if not request.keys and not request.key_aliases:
        raise InvalidRequest(FieldError("keys", "give keys or key_aliases"))
    return request


def decode_named(body: bytes) -> KeyNamed:
    """Raises InvalidRequest."""
    return decode_open(body, KeyNamed, frozenset()).named


def to_create(request: Open[NewKey], key: str) -> CreateKey:
    named = request.named
    routes = named.allowed_routes or _ROUTES_OF_TYPE.get(named.key_type or "default", ())
    kept = {} if named.key_type is None else {"key_type": named.key_type}
    return CreateKey(
        token=key_text.token_of(key),
        key_name=key_text.name_of(key),
        key_alias=named.key_alias or None,
        user_id=named.user_id or None,
        team_id=named.team_id or None,
        models=named.models or (),
        allowed_routes=routes,
        duration_s=duration_s(named.duration) if named.duration else None,
        blocked=bool(named.blocked),
        default_wait=named.default_wait,
        metadata=named.metadata or {},
        settings={**request.others, **kept, **_kept_duration(named.duration)},
    )


def to_fields(request: Open[KeyChange] | Open[KeyRegeneration]) -> KeyFields:
    named = request.named
    return KeyFields(
        key_alias=_or_none(named.key_alias),
        user_id=_or_none(named.user_id),
        team_id=_or_none(named.team_id),
        models=UNSET if named.models is UNSET else named.models or (),
        allowed_routes=UNSET if named.allowed_routes is UNSET else named.allowed_routes or (),
        duration_s=_changed_duration(named.duration),
        blocked=UNSET if named.blocked is None else named.blocked,
        default_wait=named.default_wait,
        metadata=UNSET if named.metadata is UNSET else named.metadata or {},
        settings={**request.others, **_kept_duration(named.duration)},
    )


def to_regenerate(request: Open[KeyRegeneration], token: str, new_key: str) -> RegenerateKey:
    grace = request.named.grace_period
    return RegenerateKey(
        token=token,
        new_token=key_text.token_of(new_key),
        new_key_name=key_text.name_of(new_key),
        grace_s=(duration_s(grace) if grace else None) or 0,
        fields=to_fields(request),
    )


def to_delete(tokens: list[str]) -> DeleteKeys:
    return DeleteKeys(tokens=tuple(dict.fromkeys(tokens)))


def row(stored: Mapping[str, Any]) -> Document:
    """What a write answers: flat, with the hash where the key was."""
    shown = shown_key(stored)
    return {"key": shown["token"], **shown, "token_id": shown["token"]}


def deletion(document: Mapping[str, Any]) -> Document:
    """What ``/key/delete`` answers."""
    return {"deleted_keys": document["deleted_keys"]}


def shown_key(stored: Mapping[str, Any]) -> Document:
    """The stored document as LiteLLM shows a row: what was sent, and what is unset as LiteLLM names it."""
    own = {name: value for name, value in stored.items() if name not in ("settings", "previous_token")}
    return {**_UNSET_FIELDS, **stored["settings"], **own}


def info(key: Key, last_used_at: datetime | None, now: datetime) -> Document:
    """What ``/key/info`` says of a key."""
    shown = shown_key(document(key))
    del shown["token"]
    last_used = None if last_used_at is None else msgspec.to_builtins(last_used_at)
    return {**shown, "last_used_at": last_used, "last_active": last_used, "status": status(key, now)}


def listed(key: Key, last_used_at: datetime | None, now: datetime) -> Document:
    """One element of ``/key/list?return_full_object=true``, and of the keys of a user or a team."""
    return {"token": key.token, **info(key, last_used_at, now)}


def status(key: Key, now: datetime) -> str:
    if key.blocked:
        return "blocked"
    return "expired" if key.expires is not None and key.expires <= now else "active"


def _errors(duration: str | None, user_id: str | UnsetType | None, *, is_change: bool = False) -> list[FieldError]:
    errors: list[FieldError] = []
    if duration and duration_s(duration) is None and not (is_change and duration == NEVER):
        errors.append(FieldError("duration", "must be a span of time such as 30d, 1h or 45s"))
    if user_id and user_id.startswith(USERLESS_PREFIX):
        errors.append(FieldError("user_id", f"must not start with {USERLESS_PREFIX}"))
    return errors


def _changed_duration(duration: str | None) -> int | UnsetType | None:
    if not duration:
        return UNSET
    return None if duration == NEVER else duration_s(duration)


def _kept_duration(duration: str | None) -> Document:
    """Shown again as it was sent."""
    if not duration:
        return {}
    return {"duration": None if duration == NEVER else duration}


def _or_none(text: str | UnsetType | None) -> str | UnsetType | None:
    """An empty text names nothing."""
    return None if text == "" else text
