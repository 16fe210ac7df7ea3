"""Teams as LiteLLM's clients write and read them (contract 1.7, 1.8)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from shared.contract.decoding import decode, unstorable
from shared.contract.keys import Text
from shared.domain import members, team_models
from shared.domain.members import Member, MemberRole
from shared.domain.problems import FieldError, InvalidRequest
from shared.domain.teams import (
    AddMembers,
    AddTeamModels,
    CreateTeam,
    DeleteMember,
    DeleteTeamModels,
    DeleteTeams,
    Team,
    UpdateMember,
    UpdateTeam,
)

Document = dict[str, Any]
TeamId = Annotated[str, Meta(min_length=1, max_length=255)]
ModelName = Annotated[str, Meta(min_length=1, max_length=500)]

# Of a team's own fields; whatever else LiteLLM knows of a team is kept as it is sent.
_OWN = frozenset(
    (
        "team_id",
        "team_alias",
        "models",
        "members_with_roles",
        "members",
        "admins",
        "model_aliases",
        "blocked",
        "metadata",
    )
)
_SETTINGS = frozenset(
    (
        "access_group_ids",
        "allow_team_guardrail_config",
        "allowed_passthrough_routes",
        "allowed_vector_store_indexes",
        "budget_duration",
        "budget_limits",
        "default_team_member_models",
        "disable_global_guardrails",
        "enforced_file_expires_after",
        "enforced_batch_output_expires_after",
        "guardrails",
        "max_budget",
        "max_parallel_requests",
        "model_max_budget",
        "model_rpm_limit",
        "model_tpm_limit",
        "object_permission",
        "organization_id",
        "policies",
        "prompts",
        "router_settings",
        "rpm_limit",
        "rpm_limit_type",
        "secret_manager_settings",
        "soft_budget",
        "tags",
        "team_member_budget",
        "team_member_budget_duration",
        "team_member_key_duration",
        "team_member_permissions",
        "team_member_rpm_limit",
        "team_member_tpm_limit",
        "tpd_limit",
        "tpm_limit",
        "tpm_limit_type",
    )
)
# What LiteLLM shows of every team, set or not.
_DEFAULTS: Document = {
    "organization_id": None,
    "team_member_permissions": [],
    "tpm_limit": None,
    "rpm_limit": None,
    "tpd_limit": None,
    "max_budget": None,
    "soft_budget": None,
    "budget_duration": None,
    "budget_limits": None,
    "router_settings": None,
    "access_group_ids": [],
    "default_team_member_models": [],
    "spend": 0.0,
    "max_parallel_requests": None,
    "budget_reset_at": None,
    "model_id": None,
    "model_spend": {},
    "model_max_budget": {},
    "policies": [],
    "allow_team_guardrail_config": False,
    "object_permission": None,
    "object_permission_id": None,
}
_LIMITS = ("max_budget_in_team", "budget_duration", "tpm_limit", "rpm_limit", "allowed_models")
_LIMIT_HELP = "A limit of this member in this team; kept and shown, enforced by the gateway."


class MemberEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A member, by user id or by e-mail address. Only a user id gives rights."""

    role: MemberRole = "user"
    user_id: Text | None = None
    user_email: Text | None = None


