"""``/model/*``: writing models, as LiteLLM's clients do (contract 1.1, 1.2)."""

from typing import Any

import msgspec
from litestar import Request, Response, Router, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from api.headers import expecting
from api.lookups import Judge
from api.openapi import change, submission
from api.routes.bodies import json_body
from api.shapes import Deletion, ModelRow
from api.submission import Asked, Submitter
from shared.contract.models import (
    ModelChange,
    ModelId,
    ModelIdToBlock,
    NewModel,
    Rollback,
    changed_id,
    decode_change,
    decode_id,
    decode_id_to_block,
    decode_new_model,
    decode_rollback,
    fit_id,
    to_command,
    to_update,
)
from shared.domain.models import BlockModel, DeleteModel, RollbackModel, UnblockModel
from shared.domain.rights import Principal
from shared.encryption.sealing import Binding, seal_document
from shared.runtime.clock import new_id

_Request = Request[Principal, Any, Any]
_Submitter = NamedDependency[Submitter]
_Judge = NamedDependency[Judge]

_OF_ONE = ("model_not_found", "model_in_config", "model_storage_off")
_OF_NEW = ("model_exists", "team_not_found", "model_storage_off", "unknown_credential", "destination_refused")
_OF_UPDATE = (*_OF_ONE, "team_not_found", "secret_needed", "unknown_credential", "destination_refused")
_update = change(ModelChange, ModelRow, _OF_UPDATE)


@post(
    "/model/new",
    opt={"operation": "model.create"},
    status_code=202,
    operation_class=submission(NewModel, ModelRow, problems=_OF_NEW),
    summary="Add a deployment",
    tags=["models"],
)
async def new_model(request: _Request, submitter: _Submitter, judge: _Judge) -> Response[Any]:
    """Answers 202 with the task, or 200 with the finished row if the client waits (`Prefer: wait=10`)."""
    body = decode_new_model(await json_body(request))
    unjudged = await judge.check_model(request.user, body.litellm_params)
    command = to_command(body, new_id())
    sealed = seal_document(submitter.keyring, Binding("model", command.model_id), command.litellm_params)
    command = msgspec.structs.replace(command, litellm_params=sealed, admin_only=(*command.admin_only, *unjudged))
    return await submitter.submit(
        request,
        Asked(
            operation="model.create",
            command=command,
            body=body,
            names_object="id" in (body.model_info or {}),
        ),
    )


@post(
    "/model/update",
    opt={"operation": "model.update"},
    status_code=202,
    operation_class=_update,
    summary="Change a deployment",
    tags=["models"],
)
async def update_model(request: _Request, submitter: _Submitter, judge: _Judge) -> Response[Any]:
    """As PATCH, with the id in `model_info.id` or at the top level."""
    body = decode_change(await json_body(request))
    return await _submit_update(request, submitter, judge, body, changed_id(body))


@patch(
    "/model/{model_id:str}/update",
    opt={"operation": "model.update"},
    status_code=202,
    operation_class=_update,
    summary="Change a deployment",
    tags=["models"],
)
async def patch_model(
    request: _Request, model_id: FromPath[str], submitter: _Submitter, judge: _Judge
) -> Response[Any]:
    """Changes what is named, and nothing else; `null` removes. The id never changes."""
    return await _submit_update(request, submitter, judge, decode_change(await json_body(request)), fit_id(model_id))


@post(
    "/model/delete",
    opt={"operation": "model.delete"},
    status_code=202,
    operation_class=change(ModelId, Deletion, _OF_ONE),
    summary="Remove a deployment",
    tags=["models"],
)
async def delete_model(request: _Request, submitter: _Submitter) -> Response[Any]:
    model_id = decode_id(await json_body(request))
    return await submitter.submit_change(request, "model.delete", DeleteModel(model_id=model_id))


@post(
    "/model/block",
    opt={"operation": "model.block"},
    status_code=202,
    operation_class=change(ModelIdToBlock, ModelRow, _OF_ONE),
    summary="Take a deployment out of use",
    tags=["models"],
)
async def block_model(request: _Request, submitter: _Submitter) -> Response[Any]:
    model_id = decode_id_to_block(await json_body(request))
    return await submitter.submit_change(request, "model.block", BlockModel(model_id=model_id))


@post(
    "/model/unblock",
    opt={"operation": "model.unblock"},
    status_code=202,
    operation_class=change(ModelIdToBlock, ModelRow, _OF_ONE),
    summary="Put a deployment back to use",
    tags=["models"],
)
async def unblock_model(request: _Request, submitter: _Submitter) -> Response[Any]:
    model_id = decode_id_to_block(await json_body(request))
    return await submitter.submit_change(request, "model.unblock", UnblockModel(model_id=model_id))


@post(
    "/model/{model_id:str}/rollback",
    opt={"operation": "model.rollback"},
    status_code=202,
    operation_class=change(Rollback, ModelRow, (*_OF_ONE, "version_not_found")),
    summary="Make a deployment what it was",
    tags=["models"],
)
async def rollback_model(request: _Request, model_id: FromPath[str], submitter: _Submitter) -> Response[Any]:
    """Restores an earlier version as a new one; `GET /model/{model_id}/history` lists them."""
    command = RollbackModel(model_id=fit_id(model_id), to_version=decode_rollback(await json_body(request)))
    return await submitter.submit_change(request, "model.rollback", command)


async def _submit_update(
    request: _Request, submitter: Submitter, judge: Judge, body: ModelChange, model_id: str
) -> Response[Any]:
    unjudged = await judge.check_model(request.user, body.litellm_params or {})
    command = expecting(request, to_update(body, model_id))
    sealed = seal_document(submitter.keyring, Binding("model", model_id), command.set_params)
    command = msgspec.structs.replace(command, set_params=sealed, admin_only=(*command.admin_only, *unjudged))
    asked = Asked(operation="model.update", command=command, body=(model_id, body, command.if_match), names_object=True)
    return await submitter.submit(request, asked)


router = Router(
    "/",
    route_handlers=[
        new_model,
        update_model,
        patch_model,
        delete_model,
        block_model,
        unblock_model,
        rollback_model,
    ],
)
