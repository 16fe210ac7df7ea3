"""Request bodies: read as bytes, decoded by the contract, described for the OpenAPI document."""

from typing import Any

from litestar import Request
from litestar.exceptions import HTTPException

_JSON_TYPES = ("application/json", "text/json")


async def json_body(request: Request[Any, Any, Any]) -> bytes:
    """The body, if it is said to be JSON or nothing is said of it. Raises HTTPException: 415, or 413 if too large."""
    media_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if media_type not in _JSON_TYPES and not media_type.endswith("+json"):
        raise HTTPException(status_code=415)
    return await request.body()
