"""The one translation from an exception to a response."""

import re
from typing import Any, cast

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from shared.contract.errors import CATALOGUE, CONTENT_TYPE, body
from shared.domain.problems import InvalidQuery, Problem, Refusal, Unavailable
from shared.runtime.clock import new_id
from shared.store.engines import is_transient

# LiteLLM's clients look for the text in `detail.error` on these routes (contract 1.4).
_DETAIL_OBJECT_PATHS = re.compile(r"/(?:v1/)?model/info$")
_RETRY_AFTER_S = {"unavailable": 1, "too_many_waiters": 2}
_BY_STATUS = {
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
    429: "too_many_requests",
}
_TEXTS = {
    "not_found": "Not Found",
    "method_not_allowed": "Method Not Allowed",
    "internal_error": "Internal server error",
}

_log = structlog.get_logger(__name__)
_Request = Request[Any, Any, Any]


def on_refusal(request: _Request, refusal: Refusal) -> Response[dict[str, Any]]:
    return answer(request, refusal.problem())


def on_http_exception(request: _Request, error: HTTPException) -> Response[dict[str, Any]]:
    """What Litestar itself refuses: routing, methods, sizes, query parameters."""
    if isinstance(error, ValidationException):
        return answer(request, _query_problem(error))
    code = _BY_STATUS.get(error.status_code, "invalid_request" if error.status_code < 500 else "internal_error")
    response = answer(request, Problem(code=code, message=_TEXTS.get(code, CATALOGUE[code].title)))
    if code == "too_many_requests":
        response.headers.update(error.headers or {})
    if code == "method_not_allowed":
        response.set_header("Allow", ", ".join(_allowed_methods(request)))
    return response


def on_exception(request: _Request, error: Exception) -> Response[dict[str, Any]]:
    """A bug, unless it is a database that is away. The answer says nothing of the inside; the log does."""
    if is_transient(error):
        return answer(request, Unavailable().problem())
    request_id = new_id()
    _log.error("request.failed", request_id=request_id, path=request.url.path, exc_info=error)
    return answer(request, Problem(code="internal_error", message=_TEXTS["internal_error"]), request_id=request_id)


def answer(
    request: _Request, problem: Problem, *, request_id: str | None = None, headers: dict[str, str] | None = None
) -> Response[dict[str, Any]]:
    kind = CATALOGUE[problem.code]
    headers = dict(headers or {})
    if problem.code in _RETRY_AFTER_S:
        headers["Retry-After"] = str(_RETRY_AFTER_S[problem.code])
    if kind.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    detail_object = _DETAIL_OBJECT_PATHS.search(request.url.path) is not None
    return Response(
        body(problem, request_id=request_id, detail_object=detail_object),
        status_code=kind.status,
        media_type=CONTENT_TYPE,
        headers=headers,
    )


def _allowed_methods(request: _Request) -> list[str]:
    """RFC 9110 demands to name them; Litestar does not."""
    asked = request.url.path.rstrip("/").split("/")
    methods: set[str] = set()
    for route in request.app.routes:
        parts = route.path_format.rstrip("/").split("/")
        if len(parts) == len(asked) and all(p.startswith("{") or p == a for p, a in zip(parts, asked, strict=True)):
            methods.update(route.methods)
    return sorted(methods)


def _query_problem(error: ValidationException) -> Problem:
    extra = cast("list[dict[str, Any]]", error.extra or [])
    first = extra[0] if extra else {}
    return InvalidQuery(first.get("key", "query"), first.get("message", "is not valid")).problem()
