"""``/model/info`` and its kin: reading models, as LiteLLM's clients do (contract 1.3 to 1.6)."""

from typing import Annotated, Any, Literal

from litestar import Request, Response, Router, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from api.catalogue import Catalogue, Entry
from api.openapi import Answer, described
from api.presentation import history_view
from api.reads import Reads
from api.shapes import ModelGroups, ModelList, ModelName, ModelNames
from shared.contract import model_groups
from shared.contract.models import ModelHistory, ModelPage
from shared.domain.problems import ModelGroupNotFound, ModelNotFound, ModelNotListed, UnusableQuery
from shared.domain.rights import Ownership, Principal, authorise, is_allowed
from shared.encryption.keyring import Keyring
from shared.store import models
from shared.store.models import ListFilter, ModelRevision

_Request = Request[Principal, Any, Any]
_Catalogue = NamedDependency[Catalogue]
MAX_PAGE_SIZE = 500
_SORT_HELP = "model_name, created_at or updated_at; costs and status read every model. Another value sorts nothing."


@get(
    ["/model/info", "/v1/model/info"],
    operation_class=described(
        {
            200: Answer(
                shape=ModelList,
                text="All deployments, or the one that was asked for.",
                headers={"ETag": "Of the one that was asked for."},
            )
        },
        problems=("not_permitted", "model_not_listed"),
    ),
    summary="List deployments, or show one",
    tags=["models"],
)
async def model_info(
    request: _Request,
    catalogue: _Catalogue,
    litellm_model_id: FromQuery[str | None] = None,
    team_id: Annotated[str | None, QueryParameter(name="teamId")] = None,
) -> Response[dict[str, list[Entry]]]:
    """Secrets are removed; everything else is as it was sent. One model is still wrapped in a list, with its `ETag`."""
    seen = await catalogue.view_of(request.user, team_id)
    if litellm_model_id is None:
        return Response({"data": await seen.all()})
    found = await seen.one(litellm_model_id)
    if found is None:
        raise ModelNotListed(litellm_model_id)
    entry, etag = found
    return Response({"data": [entry]}, headers={"ETag": etag} if etag else {})


