"""Users as LiteLLM's clients write and read them (contract 1.9).

What is not interpreted here is kept and shown as it was sent.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from shared.contract.keys import Document, Names, NewKey, Text, Wait, row
from shared.contract.keys import decode_new as check_key
from shared.contract.keys import to_create as to_create_key
from shared.contract.open_bodies import Open, decode_open
from shared.domain import keys
from shared.domain.problems import FieldError, InvalidRequest
from shared.domain.rights import MASTER_USER_ID, SYSTEM, USERLESS_PREFIX, Role
from shared.domain.users import CreateUser, DeleteUsers, UpdateUser, User, document

DEFAULT_ROLE: Role = "internal_user"
Id = Annotated[str, Meta(min_length=1, max_length=255)]

SERVER_OWNED = frozenset(
    ("version", "created_at", "created_by", "updated_at", "updated_by", "role", "spend", "key", "token", "key_name")
)
# Of who owns the master key, and of what the system does by itself: a user of that name would be taken for them.
_TAKEN = (MASTER_USER_ID, SYSTEM.user_id)
# Of the first key; a user has no such thing.
_OF_THE_KEY = ("duration", "key_alias", "allowed_routes", "default_wait")
# How LiteLLM shows the fields that nobody has set.
_UNSET_FIELDS: Document = {
    "spend": 0.0,
    "max_budget": None,
    "budget_duration": None,
    "budget_reset_at": None,
    "tpm_limit": None,
    "rpm_limit": None,
    "max_parallel_requests": None,
    "model_spend": {},
    "model_max_budget": {},
    "organization_id": None,
    "sso_user_id": None,
    "policies": [],
}


class NewUser(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /user/new``. LiteLLM's other fields are kept and shown as they are sent.

    ``duration``, ``key_alias``, ``allowed_routes`` and ``default_wait`` are those of the first key.
    """

    user_id: Text | None = None
    user_email: Text | None = None
    user_alias: Text | None = None
    user_role: Role | None = None
    teams: list[Any] | None = None
    models: Names | None = None
    metadata: Document | None = None
    auto_create_key: bool | None = None
    duration: str | None = None
    key_alias: Text | None = None
    allowed_routes: Names | None = None
    default_wait: Wait | None = None


