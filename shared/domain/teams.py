"""What changes to a team mean: who is in it, what it may call, and that its models and keys go with it."""

from collections import ChainMap
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from shared.domain import key_changes, keys, models, team_models
from shared.domain import members as of_members
from shared.domain.decision import Change, Context, Decision, Document, Event, ObjectRef, State, together, version_tag
from shared.domain.keys import Key
from shared.domain.members import Member, MemberRole
from shared.domain.preconditions import check_expected, require_expected
from shared.domain.problems import AdminOnly, TeamExists, TeamNotFound
from shared.domain.reach import check_trust
from shared.domain.tasks import Lines
from shared.domain.team_models import TEAM_TYPE as OBJECT_TYPE

# What keeps a team within bounds is not for its own admins to move.
_BOUNDS = frozenset(
    (
        "organization_id",
        "max_budget",
        "soft_budget",
        "budget_duration",
        "budget_limits",
        "tpm_limit",
        "rpm_limit",
        "tpd_limit",
        "max_parallel_requests",
    )
)


class Team(msgspec.Struct, frozen=True, kw_only=True):
    """``models`` and ``model_aliases`` hold what was set by hand; those of the team's own models are derived.

    ``settings`` are LiteLLM's other fields, as they were sent; ``version`` counts the team's changes from 1.
    """

    team_id: str
    team_alias: str | None = None
    models: tuple[str, ...] = ()
    members: tuple[Member, ...] = ()
    model_aliases: dict[str, str] = {}
    blocked: bool = False
    metadata: Document = {}
    settings: Document = {}
    version: int
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str


class CreateTeam(msgspec.Struct, frozen=True, kw_only=True, tag="team.create", tag_field="operation"):
    """Add a team. Its id was drawn, or taken from the request, when it was accepted."""

    schema: int = 1
    team_id: str
    team_alias: str | None = None
    models: tuple[str, ...] = ()
    members: tuple[Member, ...] = ()
    model_aliases: dict[str, str] = {}
    blocked: bool = False
    metadata: Document = {}
    settings: Document = {}


class UpdateTeam(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="team.update", tag_field="operation"
):
    """Change what is named: lists and metadata are replaced, aliases and settings merged, ``None`` removes."""

    schema: int = 1
    team_id: str
    team_alias: str | UnsetType | None = UNSET
    models: tuple[str, ...] | None = None
    model_aliases: dict[str, str | None] = {}
    blocked: bool | None = None
    metadata: Document | None = None
    settings: Document = {}
    if_match: str | None = None


class DeleteTeams(msgspec.Struct, frozen=True, kw_only=True, tag="team.delete", tag_field="operation"):
    """Remove teams, each with its models and keys: all of them, or none."""

    schema: int = 1
    team_ids: tuple[str, ...]
    if_match: str | None = None


class BlockTeam(msgspec.Struct, frozen=True, kw_only=True, tag="team.block", tag_field="operation"):
    schema: int = 1
    team_id: str
    if_match: str | None = None


class UnblockTeam(msgspec.Struct, frozen=True, kw_only=True, tag="team.unblock", tag_field="operation"):
    schema: int = 1
    team_id: str
    if_match: str | None = None


class AddMembers(msgspec.Struct, frozen=True, kw_only=True, tag="team.member_add", tag_field="operation"):
    """Add those who are not in the team yet."""

    schema: int = 1
    team_id: str
    members: tuple[Member, ...]
    if_match: str | None = None


class UpdateMember(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="team.member_update", tag_field="operation"
):
    """Change one member's role, or limits; a limit of ``None`` goes."""

    schema: int = 1
    team_id: str
    user_id: str | None = None
    user_email: str | None = None
    role: MemberRole | None = None
    limits: Document = {}
    if_match: str | None = None


class DeleteMember(msgspec.Struct, frozen=True, kw_only=True, tag="team.member_delete", tag_field="operation"):
    schema: int = 1
    team_id: str
    user_id: str | None = None
    user_email: str | None = None
    if_match: str | None = None


class AddTeamModels(msgspec.Struct, frozen=True, kw_only=True, tag="team.model_add", tag_field="operation"):
    """Let the team call these as well."""

    schema: int = 1
    team_id: str
    models: tuple[str, ...]
    if_match: str | None = None


