"""Secrets that are drawn here and shown in one answer, the one to the request that made them."""

from typing import Any

import msgspec
from litestar import Response

REPLAYED = "Idempotency-Replayed"


def shown_once(response: Response[Any], **secrets: str) -> Response[Any]:
    """Puts secrets into this one answer. They are stored sealed or hashed, and in neither the task nor its result.

    A request that repeats an earlier one drew secrets that nobody uses: the earlier answer showed the right ones.
    """
    if response.status_code not in (200, 202) or REPLAYED in response.headers:
        return response
    content = msgspec.to_builtins(response.content)
    if content.get("error") is None:
        response.content = {**content, **secrets}
    return response
