"""``/team/*``: writing teams, as LiteLLM's clients do (contract 1.7)."""

from typing import Any

import msgspec
from litestar import Request, Response, Router, post
from litestar.di import NamedDependency

from api.headers import expecting
from api.openapi import change, submission
from api.reads import Reads
from api.routes.bodies import json_body
from api.shapes import MemberUpdated, TeamDeletion, TeamMemberDeleted, TeamMembersAdded, TeamRow, TeamUpdated
from api.submission import Asked, Submitter
from shared.contract import teams as contract
from shared.contract.teams import (
    MemberChange,
    MembersInBulk,
    MembersToAdd,
    MemberToDelete,
    NewTeam,
    OneTeam,
    PermissionChange,
    TeamChange,
    TeamIds,
    TeamModels,
)
from shared.domain.members import Member
from shared.domain.rights import Principal
from shared.domain.teams import AddMembers, BlockTeam, UnblockTeam
from shared.runtime.clock import new_id
from shared.store import users

_Request = Request[Principal, Any, Any]
_Submitter = NamedDependency[Submitter]
_Reads = NamedDependency[Reads]

_OF_ONE = ("team_not_found",)
_OF_MEMBERS = ("team_not_found", "member_not_found")


@post(
    "/team/new",
    opt={"operation": "team.create"},
    status_code=202,
    operation_class=submission(NewTeam, TeamRow, problems=("team_exists",)),
    summary="Add a team",
    tags=["teams"],
)
async def new_team(request: _Request, submitter: _Submitter, reads: _Reads) -> Response[Any]:
    """Whoever makes a team is an admin of it."""
    body, settings = contract.decode_new(await json_body(request))
    command = contract.to_create(body, settings, new_id())
    command = msgspec.structs.replace(command, members=await _with_user_ids(reads, command.members))
    asked = Asked(operation="team.create", command=command, body=(body, settings), names_object=bool(body.team_id))
    return await submitter.submit(request, asked)


@post(
    "/team/update",
    opt={"operation": "team.update"},
    status_code=202,
    operation_class=change(TeamChange, TeamUpdated, (*_OF_ONE, "admin_only")),
    summary="Change a team",
    tags=["teams"],
)
async def update_team(request: _Request, submitter: _Submitter) -> Response[Any]:
    """Changes what is named, and nothing else; an empty list of models means all."""
    body, settings = contract.decode_change(await json_body(request))
    return await submitter.submit_change(request, "team.update", contract.to_update(body, settings))


@post(
    "/team/delete",
    opt={"operation": "team.delete"},
    status_code=202,
    operation_class=change(TeamIds, TeamDeletion, _OF_ONE),
    summary="Remove teams with their models and keys",
    tags=["teams"],
)
async def delete_teams(request: _Request, submitter: _Submitter) -> Response[Any]:
    """All of them, or, if one is missing, none. The answer says what went with them."""
    command = contract.to_delete(contract.decode_ids(await json_body(request)))
    return await submitter.submit_change(request, "team.delete", command, len(command.team_ids))


@post(
    "/team/block",
    opt={"operation": "team.block"},
    status_code=202,
    operation_class=change(OneTeam, TeamRow, _OF_ONE),
    summary="Refuse a team's keys",
    tags=["teams"],
)
async def block_team(request: _Request, submitter: _Submitter) -> Response[Any]:
    team_id = contract.decode_one(await json_body(request)).team_id
    return await submitter.submit_change(request, "team.block", BlockTeam(team_id=team_id))


@post(
    "/team/unblock",
    opt={"operation": "team.unblock"},
    status_code=202,
    operation_class=change(OneTeam, TeamRow, _OF_ONE),
    summary="Accept a team's keys again",
    tags=["teams"],
)
async def unblock_team(request: _Request, submitter: _Submitter) -> Response[Any]:
    team_id = contract.decode_one(await json_body(request)).team_id
    return await submitter.submit_change(request, "team.unblock", UnblockTeam(team_id=team_id))


@post(
    "/team/member_add",
    opt={"operation": "team.member_add"},
    status_code=202,
    operation_class=change(MembersToAdd, TeamMembersAdded, (*_OF_ONE, "already_member")),
    summary="Add members to a team",
    tags=["teams"],
)
async def add_members(request: _Request, submitter: _Submitter, reads: _Reads) -> Response[Any]:
    """One, or several. An e-mail address stands for the user that has it, if there is one."""
    body = contract.decode_members(await json_body(request))
    return await _submit_members(request, submitter, reads, contract.to_add_members(body), body)