class DeleteTeamModels(msgspec.Struct, frozen=True, kw_only=True, tag="team.model_delete", tag_field="operation"):
    """Let the team call these no longer. Names of the team's own models stay as long as the models do."""

    schema: int = 1
    team_id: str
    models: tuple[str, ...]
    if_match: str | None = None


ChangeOfOne = (
    UpdateTeam | BlockTeam | UnblockTeam | AddMembers | UpdateMember | DeleteMember | AddTeamModels | DeleteTeamModels
)
ref = team_models.team_ref


def touched(command: CreateTeam | ChangeOfOne) -> tuple[ObjectRef, ...]:
    """The team first, then what is only read."""
    own_keys = (team_models.keys_ref(command.team_id),) if isinstance(command, DeleteMember) else ()
    return (ref(command.team_id), team_models.names_ref(command.team_id), *own_keys)


def touched_by_deletion(command: DeleteTeams) -> tuple[ObjectRef, ...]:
    return (*map(ref, command.team_ids), *map(team_models.belongings_ref, command.team_ids))


def changed_by_deletion(command: DeleteTeams) -> tuple[ObjectRef, ...]:
    return tuple(map(ref, command.team_ids))


def needed_by_deletion(command: DeleteTeams) -> tuple[ObjectRef, ...]:
    """The task stands in the line of the first; it comes after what was accepted for the others."""
    return changed_by_deletion(command)[1:]


def etag(team: Team | Mapping[str, Any]) -> str:
    """A strong entity tag (RFC 9110), as models have one."""
    return version_tag(msgspec.to_builtins(team) if isinstance(team, Team) else team)


def document(team: Team) -> Document:
    """The team as JSON would carry it."""
    lists = {"models": list(team.models), "members": msgspec.to_builtins(list(team.members))}
    return {**msgspec.to_builtins(team), **lists}


# --- known to be impossible when accepting ---


def check_create(command: CreateTeam, lines: Lines, _context: Context) -> None:
    """Raises TeamExists."""
    if lines[ref(command.team_id)].will_exist():
        raise TeamExists(command.team_id)


def check_change(command: ChangeOfOne, lines: Lines, _context: Context) -> None:
    """Raises TeamNotFound, PreconditionFailed."""
    line = lines[ref(command.team_id)]
    if not line.will_exist():
        raise TeamNotFound(command.team_id)
    check_expected(command, line)


def check_delete(command: DeleteTeams, lines: Lines, _context: Context) -> None:
    """Raises TeamNotFound, PreconditionFailed."""
    for team_id in command.team_ids:
        if not lines[ref(team_id)].will_exist():
            raise TeamNotFound(team_id)
        check_expected(command, lines[ref(team_id)])


# --- what they mean ---


def create(state: State, command: CreateTeam, context: Context) -> Decision:
    """Whoever makes a team is an admin of it, as in LiteLLM. Raises TeamExists."""
    if state[ref(command.team_id)] is not None:
        raise TeamExists(command.team_id)
    team = Team(
        team_id=command.team_id,
        team_alias=command.team_alias,
        models=command.models,
        members=_with_creator(command.members, context),
        model_aliases=command.model_aliases,
        blocked=command.blocked,
        metadata=command.metadata,
        settings={name: value for name, value in command.settings.items() if value is not None},
        version=1,
        created_at=context.now,
        created_by=context.principal.user_id,
        updated_at=context.now,
        updated_by=context.principal.user_id,
    )
    return _decided("created", None, team, state, context)


def update(state: State, command: UpdateTeam, context: Context) -> Decision:
    """Raises TeamNotFound, PreconditionFailed, AdminOnly, BeyondOwnRights."""
    before = _existing(state, command)
    fields: dict[str, Any] = {}
    if not isinstance(command.team_alias, UnsetType):
        fields["team_alias"] = command.team_alias
    if command.models is not None:
        fields["models"] = team_models.to_list(command.models, _own_names(state, command.team_id))
    if command.model_aliases:
        fields["model_aliases"] = _merged(before.model_aliases, command.model_aliases)
    if command.blocked is not None:
        fields["blocked"] = command.blocked
    if command.metadata is not None:
        fields["metadata"] = command.metadata
    if command.settings:
        fields["settings"] = _merged(before.settings, command.settings)
    if context.principal.role != "proxy_admin":
        _refuse_what_bounds(before, fields)
    check_trust(context.principal, before.metadata, fields.get("metadata", before.metadata))
    return _changed("updated", before, fields, state, context)


