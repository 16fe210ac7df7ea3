"""``/openapi.json`` and its page: what this API takes and answers. Needs no key, and nothing from elsewhere."""

from functools import lru_cache
from typing import Any

import msgspec
from litestar import Litestar, MediaType, Request, Response, Router, get

from api import openapi
from api.page import page

_Request = Request[Any, Any, Any]

# The page holds no script and loads nothing, so nothing is allowed.
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


@get("/openapi.json", include_in_schema=False)
async def show_document(request: _Request) -> Response[bytes]:
    return Response(_document(request.app), media_type="application/json")


@get(["/", "/docs"], include_in_schema=False)
async def show_page(request: _Request) -> Response[bytes]:
    return Response(_page(request.app), media_type=MediaType.HTML, headers=_PAGE_HEADERS)


@lru_cache(maxsize=1)
def _document(app: Litestar) -> bytes:
    return msgspec.json.encode(openapi.document(app))


@lru_cache(maxsize=1)
def _page(app: Litestar) -> bytes:
    return page(msgspec.json.decode(_document(app))).encode()


router = Router("/", route_handlers=[show_document, show_page])
