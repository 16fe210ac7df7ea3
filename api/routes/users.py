"""``/user``: users, the roles that they have, and reading them (contract 1.9)."""

from typing import Annotated, Any, Literal

from litestar import Request, Response, Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter

from api.keys import as_shown_to
from api.openapi import Answer, change, described, submission
from api.reads import Reads
from api.routes.bodies import json_body
from api.routes.keys import draw_key
from api.shown_once import shown_once
from api.submission import Asked, Submitter
from api.teams import Teams
from shared.contract import keys as key_contract
from shared.contract import users as contract
from shared.contract.users import (
    NewUser,
    UserChange,
    UserChanged,
    UserInfo,
    UserPage,
    UserRow,
    UserRowAlone,
    UsersToDelete,
)
from shared.domain.decision import version_tag
from shared.domain.problems import UserNotFound
from shared.domain.rights import MASTER_USER_ID, Ownership, Principal, authorise, is_allowed, scope
from shared.domain.users import User, document
from shared.runtime.clock import new_id, now
from shared.store import keys, users
from shared.store.teams import TeamFilter
from shared.store.users import SORTED_BY, UserFilter

_Request = Request[Principal, Any, Any]
_Submitter = NamedDependency[Submitter]
_Reads = NamedDependency[Reads]
_TAGS = ["users"]
MAX_KEYS_SHOWN = 1000


@post(
    "/user/new",
    opt={"operation": "user.create"},
    status_code=202,
    operation_class=submission(
        NewUser,
        UserRow,
        ("user_exists", "user_email_taken", "unknown_team", "key_alias_taken", "beyond_own_rights"),
    ),
    summary="Add a user",
    tags=_TAGS,
)
async def new_user(request: _Request, submitter: _Submitter) -> Response[Any]:
    """With a first key, unless `auto_create_key` is false: the answer holds it, this once and never again."""
    body = contract.decode_new(await json_body(request))
    key = None if body.named.auto_create_key is False else draw_key()
    command = contract.to_create(body, new_id(), key)
    asked = Asked(operation="user.create", command=command, body=body, names_object=bool(body.named.user_id))
    response = await submitter.submit(request, asked)
    return response if key is None else shown_once(response, key=key)


@post(
    "/user/update",
    opt={"operation": "user.update"},
    status_code=202,
    operation_class=change(UserChange, UserChanged, ("user_not_found", "user_email_taken")),
    summary="Change a user",
    tags=_TAGS,
)
async def update_user(request: _Request, submitter: _Submitter, reads: _Reads) -> Response[Any]:
    """Changes what is named, and nothing else. Memberships are changed at the teams."""
    authorise(request.user, "user.update")
    body = contract.decode_change(await json_body(request))
    user_id = body.named.user_id or await _user_with(reads, str(body.named.user_email))
    return await submitter.submit_change(request, "user.update", contract.to_update(body, user_id))


@post(
    "/user/delete",
    opt={"operation": "user.delete"},
    status_code=202,
    operation_class=change(UsersToDelete, int, ("user_not_found",)),
    summary="Remove users",
    tags=_TAGS,
)
async def delete_users(request: _Request, submitter: _Submitter) -> Response[Any]:
    """With their keys and memberships, which the task names; a client that waits is told how many users it were."""
    command = contract.to_delete(contract.decode_deletion(await json_body(request)))
    response = await submitter.submit_change(request, "user.delete", command, len(command.user_ids))
    if response.status_code == 200:
        response.content = len(command.user_ids)
    return response


@get(
    "/user/info",
    operation_class=described(
        {200: Answer(shape=UserInfo, text="The user, its keys and teams.", headers={"ETag": "Of the user."})},
        problems=("user_not_found",),
    ),
    summary="Show a user with keys and teams",
    tags=_TAGS,
)
async def user_info(
    request: _Request, reads: _Reads, teams: NamedDependency[Teams], user_id: FromQuery[str | None] = None
) -> Response[UserInfo]:
    """Without `user_id`, the one who asks."""
    user = await _visible_user(request.user, reads, user_id)
    in_teams = await teams.all(request.user, TeamFilter(user_id=user.user_id))
    of_user = await reads.rows(keys.all_of_user(user.user_id, scope(request.user, "key.read"), limit=MAX_KEYS_SHOWN))
    at = now()
    shown = UserInfo(
        user_id=user.user_id,
        user_info=contract.info(user, [team["team_id"] for team in in_teams]),
        keys=[
            key_contract.listed(as_shown_to(request.user, keys.from_row(row)), row.last_used_at, at) for row in of_user
        ],
        teams=in_teams,
    )
    return Response(shown, headers={"ETag": version_tag(document(user))})