def block(state: State, command: BlockTeam, context: Context) -> Decision:
    """Raises TeamNotFound, PreconditionFailed."""
    return _changed("blocked", _existing(state, command), {"blocked": True}, state, context)


def unblock(state: State, command: UnblockTeam, context: Context) -> Decision:
    """Raises TeamNotFound, PreconditionFailed."""
    return _changed("unblocked", _existing(state, command), {"blocked": False}, state, context)


def add_members(state: State, command: AddMembers, context: Context) -> Decision:
    """Raises TeamNotFound, AlreadyMember if all of them are in."""
    before = _existing(state, command)
    joining = of_members.added(before.members, command.members)
    return _members_changed("member_added", before, (*before.members, *joining), joining, state, context)


def update_member(state: State, command: UpdateMember, context: Context) -> Decision:
    """Raises TeamNotFound, MemberNotFound."""
    before = _existing(state, command)
    known = of_members.found(before.members, command.user_id, command.user_email)
    after = msgspec.structs.replace(
        known, role=command.role or known.role, limits=_merged(known.limits, command.limits)
    )
    everybody = of_members.replaced(before.members, known, after)
    return _members_changed("member_updated", before, everybody, (after,), state, context)


def remove_member(state: State, command: DeleteMember, context: Context) -> Decision:
    """With the keys that the member has in the team, as in LiteLLM. Raises TeamNotFound, MemberNotFound."""
    left = delete_member(state, command, context)
    user_ids = of_members.user_ids(msgspec.convert(left.result["meant"], list[Member]))
    gone = [
        key_changes.removed(what, state, context)
        for what in list(state.values())
        if isinstance(what, Key) and what.team_id == command.team_id and what.user_id in user_ids
    ]
    result = {**left.result, "deleted_keys": _deleted(gone, keys.OBJECT_TYPE)}
    return together([left, *gone], result)


def delete_member(state: State, command: DeleteMember, context: Context) -> Decision:
    """The membership alone. Raises TeamNotFound, PreconditionFailed, MemberNotFound."""
    before = _existing(state, command)
    leaving = of_members.found(before.members, command.user_id, command.user_email)
    everybody = of_members.replaced(before.members, leaving, None)
    return _members_changed("member_deleted", before, everybody, (leaving,), state, context)


def add_models(state: State, command: AddTeamModels, context: Context) -> Decision:
    """Raises TeamNotFound, PreconditionFailed."""
    before = _existing(state, command)
    added = team_models.without(command.models, _own_names(state, command.team_id))
    listed = team_models.with_added(before.models, added) if added else before.models
    return _changed("updated", before, {"models": listed}, state, context)


def delete_models(state: State, command: DeleteTeamModels, context: Context) -> Decision:
    """Raises TeamNotFound, PreconditionFailed."""
    before = _existing(state, command)
    return _changed(
        "updated", before, {"models": team_models.with_removed(before.models, command.models)}, state, context
    )


def delete(state: State, command: DeleteTeams, context: Context) -> Decision:
    """Raises TeamNotFound, PreconditionFailed."""
    teams = [_stored(state, team_id) for team_id in dict.fromkeys(command.team_ids)]
    for team in teams:
        require_expected(command, team)
    left: dict[ObjectRef, Any] = {}
    gone: list[Decision] = []
    for decision in _deletions(teams, ChainMap(left, dict(state)), context):
        left.update(decision.objects)
        gone.append(decision)
    return together(
        gone,
        {
            "deleted_teams": [team.team_id for team in teams],
            "deleted_models": _deleted(gone, models.OBJECT_TYPE),
            "deleted_keys": _deleted(gone, keys.OBJECT_TYPE),
        },
    )


def with_models(before: Team, listed: tuple[str, ...], state: State, context: Context) -> Decision:
    """Because the models that it lists are called otherwise now."""
    return _changed("updated", before, {"models": listed}, state, context)


