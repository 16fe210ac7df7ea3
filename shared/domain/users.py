"""Users: what is stored of them, what can be asked, and of what. What it means is in ``user_changes``."""

from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType

from shared.domain import keys
from shared.domain.decision import Document, ObjectRef
from shared.domain.keys import CreateKey
from shared.domain.rights import Ownership, Role

OBJECT_TYPE = "user"
EMAIL_TYPE = "user_email"
BELONGINGS_TYPE = "user_belongings"


class User(msgspec.Struct, frozen=True, kw_only=True):
    """One user; ``version`` counts its changes from 1. ``settings`` are fields that only gateways interpret, as sent.

    Which teams a user is in, the teams say.
    """

    user_id: str
    user_email: str | None = None
    user_alias: str | None = None
    role: Role
    models: tuple[str, ...] = ()
    """Empty means all."""
    metadata: Document = {}
    settings: Document = {}
    version: int
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str


class CreateUser(msgspec.Struct, frozen=True, kw_only=True, tag="user.create", tag_field="operation"):
    """Add a user, a first key, and memberships, all or nothing. Ids and key were drawn when it was accepted."""

    schema: int = 1
    user_id: str
    user_email: str | None = None
    user_alias: str | None = None
    role: Role
    models: tuple[str, ...] = ()
    metadata: Document = {}
    settings: Document = {}
    team_ids: tuple[str, ...] = ()
    key: CreateKey | None = None


class UpdateUser(msgspec.Struct, frozen=True, kw_only=True, tag="user.update", tag_field="operation"):
    """Set what is named; what is unset stays as it is stored."""

    schema: int = 1
    user_id: str
    user_email: str | UnsetType | None = UNSET
    user_alias: str | UnsetType | None = UNSET
    role: Role | UnsetType = UNSET
    models: tuple[str, ...] | UnsetType = UNSET
    metadata: Document | UnsetType = UNSET
    settings: Document = {}
    """Set one by one; ``None`` removes."""
    if_match: str | None = None


class DeleteUsers(msgspec.Struct, frozen=True, kw_only=True, tag="user.delete", tag_field="operation"):
    """Remove users, each with its keys and memberships: all of them or, if one is missing, none."""

    schema: int = 1
    user_ids: tuple[str, ...]
    if_match: str | None = None


Command = CreateUser | UpdateUser | DeleteUsers

ref = keys.user_ref


def email_ref(email: str) -> ObjectRef:
    """The ids of the users with this e-mail address, as a frozenset."""
    return ObjectRef(EMAIL_TYPE, email.lower())


def belongings_ref(user_id: str) -> ObjectRef:
    """Loads, to be changed, the keys of a user and the teams that the user is in; it has no state of its own."""
    return ObjectRef(BELONGINGS_TYPE, user_id)


def changed(command: Command) -> tuple[ObjectRef, ...]:
    """The user first whose line it is."""
    if isinstance(command, DeleteUsers):
        return tuple(map(ref, command.user_ids))
    if isinstance(command, UpdateUser):
        return (ref(command.user_id),)
    key = () if command.key is None else keys.changed(command.key)
    return (ref(command.user_id), *map(keys.team_ref, command.team_ids), *key)


def needed(command: Command) -> tuple[ObjectRef, ...]:
    """Objects of which everything accepted earlier comes first: further users, the teams of a new one."""
    if isinstance(command, DeleteUsers):
        return changed(command)[1:]
    return tuple(map(keys.team_ref, command.team_ids)) if isinstance(command, CreateUser) else ()


def touched(command: Command) -> tuple[ObjectRef, ...]:
    """What is changed first, then what is only read."""
    if isinstance(command, DeleteUsers):
        return (*changed(command), *map(belongings_ref, command.user_ids))
    email = (email_ref(command.user_email),) if command.user_email else ()
    alias = keys.touched(command.key)[1:] if isinstance(command, CreateUser) and command.key else ()
    return (*changed(command), *email, *alias)


def named(command: CreateUser) -> tuple[Ownership, ...]:
    return (Ownership(user_id=command.user_id),)


def document(user: User) -> Document:
    """The user as JSON would carry it."""
    return {**msgspec.to_builtins(user), "models": list(user.models)}