class NewTeam(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /team/new``. LiteLLM's other fields of a team are kept and echoed."""

    team_id: Text | None = None
    team_alias: Text | None = None
    models: list[ModelName] | None = None
    members_with_roles: Annotated[list[MemberEntry], Meta(max_length=1000)] | None = None
    admins: Annotated[list[Text], Meta(max_length=1000)] | None = None
    members: Annotated[list[Text], Meta(max_length=1000)] | None = None
    model_aliases: dict[str, str] | None = None
    blocked: bool | None = None
    metadata: Document | None = None


class TeamChange(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /team/update``: what is not named stays. LiteLLM's other fields are kept, ``null`` removes them.

    ``models`` and ``metadata`` are replaced; ``model_aliases`` are merged, and an alias of ``null`` goes.
    """

    team_id: TeamId
    team_alias: Text | UnsetType | None = UNSET
    models: list[ModelName] | None = None
    model_aliases: dict[str, str | None] | None = None
    blocked: bool | None = None
    metadata: Document | None = None


class TeamIds(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /team/delete``."""

    team_ids: Annotated[list[TeamId], Meta(min_length=1, max_length=100)]


class OneTeam(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /team/block`` and ``/team/unblock``."""

    team_id: TeamId


class MembersToAdd(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /team/member_add``. Those who are in the team already stay as they are."""

    team_id: TeamId
    member: MemberEntry | Annotated[list[MemberEntry], Meta(min_length=1, max_length=1000)]
    max_budget_in_team: Annotated[float | None, Meta(description=_LIMIT_HELP)] = None
    budget_duration: str | None = None
    tpm_limit: int | None = None
    rpm_limit: int | None = None
    allowed_models: list[str] | None = None


class MembersInBulk(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /team/bulk_member_add``."""

    team_id: TeamId
    members: Annotated[list[MemberEntry], Meta(min_length=1, max_length=1000)]
    max_budget_in_team: Annotated[float | None, Meta(description=_LIMIT_HELP)] = None


class MemberChange(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /team/member_update``; a limit of ``null`` goes."""

    team_id: TeamId
    user_id: str | None = None
    user_email: str | None = None
    role: MemberRole | None = None
    max_budget_in_team: Annotated[float | UnsetType | None, Meta(description=_LIMIT_HELP)] = UNSET
    budget_duration: str | UnsetType | None = UNSET
    tpm_limit: int | UnsetType | None = UNSET
    rpm_limit: int | UnsetType | None = UNSET
    allowed_models: list[str] | UnsetType | None = UNSET


class MemberToDelete(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /team/member_delete``."""

    team_id: TeamId
    user_id: str | None = None
    user_email: str | None = None


class TeamModels(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /team/model/add`` and ``/team/model/delete``."""

    team_id: TeamId
    models: Annotated[list[ModelName], Meta(min_length=1, max_length=1000)]


class PermissionChange(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /team/permissions_update``."""

    team_id: TeamId
    team_member_permissions: list[str]


_new = msgspec.json.Decoder(NewTeam)
_change = msgspec.json.Decoder(TeamChange)
_ids = msgspec.json.Decoder(TeamIds)
_one = msgspec.json.Decoder(OneTeam)
_to_add = msgspec.json.Decoder(MembersToAdd)
_in_bulk = msgspec.json.Decoder(MembersInBulk)
_member_change = msgspec.json.Decoder(MemberChange)
_to_delete = msgspec.json.Decoder(MemberToDelete)
_models = msgspec.json.Decoder(TeamModels)
_permissions = msgspec.json.Decoder(PermissionChange)
_any = msgspec.json.Decoder(dict[str, Any])


def decode_new(body: bytes) -> tuple[NewTeam, Document]:
    """The request, and LiteLLM's other fields in it. Raises InvalidRequest."""
    request, settings = decode(_new, body), _settings(body)
    _refuse_unfit(request, settings)
    _to_members(request.members_with_roles or (), "members_with_roles")
    return request, settings


def decode_change(body: bytes) -> tuple[TeamChange, Document]:
    """The request, and LiteLLM's other fields in it. Raises InvalidRequest."""
    request, settings = decode(_change, body), _settings(body)
    _refuse_unfit(request, settings)
    return request, settings


def decode_ids(body: bytes) -> TeamIds:
    """Raises InvalidRequest."""
    return _fit(decode(_ids, body))


def decode_one(body: bytes) -> OneTeam:
    """Raises InvalidRequest."""
    return _fit(decode(_one, body))


def decode_members(body: bytes) -> MembersToAdd:
    """Raises InvalidRequest."""
    return _fit(decode(_to_add, body))


def decode_members_in_bulk(body: bytes) -> MembersToAdd:
    """Raises InvalidRequest."""
    request = _fit(decode(_in_bulk, body))
    return MembersToAdd(team_id=request.team_id, member=request.members, max_budget_in_team=request.max_budget_in_team)


def decode_member_change(body: bytes) -> MemberChange:
    """Raises InvalidRequest."""
    request = _fit(decode(_member_change, body))
    _to_members((request,), "")
    return request


def decode_member_to_delete(body: bytes) -> MemberToDelete:
    """Raises InvalidRequest."""
    request = _fit(decode(_to_delete, body))
    _to_members((request,), "")
    return request


def decode_models(body: bytes) -> TeamModels:
    """Raises InvalidRequest."""
    return _fit(decode(_models, body))


def decode_permissions(body: bytes) -> PermissionChange:
    """Raises InvalidRequest."""
    return _fit(decode(_permissions, body))


def to_create(request: NewTeam, settings: Document, new_id: str) -> CreateTeam:
    """``new_id`` is taken where the request names none."""
    team_id = request.team_id or new_id
    return CreateTeam(
        team_id=team_id,
        team_alias=request.team_alias,
        models=team_models.to_list(request.models or (), ()),
        members=_members_of(request),
        model_aliases=_by_hand(team_id, request.model_aliases or {}),
        blocked=bool(request.blocked),
        metadata=request.metadata or {},
        settings=settings,
    )


def to_update(request: TeamChange, settings: Document) -> UpdateTeam:
    return UpdateTeam(
        team_id=request.team_id,
        team_alias=request.team_alias,
        models=None if request.models is None else tuple(request.models),
        model_aliases=_by_hand(request.team_id, request.model_aliases or {}),
        blocked=request.blocked,
        metadata=request.metadata,
        settings=settings,
    )


def to_delete(request: TeamIds) -> DeleteTeams:
    return DeleteTeams(team_ids=tuple(dict.fromkeys(request.team_ids)))


def to_add_members(request: MembersToAdd) -> AddMembers:
    """Raises InvalidRequest."""
    entries = request.member if isinstance(request.member, list) else [request.member]
    limits = {name: value for name in _LIMITS if (value := getattr(request, name)) is not None}
    return AddMembers(team_id=request.team_id, members=_to_members(entries, "member", limits))


def to_update_member(request: MemberChange) -> UpdateMember:
    limits = {name: value for name in _LIMITS if (value := getattr(request, name)) is not UNSET}
    return UpdateMember(
        team_id=request.team_id,
        user_id=request.user_id or None,
        user_email=request.user_email or None,
        role=request.role,
        limits=limits,
    )


def to_delete_member(request: MemberToDelete) -> DeleteMember:
    return DeleteMember(team_id=request.team_id, user_id=request.user_id or None, user_email=request.user_email or None)


def to_add_models(request: TeamModels) -> AddTeamModels:
    return AddTeamModels(team_id=request.team_id, models=tuple(request.models))


def to_delete_models(request: TeamModels) -> DeleteTeamModels:
    return DeleteTeamModels(team_id=request.team_id, models=tuple(request.models))


def to_update_permissions(request: PermissionChange) -> UpdateTeam:
    settings = {"team_member_permissions": request.team_member_permissions}
    return UpdateTeam(team_id=request.team_id, settings=settings)


# --- what is shown ---


def view(team: Mapping[str, Any], own_names: Sequence[str]) -> Document:
    """A team in LiteLLM's shape (contract 1.8); ``team`` is its document."""
    entries = [msgspec.convert(entry, Member) for entry in team["members"]]
    aliases = team_models.aliases(team["model_aliases"], team["team_id"], own_names)
    by_whom = {name: team[name] for name in ("created_at", "created_by", "updated_at", "updated_by")}
    return {
        **_DEFAULTS,
        **team["settings"],
        "team_id": team["team_id"],
        "team_alias": team["team_alias"],
        "admins": members.user_ids(entries, "admin"),
        "members": members.user_ids(entries),
        "members_with_roles": [
            {"user_id": entry.user_id, "user_email": entry.user_email, "role": entry.role} for entry in entries
        ],
        "metadata": team["metadata"],
        "models": team_models.shown_models(team["models"], own_names),
        "blocked": team["blocked"],
        "litellm_model_table": {"model_aliases": aliases, **by_whom} if aliases else None,
        "version": team["version"],
        **by_whom,
    }


def memberships(team_id: str, entries: Iterable[Any]) -> list[Document]:
    """The members that are users, with their limits in this team, where LiteLLM's clients look for them."""
    found = (msgspec.convert(entry, Member) for entry in entries)
    return [_membership(team_id, member) for member in found if member.user_id is not None]


def row(document: Mapping[str, Any]) -> Document:
    """What a write to one team answers."""
    return view(document, document["own_names"])


def updated(document: Mapping[str, Any]) -> Document:
    """What ``POST /team/update`` answers."""
    return {"team_id": document["team_id"], "data": row(document)}


def members_added(document: Mapping[str, Any]) -> Document:
    users = [entry for entry in document["meant"] if entry["user_id"] is not None]
    return {
        **row(document),
        "updated_users": [{"user_id": user["user_id"], "user_email": user["user_email"]} for user in users],
        "updated_team_memberships": memberships(document["team_id"], users),
    }


def member_updated(document: Mapping[str, Any]) -> Document:
    (entry,) = document["meant"]
    named = {name: entry[name] for name in ("user_id", "user_email", "role")}
    return {"team_id": document["team_id"], **named, **{name: entry["limits"].get(name) for name in _LIMITS}}


def member_deleted(document: Mapping[str, Any]) -> Document:
    """The team, and the hashes of the keys that went with the member."""
    return {**row(document), "deleted_keys": document["deleted_keys"]}


def deletion(document: Mapping[str, Any]) -> Document:
    """Which teams are gone, and what went with them."""
    return dict(document)


def permissions(team: Team) -> Document:
    allowed = team.settings.get("team_member_permissions", [])
    return {"team_id": team.team_id, "team_member_permissions": allowed, "all_available_permissions": []}


def _settings(body: bytes) -> Document:
    given = decode(_any, body)
    return {name: given[name] for name in sorted(_SETTINGS.intersection(given))}


def _members_of(request: NewTeam) -> tuple[Member, ...]:
    """``admins`` and ``members`` are LiteLLM's older lists of user ids."""
    admins = (MemberEntry(user_id=user_id, role="admin") for user_id in request.admins or ())
    users = (MemberEntry(user_id=user_id) for user_id in request.members or ())
    wanted = _to_members((*(request.members_with_roles or ()), *admins, *users), "members_with_roles")
    return members.added((), wanted) if wanted else ()


def _to_members(
    entries: Iterable[MemberEntry | MemberChange | MemberToDelete], field: str, limits: Document | None = None
) -> tuple[Member, ...]:
    found = tuple(
        Member(
            user_id=entry.user_id or None,
            user_email=entry.user_email or None,
            role=entry.role or "user" if isinstance(entry, MemberEntry) else "user",
            limits=limits or {},
        )
        for entry in entries
    )
    if any(member.user_id is None and member.user_email is None for member in found):
        at = f"{field}.user_id" if field else "user_id"
        raise InvalidRequest(FieldError(at, "give user_id or user_email"))
    return found


def _by_hand(team_id: str, aliases: Mapping[str, Any]) -> dict[str, Any]:
    """Without those of the team's own models, which come with the models."""
    return {
        name: target
        for name, target in aliases.items()
        if not isinstance(target, str) or not team_models.is_internal_name(team_id, target)
    }


def _membership(team_id: str, member: Member) -> Document:
    limits = dict(member.limits)
    budget = {"max_budget": limits.pop("max_budget_in_team", None), **limits} if limits else None
    return {
        "user_id": member.user_id,
        "team_id": team_id,
        "budget_id": None,
        "spend": 0.0,
        "litellm_budget_table": budget,
    }


T = TypeVar("T", bound=msgspec.Struct)


def _fit(request: T) -> T:
    _refuse_unfit(request, {})
    return request


def _refuse_unfit(request: msgspec.Struct, settings: Document) -> None:
    given = {name: value for name, value in msgspec.structs.asdict(request).items() if value is not UNSET}
    found = [
        error for name, value in {**msgspec.to_builtins(given), **settings}.items() for error in unstorable(value, name)
    ]
    if found:
        raise InvalidRequest(*found)