def _deletions(teams: list[Team], state: State, context: Context) -> Iterator[Decision]:
    """Each team, and what goes with it. The state has all of it: it was loaded after the teams were locked."""
    for team in teams:
        yield _removed(team, context)
        for what in list(state.values()):
            if isinstance(what, models.Model) and what.team_id == team.team_id:
                yield models.removed(what, state, context)
            elif isinstance(what, Key) and what.team_id == team.team_id:
                yield key_changes.removed(what, state, context)


def _deleted(decisions: list[Decision], object_type: str) -> list[str]:
    return [at.object_id for one in decisions for at in one.objects if at.object_type == object_type]


def _removed(team: Team, context: Context) -> Decision:
    return Decision(
        objects={ref(team.team_id): None},
        changes=(_change("deleted", team, None),),
        events=(_event("deleted", team, (), context),),
        result={},
    )


def _existing(state: State, command: ChangeOfOne) -> Team:
    team = _stored(state, command.team_id)
    require_expected(command, team)
    return team


def _stored(state: State, team_id: str) -> Team:
    team: Team | None = state[ref(team_id)]
    if team is None:
        raise TeamNotFound(team_id)
    return team


def _own_names(state: State, team_id: str) -> list[str]:
    names: Mapping[str, str] = state.get(team_models.names_ref(team_id)) or {}
    return list(dict.fromkeys(names.values()))


def _with_creator(members: tuple[Member, ...], context: Context) -> tuple[Member, ...]:
    creator = context.principal
    if not creator.is_user or creator.user_id in of_members.user_ids(members):
        return members
    return (*members, Member(user_id=creator.user_id, role="admin"))


def _merged(stored: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**stored, **given}.items() if value is not None}


def _refuse_what_bounds(before: Team, fields: Mapping[str, Any]) -> None:
    if fields.get("blocked", before.blocked) != before.blocked:
        raise AdminOnly("blocked")
    settings: Mapping[str, Any] = fields.get("settings", before.settings)
    for name in sorted(_BOUNDS):
        if settings.get(name) != before.settings.get(name):
            raise AdminOnly(name)


def _members_changed(
    action: str, before: Team, everybody: tuple[Member, ...], who: tuple[Member, ...], state: State, context: Context
) -> Decision:
    decision = _changed(action, before, {"members": everybody}, state, context, who)
    return msgspec.structs.replace(decision, result={**decision.result, "meant": msgspec.to_builtins(list(who))})


def _changed(
    action: str,
    before: Team,
    fields: Mapping[str, Any],
    state: State,
    context: Context,
    who: tuple[Member, ...] = (),
) -> Decision:
    """A new version with these fields, or the confirmation of what is so already."""
    if all(getattr(before, name) == value for name, value in fields.items()):
        return Decision(objects={}, changes=(), events=(), result=_result(before, state))
    after = msgspec.structs.replace(
        before,
        **fields,
        version=before.version + 1,
        updated_at=context.now,
        updated_by=context.principal.user_id,
    )
    return _decided(action, before, after, state, context, who)


def _decided(
    action: str, before: Team | None, after: Team, state: State, context: Context, who: tuple[Member, ...] = ()
) -> Decision:
    return Decision(
        objects={ref(after.team_id): after},
        changes=(_change(action if action in _LITELLM_ACTIONS else "updated", before, after),),
        events=(_event(action, after, who, context),),
        result=_result(after, state),
    )


# What LiteLLM's audit log knows; the operation says the rest.
_LITELLM_ACTIONS = frozenset(("created", "updated", "deleted", "blocked", "unblocked"))


def _result(team: Team, state: State) -> Document:
    return {**document(team), "own_names": _own_names(state, team.team_id)}


def _change(action: str, before: Team | None, after: Team | None) -> Change:
    return Change(
        action=action,
        object_type=OBJECT_TYPE,
        object_id=(after or before).team_id,  # pyright: ignore[reportOptionalMemberAccess]
        before=None if before is None else document(before),
        after=None if after is None else document(after),
    )


def _event(action: str, team: Team, who: tuple[Member, ...], context: Context) -> Event:
    data: dict[str, Any] = {
        "team_id": team.team_id,
        "team_alias": team.team_alias,
        "version": team.version,
        "task_id": context.task_id,
        "changed_by": context.principal.user_id,
    }
    if who:
        data["user_ids"] = of_members.user_ids(who)
    return Event(type=f"team.{action}", object_type=OBJECT_TYPE, object_id=team.team_id, data=data)
