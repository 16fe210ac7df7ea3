"""``/team/info`` and its kin: reading teams, as LiteLLM's clients do (contract 1.7, 1.8)."""

from typing import Annotated, Any, Literal

from litestar import Request, Response, Router, get
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter

from api.openapi import Answer, described
from api.shapes import ListedTeam, TeamInfo, TeamPage, TeamPermissions
from api.teams import Teams
from shared.contract import teams as contract
from shared.domain.rights import Principal, authorise
from shared.domain.teams import etag
from shared.store.teams import TeamFilter

_Request = Request[Principal, Any, Any]
_Teams = NamedDependency[Teams]
MAX_PAGE_SIZE = 500
_READ = ("not_permitted",)


@get(
    "/team/info",
    operation_class=described(
        {200: Answer(shape=TeamInfo, text="The team.", headers={"ETag": "Of the team."})},
        problems=(*_READ, "team_not_found"),
    ),
    summary="Show a team",
    tags=["teams"],
)
async def team_info(request: _Request, teams: _Teams, team_id: FromQuery[str]) -> Response[dict[str, Any]]:
    """With its members and those of its keys that the caller may see. Others' teams are as if they were not there."""
    team = await teams.one(request.user, team_id)
    return Response(await teams.info(request.user, team), headers={"ETag": etag(team)})


@get(
    "/team/list",
    operation_class=described({200: Answer(shape=ListedTeam, is_list=True, text="A list of teams.")}, problems=_READ),
    summary="List teams",
    tags=["teams"],
)
async def list_teams(
    request: _Request,
    teams: _Teams,
    user_id: FromQuery[str | None] = None,
    organization_id: FromQuery[str | None] = None,
) -> list[dict[str, Any]]:
    """A bare list, as LiteLLM answers it: all teams, or those of which the caller is a member."""
    return await teams.all(request.user, TeamFilter(user_id=user_id, organization_id=organization_id))


@get(
    "/v2/team/list",
    operation_class=described({200: Answer(shape=TeamPage, text="One page.")}, problems=_READ),
    summary="List teams page by page",
    tags=["teams"],
)
async def list_teams_page(
    request: _Request,
    teams: _Teams,
    page: Annotated[int, QueryParameter(ge=1, le=1_000_000)] = 1,
    page_size: Annotated[int, QueryParameter(ge=1)] = 10,
    user_id: FromQuery[str | None] = None,
    organization_id: FromQuery[str | None] = None,
    team_id: FromQuery[str | None] = None,
    team_alias: Annotated[str | None, QueryParameter(description="A part of the alias.")] = None,
    search: Annotated[str | None, QueryParameter(description="A part of the alias or of the id.")] = None,
    search_team_id_match: FromQuery[Literal["exact", "prefix"]] = "exact",
    sort_by: Annotated[str | None, QueryParameter(description="team_id, team_alias, created_at or updated_at.")] = None,
    sort_order: FromQuery[Literal["asc", "desc"]] = "asc",
    status: Annotated[str | None, QueryParameter(description="`deleted` finds none: no trace is left here.")] = None,
) -> TeamPage:
    wanted = TeamFilter(
        user_id=user_id,
        organization_id=organization_id,
        team_id=team_id,
        is_prefix=search_team_id_match == "prefix",
        alias=team_alias or None,
        search=search or None,
    )
    size = min(page_size, MAX_PAGE_SIZE)
    if status == "deleted":
        return TeamPage(teams=[], total=0, page=page, page_size=size, total_pages=0)
    found, total = await teams.page(request.user, wanted, page=page, size=size, sort_by=sort_by, sort_order=sort_order)
    return TeamPage(teams=found, total=total, page=page, page_size=size, total_pages=-(-total // size))


@get(
    "/team/permissions_list",
    operation_class=described(
        {200: Answer(shape=TeamPermissions, text="As they were set.")}, problems=(*_READ, "team_not_found")
    ),
    summary="Show what members may do at the gateway",
    tags=["teams"],
)
async def list_permissions(request: _Request, teams: _Teams, team_id: FromQuery[str]) -> dict[str, Any]:
    return contract.permissions(await teams.one(request.user, team_id))


@get(
    "/team/available",
    operation_class=described({200: Answer(shape=ListedTeam, is_list=True, text="An empty list.")}, problems=_READ),
    summary="List teams that anybody may join",
    tags=["teams"],
)
async def list_available(request: _Request) -> list[dict[str, Any]]:
    """There are none: members are added by admins."""
    authorise(request.user, "team.read")
    return []


router = Router("/", route_handlers=[team_info, list_teams, list_teams_page, list_permissions, list_available])