@get(
    "/v2/user/info",
    operation_class=described({200: Answer(shape=UserRowAlone, text="The user.")}, problems=("user_not_found",)),
    summary="Show a user",
    tags=_TAGS,
)
async def user_alone(request: _Request, reads: _Reads, user_id: FromQuery[str | None] = None) -> dict[str, Any]:
    """Without `user_id`, the one who asks."""
    user = await _visible_user(request.user, reads, user_id)
    teams = await reads.rows(users.memberships([user.user_id]))
    return contract.info(user, [row.team_id for row in teams])


@get(
    "/user/list",
    operation_class=described({200: Answer(shape=UserPage, text="One page.")}),
    summary="List users",
    tags=_TAGS,
)
async def list_users(
    request: _Request,
    reads: _Reads,
    page: Annotated[int, QueryParameter(ge=1, le=1_000_000)] = 1,
    page_size: Annotated[int, QueryParameter(ge=1, le=500)] = 25,
    role: FromQuery[str | None] = None,
    user_ids: Annotated[str | None, QueryParameter(description="Several, with commas between them.")] = None,
    user_email: FromQuery[str | None] = None,
    search: FromQuery[str | None] = None,
    team: FromQuery[str | None] = None,
    sort_by: FromQuery[str | None] = None,
    sort_order: FromQuery[Literal["asc", "desc"]] = "asc",
) -> UserPage:
    """`user_email` is a part of the address, as in LiteLLM."""
    visible = scope(request.user, "user.read")
    wanted = UserFilter(
        role=role,
        user_ids=tuple(name.strip() for name in user_ids.split(",")) if user_ids else (),
        user_email=user_email,
        search=search,
        team_id=team,
    )
    by = sort_by if sort_by in SORTED_BY else "created_at"
    offset = (page - 1) * page_size
    rows = await reads.rows(
        users.page(wanted, visible, sort_by=by, is_ascending=sort_order == "asc", limit=page_size, offset=offset)
    )
    total = (await reads.rows(users.count(wanted, visible)))[0].total
    return UserPage(
        users=await _listed(reads, [users.from_row(row) for row in rows]),
        total=total,
        page=page,
        page_size=page_size,
        total_pages=-(-total // page_size),
    )


async def _listed(reads: Reads, found: list[User]) -> list[dict[str, Any]]:
    ids = [user.user_id for user in found]
    teams: dict[str, list[str]] = {user_id: [] for user_id in ids}
    for row in await reads.rows(users.memberships(ids)):
        teams[row.user_id].append(row.team_id)
    counts = {row.user_id: row.total for row in await reads.rows(keys.counts_of_users(ids))}
    return [{**contract.info(user, teams[user.user_id]), "key_count": counts.get(user.user_id, 0)} for user in found]


async def _visible_user(principal: Principal, reads: Reads, user_id: str | None) -> User:
    """Raises UserNotFound, also for one whom the principal may not see."""
    user_id = user_id or principal.user_id
    if not is_allowed(principal, "user.read", Ownership(user_id=user_id)):
        raise UserNotFound(user_id)
    row = await reads.row(users.by_ids([user_id]))
    if row is not None:
        return users.from_row(row)
    if user_id == MASTER_USER_ID:
        return contract.master(now())
    raise UserNotFound(user_id)


async def _user_with(reads: Reads, email: str) -> str:
    """Raises UserNotFound."""
    found = await reads.row(users.with_emails([email.lower()]))
    if found is None:
        raise UserNotFound(email)
    return found.user_id


router = Router("/", route_handlers=[new_user, update_user, delete_users, user_info, user_alone, list_users])
