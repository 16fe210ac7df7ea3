"""``/key/info`` and its kin: reading virtual keys, of which only hashes are known (contract 1.9)."""

from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, Router, get
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter

from api.keys import as_shown_to
from api.openapi import Answer, described
from api.reads import Reads
from shared.contract import keys as contract
from shared.contract.keys import KeyAliases, KeyInfo, KeyPage
from shared.domain.access import OWNERSHIP
from shared.domain.decision import version_tag
from shared.domain.key_text import token_named
from shared.domain.keys import document
from shared.domain.problems import KeyNotFound
from shared.domain.rights import Principal, Scope, is_allowed, scope
from shared.runtime.clock import now
from shared.store import keys
from shared.store.keys import SORTED_BY, KeyFilter

_Request = Request[Principal, Any, Any]
_Reads = NamedDependency[Reads]
_Page = Annotated[int, QueryParameter(ge=1, le=1_000_000)]
_TAGS = ["keys"]


@get(
    "/key/info",
    operation_class=described(
        {200: Answer(shape=KeyInfo, text="What is known of it.", headers={"ETag": "Of the key."})},
        problems=("key_not_found",),
    ),
    summary="Show a key",
    tags=_TAGS,
)
async def key_info(request: _Request, reads: _Reads, key: FromQuery[str | None] = None) -> Response[KeyInfo]:
    """The key that is named by itself or by its hash or, without `key`, the one in use."""
    named = request.user.key_id if key is None else key
    token = request.user.key_id if key is None else token_named(key)
    row = await reads.row(keys.by_tokens([token]))
    if row is None:
        raise KeyNotFound
    found = keys.from_row(row)
    if token != request.user.key_id and not is_allowed(request.user, "key.read", OWNERSHIP["key"](found)):
        raise KeyNotFound
    shown = KeyInfo(key=named, info=contract.info(as_shown_to(request.user, found), row.last_used_at, now()))
    return Response(shown, headers={"ETag": version_tag(document(found))})


@get(
    "/key/list",
    operation_class=described({200: Answer(shape=KeyPage, text="One page.")}),
    summary="List keys",
    tags=_TAGS,
)
async def list_keys(
    request: _Request,
    reads: _Reads,
    page: _Page = 1,
    size: Annotated[int, QueryParameter(ge=1, le=500)] = 10,
    user_id: FromQuery[str | None] = None,
    team_id: FromQuery[str | None] = None,
    organization_id: FromQuery[str | None] = None,
    key_hash: FromQuery[str | None] = None,
    key_alias: FromQuery[str | None] = None,
    search: FromQuery[str | None] = None,
    status: FromQuery[Literal["active", "blocked", "expired"] | None] = None,
    return_full_object: FromQuery[bool] = False,
    include_team_keys: FromQuery[bool] = False,
    sort_by: FromQuery[str | None] = None,
    sort_order: FromQuery[Literal["asc", "desc"]] = "desc",
) -> KeyPage:
    """Hashes, or whole rows. Team admins see those of their teams with `team_id` or `include_team_keys`."""
    visible = scope(request.user, "key.read")
    wanted = KeyFilter(
        user_id=user_id,
        team_id=team_id,
        organization_id=organization_id,
        key_alias=key_alias,
        token=token_named(key_hash) if key_hash else None,
        search=search,
        status=status,
    )
    if not (include_team_keys or team_id or key_hash):
        visible = _without_teams(visible)
    at = now()
    by = sort_by if sort_by in SORTED_BY else "created_at"
    rows = await reads.rows(
        keys.page(
            wanted, visible, at, sort_by=by, is_ascending=sort_order == "asc", limit=size, offset=(page - 1) * size
        )
    )
    total = (await reads.rows(keys.count(wanted, visible, at)))[0].total
    found = [(as_shown_to(request.user, keys.from_row(row)), row.last_used_at) for row in rows]
    shown = [contract.listed(key, used_at, at) if return_full_object else key.token for key, used_at in found]
    return KeyPage(keys=shown, total_count=total, current_page=page, total_pages=-(-total // size))


@get(
    "/key/aliases",
    operation_class=described({200: Answer(shape=KeyAliases, text="One page.")}),
    summary="List the aliases of keys",
    tags=_TAGS,
)
async def list_aliases(
    request: _Request,
    reads: _Reads,
    page: _Page = 1,
    size: Annotated[int, QueryParameter(ge=1, le=500)] = 50,
    search: FromQuery[str | None] = None,
    team_id: FromQuery[str | None] = None,
) -> KeyAliases:
    """Those of the keys that the caller may see."""
    visible = scope(request.user, "key.read")
    rows = await reads.rows(keys.aliases(search, team_id, visible, limit=size, offset=(page - 1) * size))
    total = rows[0].total if rows else 0
    return KeyAliases(
        aliases=[row.key_alias for row in rows],
        total_count=total,
        current_page=page,
        total_pages=-(-total // size),
        size=size,
    )


def _without_teams(visible: Scope) -> Scope:
    return visible if visible.is_all else msgspec.structs.replace(visible, team_ids=frozenset())


router = Router("/", route_handlers=[key_info, list_keys, list_aliases])
