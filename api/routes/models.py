"""``/model/*``: LiteLLM's model management (contract 1.1 to 1.4)."""

from typing import Any

import msgspec
from litestar import Request, Response, Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery

from api.openapi import Answer, described, submission
from api.presentation import model_entry
from api.reads import Reads
from api.routes.bodies import json_body
from api.shapes import ModelList, ModelRow
from api.submission import Asked, Submitter
from shared.contract.models import NewModel, decode_new_model, to_command
from shared.domain.problems import ModelNotFound
from shared.domain.rights import Principal, authorise
from shared.encryption.keyring import Keyring
from shared.encryption.sealing import Binding, seal_document
from shared.runtime.clock import new_id
from shared.store import models

_Request = Request[Principal, Any, Any]


@post(
    "/model/new",
    status_code=202,
    operation_class=submission(NewModel, ModelRow, problems=("model_exists", "team_not_found")),
    summary="Add a deployment",
    tags=["models"],
)
async def new_model(request: _Request, submitter: NamedDependency[Submitter]) -> Response[Any]:
    """Answers 202 with the task, or 200 with the finished row if the client waits (`Prefer: wait=10`)."""
    body = decode_new_model(await json_body(request))
    command = to_command(body, new_id())
    sealed = seal_document(submitter.keyring, Binding("model", command.model_id), command.litellm_params)
    return await submitter.submit(
        request,
        Asked(
            operation="model.create",
            command=msgspec.structs.replace(command, litellm_params=sealed),
            body=body,
            names_object="id" in (body.model_info or {}),
        ),
    )


@get(
    ["/model/info", "/v1/model/info"],
    operation_class=described(
        {200: Answer(shape=ModelList, text="All deployments, or the one that was asked for.")},
        problems=("not_permitted", "model_not_found"),
    ),
    summary="List deployments, or show one",
    tags=["models"],
)
async def model_info(
    request: _Request,
    reads: NamedDependency[Reads],
    keyring: NamedDependency[Keyring],
    litellm_model_id: FromQuery[str | None] = None,
) -> dict[str, list[dict[str, Any]]]:
    """Secrets are removed; everything else is as it was sent. One model is still wrapped in a list."""
    authorise(request.user, "model.read")
    if litellm_model_id is None:
        rows = await reads.rows(models.everything())
    else:
        rows = await reads.rows(models.by_ids(), model_ids=[litellm_model_id])
        if not rows:
            raise ModelNotFound(litellm_model_id)
    return {"data": [model_entry(keyring, models.from_row(row)) for row in rows]}


router = Router("/", route_handlers=[new_model, model_info])
