"""``/credentials``: shared provider secrets by name (contract 1.9)."""

from typing import Any

import msgspec
from litestar import Request, Response, Router, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from api.headers import expecting
from api.openapi import Answer, change, described, submission
from api.presentation import credential_view, left_out, refuse
from api.reads import Reads
from api.routes.bodies import json_body
from api.shapes import CredentialChanged
from api.submission import Asked, Submitter
from shared.contract import credentials as contract
from shared.contract.credentials import CredentialChange, CredentialList, CredentialView, NewCredential
from shared.domain.credentials import DeleteCredential
from shared.domain.decision import version_tag
from shared.domain.problems import CredentialNotFound, ModelNotFound
from shared.domain.rights import Principal, authorise
from shared.encryption.keyring import Keyring
from shared.encryption.sealing import Binding, UnreadableField, open_document, seal_document
from shared.store import credentials, models
from shared.store.rows import fields_of

_Request = Request[Principal, Any, Any]
_Submitter = NamedDependency[Submitter]
_Reads = NamedDependency[Reads]
_Keyring = NamedDependency[Keyring]
_SEALED = "credential_values"
_SHOWN = described(
    {
        200: Answer(
            shape=CredentialView, text="The credential, its values hidden.", headers={"ETag": "Of the credential."}
        )
    },
    problems=("not_permitted", "credential_not_found", "model_not_found", "unreadable_secret"),
)


@post(
    "/credentials",
    opt={"operation": "credential.create"},
    status_code=202,
    operation_class=submission(
        NewCredential, CredentialChanged, ("credential_exists", "model_not_found", "unreadable_secret")
    ),
    summary="Add a credential",
    tags=["credentials"],
)
async def new_credential(request: _Request, submitter: _Submitter, reads: _Reads) -> Response[Any]:
    """With `credential_values`, or with `model_id` to take over those of a stored model."""
    authorise(request.user, "credential.create")
    body = contract.decode_new(await json_body(request))
    values = body.credential_values
    if values is None:
        values = await _values_of_model(reads, submitter, str(body.model_id))
    sealed = seal_document(submitter.keyring, Binding("credential", body.credential_name), values, _SEALED)
    asked = Asked(operation="credential.create", command=contract.to_create(body, sealed), body=body, names_object=True)
    return await submitter.submit(request, asked)


@patch(
    "/credentials/{credential_name:str}",
    opt={"operation": "credential.update"},
    status_code=202,
    operation_class=change(CredentialChange, CredentialChanged, ("credential_not_found",)),
    summary="Change a credential",
    tags=["credentials"],
)
async def change_credential(request: _Request, credential_name: FromPath[str], submitter: _Submitter) -> Response[Any]:
    """Merges values and info. Every model that names the credential has the new values at once."""
    body = contract.decode_change(await json_body(request))
    command = contract.to_update(body, credential_name)
    sealed = seal_document(submitter.keyring, Binding("credential", credential_name), command.set_values, _SEALED)
    command = expecting(request, msgspec.structs.replace(command, set_values=sealed))
    recognised_by = (credential_name, body, command.if_match)
    asked = Asked(operation="credential.update", command=command, body=recognised_by, names_object=True)
    return await submitter.submit(request, asked)


@delete(
    "/credentials/{credential_name:str}",
    opt={"operation": "credential.delete"},
    status_code=202,
    operation_class=change(None, CredentialChanged, ("credential_not_found", "credential_in_use")),
    summary="Remove a credential",
    tags=["credentials"],
)
async def delete_credential(request: _Request, credential_name: FromPath[str], submitter: _Submitter) -> Response[Any]:
    """Refused while models use it; the refusal names them."""
    command = DeleteCredential(credential_name=credential_name)
    return await submitter.submit_change(request, "credential.delete", command)


@get(
    "/credentials",
    operation_class=described({200: Answer(shape=CredentialList, text="All of them.")}, problems=("not_permitted",)),
    summary="List credentials",
    tags=["credentials"],
)
async def list_credentials(request: _Request, reads: _Reads, keyring: _Keyring) -> CredentialList:
    """Values are hidden; what cannot be read is left out and named in `credential_info.unreadable_fields`."""
    authorise(request.user, "credential.read")
    rows = await reads.rows(credentials.everything())
    return CredentialList(credentials=[credential_view(keyring, credentials.from_row(row), left_out) for row in rows])


@get(
    ["/credentials/by_name/{credential_name:str}", "/credentials/{credential_name:str}"],
    operation_class=_SHOWN,
    summary="Show a credential",
    tags=["credentials"],
)
async def show_credential(
    request: _Request, credential_name: FromPath[str], reads: _Reads, keyring: _Keyring
) -> Response[CredentialView]:
    authorise(request.user, "credential.read")
    return await _view(reads, keyring, credential_name)


@get(
    "/credentials/by_model/{model_id:str}",
    operation_class=_SHOWN,
    summary="Show the credential of a deployment",
    tags=["credentials"],
)
async def show_credential_of_model(
    request: _Request, model_id: FromPath[str], reads: _Reads, keyring: _Keyring
) -> Response[CredentialView]:
    authorise(request.user, "credential.read")
    row = await reads.row(models.by_ids(), model_ids=[model_id])
    if row is None:
        raise ModelNotFound(model_id)
    if row.credential_name is None:
        raise CredentialNotFound(f"none is named by model {model_id}")
    return await _view(reads, keyring, row.credential_name)


async def _view(reads: Reads, keyring: Keyring, name: str) -> Response[CredentialView]:
    row = await reads.row(credentials.by_names([name]))
    if row is None:
        raise CredentialNotFound(name)
    view = credential_view(keyring, credentials.from_row(row), refuse)
    return Response(view, headers={"ETag": version_tag(fields_of(row))})


async def _values_of_model(reads: Reads, submitter: Submitter, model_id: str) -> dict[str, Any]:
    row = await reads.row(models.by_ids(), model_ids=[model_id])
    if row is None:
        raise ModelNotFound(model_id)
    try:
        opened = open_document(submitter.keyring, Binding("model", model_id), row.litellm_params)
    except UnreadableField as unreadable:
        refuse(unreadable)
    return {name: value for name, value in opened.items() if name in contract.FROM_MODEL}


router = Router(
    "/",
    route_handlers=[
        new_credential,
        change_credential,
        delete_credential,
        list_credentials,
        show_credential,
        show_credential_of_model,
    ],
)
