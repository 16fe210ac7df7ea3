"""Virtual keys: what is stored of them, what can be asked, and of what. What it means is in ``key_changes``.

The key itself is nowhere; it is known by its token, the SHA-256 of it.
"""

from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType

from shared.domain.decision import Document, ObjectRef
from shared.domain.rights import Ownership

OBJECT_TYPE = "key"
ALIAS_TYPE = "key_alias"

_USER_TYPE = "user"
_TEAM_TYPE = "team"


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """One virtual key; ``version`` counts its changes from 1.

    ``previous_token`` is what it was known by before it was last regenerated, and accepted as until ``revoke_at``.
    ``settings`` are the fields that only gateways interpret, as they were sent.
    """

    token: str
    key_name: str
    key_alias: str | None = None
    user_id: str | None = None
    team_id: str | None = None
    models: tuple[str, ...] = ()
    """Empty means all."""
    allowed_routes: tuple[str, ...] = ()
    """Empty means all."""
    expires: datetime | None = None
    blocked: bool = False
    default_wait: float | None = None
    previous_token: str | None = None
    revoke_at: datetime | None = None
    metadata: Document = {}
    settings: Document = {}
    version: int
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str


class CreateKey(msgspec.Struct, frozen=True, kw_only=True, tag="key.create", tag_field="operation"):
    """Add a key, which was drawn, or taken from the request, when this was accepted."""

    schema: int = 1
    token: str
    key_name: str
    key_alias: str | None = None
    user_id: str | None = None
    team_id: str | None = None
    models: tuple[str, ...] = ()
    allowed_routes: tuple[str, ...] = ()
    duration_s: int | None = None
    blocked: bool = False
    default_wait: float | None = None
    metadata: Document = {}
    settings: Document = {}


class KeyFields(msgspec.Struct, frozen=True, kw_only=True):
    """What a change sets; what is unset stays as it is stored. ``duration_s`` counts from the change on."""

    key_alias: str | UnsetType | None = UNSET
    user_id: str | UnsetType | None = UNSET
    team_id: str | UnsetType | None = UNSET
    models: tuple[str, ...] | UnsetType = UNSET
    allowed_routes: tuple[str, ...] | UnsetType = UNSET
    duration_s: int | UnsetType | None = UNSET
    blocked: bool | UnsetType = UNSET
    default_wait: float | UnsetType | None = UNSET
    metadata: Document | UnsetType = UNSET
    settings: Document = {}
    """Set one by one; ``None`` removes."""


class UpdateKey(msgspec.Struct, frozen=True, kw_only=True, tag="key.update", tag_field="operation"):
    schema: int = 1
    token: str
    fields: KeyFields
    if_match: str | None = None


class RegenerateKey(msgspec.Struct, frozen=True, kw_only=True, tag="key.regenerate", tag_field="operation"):
    """Put another key in the place of one, which is accepted for ``grace_s`` more."""

    schema: int = 1
    token: str
    new_token: str
    new_key_name: str
    grace_s: int = 0
    fields: KeyFields = KeyFields()
    if_match: str | None = None


class BlockKey(msgspec.Struct, frozen=True, kw_only=True, tag="key.block", tag_field="operation"):
    schema: int = 1
    token: str
    if_match: str | None = None


class UnblockKey(msgspec.Struct, frozen=True, kw_only=True, tag="key.unblock", tag_field="operation"):
    schema: int = 1
    token: str
    if_match: str | None = None


class DeleteKeys(msgspec.Struct, frozen=True, kw_only=True, tag="key.delete", tag_field="operation"):
    """Remove one or several keys: all of them or, if one is missing, none."""

    schema: int = 1
    tokens: tuple[str, ...]
    if_match: str | None = None


ChangeOfOne = UpdateKey | RegenerateKey | BlockKey | UnblockKey
Command = CreateKey | ChangeOfOne | DeleteKeys


# --- what they touch ---


def ref(token: str) -> ObjectRef:
    return ObjectRef(OBJECT_TYPE, token)


def user_ref(user_id: str) -> ObjectRef:
    return ObjectRef(_USER_TYPE, user_id)


def team_ref(team_id: str) -> ObjectRef:
    return ObjectRef(_TEAM_TYPE, team_id)


def alias_ref(alias: str) -> ObjectRef:
    """The tokens of the keys with this alias, as a frozenset."""
    return ObjectRef(ALIAS_TYPE, alias)


def changed(command: Command) -> tuple[ObjectRef, ...]:
    """The key first whose line it is."""
    if isinstance(command, DeleteKeys):
        return tuple(ref(token) for token in command.tokens)
    if isinstance(command, RegenerateKey):
        return (ref(command.token), ref(command.new_token))
    return (ref(command.token),)


def needed(command: Command) -> tuple[ObjectRef, ...]:
    """Objects of which everything accepted earlier comes first: owners that are named, further keys."""
    if isinstance(command, DeleteKeys):
        return changed(command)[1:]
    given = _given(command)
    user = () if given is None or not given.user_id else (user_ref(given.user_id),)
    team = () if given is None or not given.team_id else (team_ref(given.team_id),)
    return (*user, *team)


def touched(command: Command) -> tuple[ObjectRef, ...]:
    """The key first whose line it is, then what else is changed, then what is only read."""
    given = _given(command)
    team = () if given is None or not given.team_id else (team_ref(given.team_id),)
    alias = () if given is None or not given.key_alias else (alias_ref(given.key_alias),)
    return (*changed(command), *team, *alias)


def named(command: Command) -> tuple[Ownership, ...]:
    """To whom a command says that a key belongs from now on; a new key of a team is the team's to give."""
    given = _given(command)
    if given is None:
        return ()
    if isinstance(given, CreateKey):
        is_of_team = given.team_id is not None
        return (Ownership(team_id=given.team_id) if is_of_team else Ownership(user_id=given.user_id),)
    team = () if given.team_id is UNSET else (Ownership(team_id=given.team_id or None),)
    user = (Ownership(user_id=given.user_id),) if given.user_id else ()
    return (*team, *user)


def _given(command: Command) -> CreateKey | KeyFields | None:
    """What says owner and alias."""
    if isinstance(command, CreateKey):
        return command
    return command.fields if isinstance(command, UpdateKey | RegenerateKey) else None


def document(key: Key) -> Document:
    """The key as JSON would carry it."""
    lists = {"models": list(key.models), "allowed_routes": list(key.allowed_routes)}
    return {**msgspec.to_builtins(key), **lists}