class UserChange(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /user/update``: what is not named stays, ``null`` empties. The id, or the address, says whom."""

    user_id: Text | None = None
    user_email: Text | UnsetType | None = UNSET
    user_alias: Text | UnsetType | None = UNSET
    user_role: Role | None = None
    models: Names | UnsetType | None = UNSET
    metadata: Document | UnsetType | None = UNSET


class UsersToDelete(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /user/delete``."""

    user_ids: Annotated[tuple[Id, ...], Meta(min_length=1, max_length=100)]


class UserRow(msgspec.Struct, frozen=True, kw_only=True):
    """A new user together with its first key, and all that was sent.

    ``key`` is the key itself in the one answer to the request that made it, and its hash in every other.
    """

    user_id: str
    user_email: str | None
    user_alias: str | None
    user_role: str
    teams: list[str]
    models: list[str]
    metadata: Document
    key: str | None
    token: str | None
    key_name: str | None
    expires: str | None


class UserRowAlone(msgspec.Struct, frozen=True, kw_only=True):
    """A user as reads show it, with all that was sent."""

    user_id: str
    user_email: str | None
    user_alias: str | None
    user_role: str
    teams: list[str]
    models: list[str]
    metadata: Document
    created_at: str
    created_by: str
    updated_at: str
    updated_by: str


class UserChanged(msgspec.Struct, frozen=True, kw_only=True):
    user_id: str
    data: Document


class UserInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The user's row, its keys by their hashes, and its teams."""

    user_id: str
    user_info: Document
    keys: list[Document]
    teams: list[Document]


class UserPage(msgspec.Struct, frozen=True, kw_only=True):
    users: list[Document]
    total: int
    page: int
    page_size: int
    total_pages: int


def decode_new(body: bytes) -> Open[NewUser]:
    """Raises InvalidRequest."""
    request = decode_open(body, NewUser, SERVER_OWNED)
    errors = _errors(request.others)
    user_id = request.named.user_id
    if user_id and (user_id in _TAKEN or user_id.startswith(USERLESS_PREFIX)):
        taken = ", ".join(_TAKEN)
        errors.append(FieldError("user_id", f"{taken} and what starts with {USERLESS_PREFIX} are taken"))
    for entry in request.named.teams or ():
        if not _team_of(entry):
            errors.append(FieldError("teams", "must be a list of team ids, or of objects with a team_id"))
    if errors:
        raise InvalidRequest(*errors)
    check_key(msgspec.json.encode(_first_key(request)))
    return request


def decode_change(body: bytes) -> Open[UserChange]:
    """Raises InvalidRequest."""
    request = decode_open(body, UserChange, SERVER_OWNED | {"teams", "auto_create_key", "user_ids"})
    errors = _errors(request.others)
    if not request.named.user_id and not request.named.user_email:
        errors.append(FieldError("user_id", "give user_id or user_email"))
    if errors:
        raise InvalidRequest(*errors)
    return request


def decode_deletion(body: bytes) -> UsersToDelete:
    """Raises InvalidRequest."""
    return decode_open(body, UsersToDelete, frozenset()).named


def to_create(request: Open[NewUser], user_id: str, key: str | None) -> CreateUser:
    """``user_id`` is taken where the request names none; ``key`` is the first one, or none."""
    named = request.named
    user_id = named.user_id or user_id
    return CreateUser(
        user_id=user_id,
        user_email=named.user_email or None,
        user_alias=named.user_alias,
        role=named.user_role or DEFAULT_ROLE,
        models=named.models or (),
        metadata=named.metadata or {},
        settings=request.others,
        team_ids=tuple(dict.fromkeys(_team_of(entry) for entry in named.teams or ())),
        key=None if key is None else _key_command(request, user_id, key),
    )


def to_update(request: Open[UserChange], user_id: str) -> UpdateUser:
    """An address that only says which user is meant changes nothing."""
    named = request.named
    return UpdateUser(
        user_id=user_id,
        user_email=(named.user_email or None) if named.user_id and named.user_email is not UNSET else UNSET,
        user_alias=named.user_alias,
        role=UNSET if named.user_role is None else named.user_role,
        models=UNSET if named.models is UNSET else named.models or (),
        metadata=UNSET if named.metadata is UNSET else named.metadata or {},
        settings=request.others,
    )


def to_delete(request: UsersToDelete) -> DeleteUsers:
    return DeleteUsers(user_ids=tuple(dict.fromkeys(request.user_ids)))


def created(document: Mapping[str, Any]) -> Document:
    """What ``/user/new`` answers: the user and its first key in one flat object, the hash where the key was."""
    key: Mapping[str, Any] | None = document["key"]
    of_user = {name: value for name, value in document.items() if name != "key"}
    of_key = {"key": None, "token": None, "key_name": None, "expires": None} if key is None else row(key)
    return {**of_key, **shown_user(of_user, document["teams"])}


def changed(document: Mapping[str, Any]) -> Document:
    """What ``/user/update`` answers."""
    return {"user_id": document["user_id"], "data": shown_user(document)}


def deletion(document: Mapping[str, Any]) -> Document:
    """What the task of ``/user/delete`` says; LiteLLM's answer is only how many there were."""
    return dict(document)


def shown_user(stored: Mapping[str, Any], teams: Iterable[str] | None = None) -> Document:
    """The stored document as LiteLLM shows a row: what was sent, and what is unset as LiteLLM names it."""
    own = {name: value for name, value in stored.items() if name not in ("settings", "role")}
    shown = {**_UNSET_FIELDS, **stored["settings"], **own, "user_role": stored["role"]}
    return shown if teams is None else {**shown, "teams": list(teams)}


def info(user: User, teams: Iterable[str]) -> Document:
    return shown_user(document(user), teams)


def master(now: datetime) -> User:
    """Whom the master key stands for; stored nowhere."""
    return User(
        user_id=MASTER_USER_ID,
        role="proxy_admin",
        version=0,
        created_at=now,
        created_by=MASTER_USER_ID,
        updated_at=now,
        updated_by=MASTER_USER_ID,
    )


def _key_command(request: Open[NewUser], user_id: str, key: str) -> keys.CreateKey:
    first = msgspec.convert({**_first_key(request), "user_id": user_id}, NewKey)
    return to_create_key(Open(first, {}), key)


def _first_key(request: Open[NewUser]) -> Document:
    named = msgspec.structs.asdict(request.named)
    return {name: named[name] for name in ("models", *_OF_THE_KEY)}


def _team_of(entry: Any) -> str:
    """LiteLLM takes ids, and objects with an id."""
    team_id = entry.get("team_id") if isinstance(entry, dict) else entry  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return team_id if isinstance(team_id, str) else ""


def _errors(others: Document) -> list[FieldError]:
    if others.get("password"):
        return [FieldError("password", "there is no log-in with a password here")]
    return []