@get(
    "/v2/model/info",
    operation_class=described(
        {200: Answer(shape=ModelPage, text="One page.")}, problems=("not_permitted", "unusable_query")
    ),
    summary="List deployments page by page",
    tags=["models"],
)
async def model_info_page(
    request: _Request,
    catalogue: _Catalogue,
    page: Annotated[int, QueryParameter(ge=1, le=1_000_000)] = 1,
    size: Annotated[int, QueryParameter(ge=1)] = 50,
    search: FromQuery[str | None] = None,
    model: FromQuery[str | None] = None,
    model_id: Annotated[str | None, QueryParameter(name="modelId")] = None,
    use_stored_params: FromQuery[bool] = False,
    team_id: Annotated[str | None, QueryParameter(name="teamId")] = None,
    sort_by: Annotated[str | None, QueryParameter(name="sortBy", description=_SORT_HELP)] = None,
    sort_order: Annotated[str, QueryParameter(name="sortOrder")] = "asc",
    blocked: FromQuery[bool | None] = None,
    wildcard_only: FromQuery[bool] = False,
    access_group: FromQuery[str | None] = None,
) -> ModelPage:
    """Those of the configuration file come last. Reads add no defaults, so `use_stored_params` has none to hide."""
    seen = await catalogue.view_of(request.user, team_id)
    if use_stored_params and model_id is None:
        raise UnusableQuery("use_stored_params", "use_stored_params requires modelId")
    size = min(size, MAX_PAGE_SIZE)
    wanted = ListFilter(
        search=search or None,
        name=model,
        model_id=model_id,
        blocked=blocked,
        wildcard_only=wildcard_only,
        access_group=access_group,
    )
    entries, total = await seen.page(
        wanted, page=page, size=size, sort_by=sort_by, sort_order=_order(sort_order, is_sorted=sort_by is not None)
    )
    return ModelPage(data=entries, total_count=total, current_page=page, total_pages=-(-total // size), size=size)


def _order(text: str, *, is_sorted: bool) -> Literal["asc", "desc"]:
    if text == "desc":
        return "desc"
    if is_sorted and text != "asc":
        raise UnusableQuery("sortOrder", "Invalid sortOrder: must be asc or desc")
    return "asc"


@get(
    ["/models", "/v1/models"],
    operation_class=described({200: Answer(shape=ModelNames, text="All of them.")}, problems=("not_permitted",)),
    summary="List model groups in OpenAI's shape",
    tags=["models"],
)
async def list_names(request: _Request, catalogue: _Catalogue, team_id: FromQuery[str | None] = None) -> dict[str, Any]:
    """Those that the caller may call."""
    seen = await catalogue.view_of(request.user, team_id)
    return {"data": [model_groups.openai_model(name) for name in await seen.names()], "object": "list"}


@get(
    ["/models/{name:path}", "/v1/models/{name:path}"],
    operation_class=described(
        {200: Answer(shape=ModelName, text="The group.")}, problems=("not_permitted", "model_group_not_found")
    ),
    summary="Show one model group",
    tags=["models"],
)
async def show_name(request: _Request, name: FromPath[str], catalogue: _Catalogue) -> dict[str, Any]:
    seen = await catalogue.view_of(request.user)
    name = name.removeprefix("/")
    if not await seen.has_group(name):
        raise ModelGroupNotFound(name)
    return model_groups.openai_model(name)


@get(
    "/model_group/info",
    operation_class=described(
        {200: Answer(shape=ModelGroups, text="All groups, or the one that was asked for.")},
        problems=("not_permitted",),
    ),
    summary="Sum up the deployments of each public name",
    tags=["models"],
)
async def model_group_info(
    request: _Request, catalogue: _Catalogue, model_group: FromQuery[str | None] = None
) -> dict[str, list[dict[str, Any]]]:
    seen = await catalogue.view_of(request.user)
    entries = await seen.all() if model_group is None else await seen.group(model_group)
    return {"data": model_groups.summed_up(entries)}


@get(
    "/model/{model_id:str}/history",
    operation_class=described(
        {200: Answer(shape=ModelHistory, text="One page.")},
        problems=("not_permitted", "model_not_found"),
    ),
    summary="List the versions of a deployment",
    tags=["models"],
)
async def model_history(
    request: _Request,
    model_id: FromPath[str],
    reads: NamedDependency[Reads],
    keyring: NamedDependency[Keyring],
    limit: Annotated[int, QueryParameter(ge=1, le=200)] = 50,
    before: Annotated[int | None, QueryParameter(ge=1, description="The `next_before` of the page before.")] = None,
) -> ModelHistory:
    """Newest first, with what each version changed. Secrets show as keyed fingerprints."""
    authorise(request.user, "model.read")
    newest = [models.revision_from_row(row) for row in await reads.rows(models.history(model_id, limit=2))]
    if not newest or _readable(request.user, newest)[:1] != newest[:1]:
        raise ModelNotFound(model_id)
    rows = await reads.rows(models.history(model_id, limit=limit + 1, before_revision=before))
    revisions = [models.revision_from_row(row) for row in rows]
    return history_view(keyring, model_id, _readable(request.user, revisions), limit)


def _readable(principal: Principal, revisions: list[ModelRevision]) -> list[ModelRevision]:
    """Those since the model came to be the principal's to see; a deletion counts as what it deleted."""
    states = [revision.state for revision in revisions]
    judged = (state or older or {} for state, older in zip(states, [*states[1:], None], strict=True))
    for position, state in enumerate(judged):
        if not is_allowed(principal, "model.read", Ownership(team_id=state.get("team_id"))):
            return revisions[:position]
    return revisions


router = Router(
    "/",
    route_handlers=[model_info, model_info_page, list_names, show_name, model_group_info, model_history],
)