@post(
    "/team/bulk_member_add",
    opt={"operation": "team.member_add"},
    status_code=202,
    operation_class=change(MembersInBulk, TeamMembersAdded, (*_OF_ONE, "already_member")),
    summary="Add many members to a team",
    tags=["teams"],
)
async def add_members_in_bulk(request: _Request, submitter: _Submitter, reads: _Reads) -> Response[Any]:
    body = contract.decode_members_in_bulk(await json_body(request))
    return await _submit_members(request, submitter, reads, contract.to_add_members(body), body)


@post(
    "/team/member_update",
    opt={"operation": "team.member_update"},
    status_code=202,
    operation_class=change(MemberChange, MemberUpdated, _OF_MEMBERS),
    summary="Change a member's role or limits",
    tags=["teams"],
)
async def update_member(request: _Request, submitter: _Submitter) -> Response[Any]:
    command = contract.to_update_member(contract.decode_member_change(await json_body(request)))
    return await submitter.submit_change(request, "team.member_update", command)


@post(
    "/team/member_delete",
    opt={"operation": "team.member_delete"},
    status_code=202,
    operation_class=change(MemberToDelete, TeamMemberDeleted, _OF_MEMBERS),
    summary="Take a member out of a team",
    tags=["teams"],
)
async def delete_member(request: _Request, submitter: _Submitter) -> Response[Any]:
    command = contract.to_delete_member(contract.decode_member_to_delete(await json_body(request)))
    return await submitter.submit_change(request, "team.member_delete", command)


@post(
    "/team/model/add",
    opt={"operation": "team.model_add"},
    status_code=202,
    operation_class=change(TeamModels, TeamRow, _OF_ONE),
    summary="Let a team call more models",
    tags=["teams"],
)
async def add_models(request: _Request, submitter: _Submitter) -> Response[Any]:
    """Takes nothing away: a team that may call all may still call all."""
    command = contract.to_add_models(contract.decode_models(await json_body(request)))
    return await submitter.submit_change(request, "team.model_add", command)


@post(
    "/team/model/delete",
    opt={"operation": "team.model_delete"},
    status_code=202,
    operation_class=change(TeamModels, TeamRow, _OF_ONE),
    summary="Let a team call fewer models",
    tags=["teams"],
)
async def delete_models(request: _Request, submitter: _Submitter) -> Response[Any]:
    """Without the last one the team may call none, and not all."""
    command = contract.to_delete_models(contract.decode_models(await json_body(request)))
    return await submitter.submit_change(request, "team.model_delete", command)


@post(
    "/team/permissions_update",
    opt={"operation": "team.update"},
    status_code=202,
    operation_class=change(PermissionChange, TeamUpdated, _OF_ONE),
    summary="Say what members may do at the gateway",
    tags=["teams"],
)
async def update_permissions(request: _Request, submitter: _Submitter) -> Response[Any]:
    """Kept for gateways; members get no rights here by it."""
    body = contract.decode_permissions(await json_body(request))
    return await submitter.submit_change(request, "team.update", contract.to_update_permissions(body))


async def _submit_members(
    request: _Request, submitter: Submitter, reads: Reads, command: AddMembers, body: MembersToAdd
) -> Response[Any]:
    command = expecting(request, command)
    command = msgspec.structs.replace(command, members=await _with_user_ids(reads, command.members))
    asked = Asked(operation="team.member_add", command=command, body=(body, command.if_match), names_object=True)
    return await submitter.submit(request, asked)


async def _with_user_ids(reads: Reads, members: tuple[Member, ...]) -> tuple[Member, ...]:
    """Who is named by an e-mail address alone, and that of exactly one user, is that user."""
    emails = sorted({m.user_email.lower() for m in members if m.user_id is None and m.user_email is not None})
    if not emails:
        return members
    found: dict[str, list[str]] = {}
    for row in await reads.rows(users.with_emails(emails)):
        found.setdefault(row.email, []).append(row.user_id)
    return tuple(_identified(member, found) for member in members)


def _identified(member: Member, found: dict[str, list[str]]) -> Member:
    if member.user_id is not None or member.user_email is None:
        return member
    user_ids = found.get(member.user_email.lower(), [])
    return msgspec.structs.replace(member, user_id=user_ids[0]) if len(user_ids) == 1 else member


router = Router(
    "/",
    route_handlers=[
        new_team,
        update_team,
        delete_teams,
        block_team,
        unblock_team,
        add_members,
        add_members_in_bulk,
        update_member,
        delete_member,
        add_models,
        delete_models,
        update_permissions,
    ],
)
