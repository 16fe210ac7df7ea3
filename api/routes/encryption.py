"""``/encryption``: changing the key that secrets are sealed with."""

from typing import Any

from litestar import Request, Response, Router, post
from litestar.di import NamedDependency

from api.openapi import submission
from api.routes.bodies import json_body
from api.shapes import KeysRotated
from api.submission import Asked, Submitter
from shared.contract.webhooks import decode_no_body
from shared.domain.encryption import RotateKeys
from shared.domain.rights import Principal

_Request = Request[Principal, Any, Any]


@post(
    "/encryption/rotate",
    opt={"operation": "encryption.rotate"},
    status_code=202,
    operation_class=submission(None, KeysRotated, ("keyring_differs",)),
    summary="Seal every secret anew",
    tags=["encryption"],
)
async def rotate(request: _Request, submitter: NamedDependency[Submitter]) -> Response[Any]:
    """With the first of `POINTSMAN_ENCRYPTION_KEYS`. A task with progress; everything else goes on meanwhile."""
    decode_no_body(await json_body(request))
    command = RotateKeys(key_id=submitter.keyring.writing_key_id)
    asked = Asked(operation="encryption.rotate", command=command, body=command, names_object=True)
    return await submitter.submit(request, asked)


router = Router("/", route_handlers=[rotate])
