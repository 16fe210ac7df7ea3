"""The request headers that shape a submission: preferences, idempotency, callback, and where it came from."""

import re
from typing import Any, TypeVar

import msgspec
from litestar import Request

from api.auth import Bearer
from shared.domain.problems import InvalidHeader
from shared.domain.rights import Principal
from shared.runtime.clock import new_id
from shared.store.tasks import Origin

C = TypeVar("C", bound=msgspec.Struct)

_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_PREFERENCE = re.compile(r"\s*([A-Za-z-]+)\s*(?:=\s*\"?([^\";,]*)\"?)?")
_ENTITY_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]{1,100}"')
_MAX_CHANGED_BY = 255


class Preference(msgspec.Struct, frozen=True):
    """What ``Prefer`` (RFC 7240) asks for. ``wait_s`` is None if the client says nothing about it."""

    wait_s: float | None = None
    is_async: bool = False

    @property
    def applied(self) -> str | None:
        """The value of ``Preference-Applied``."""
        if self.wait_s is not None:
            return f"wait={self.wait_s:g}"
        return "respond-async" if self.is_async else None


def preference(value: str | None, max_wait_s: float) -> Preference:
    """Unknown preferences, and waits that are no number, are ignored, as RFC 7240 demands; long waits are capped."""
    if not value:
        return Preference()
    wait_s: float | None = None
    is_async = False
    for part in value.split(","):
        found = _PREFERENCE.match(part)
        name = found.group(1).lower() if found else ""
        if name == "respond-async":
            is_async = True
        elif name == "wait" and found and (found.group(2) or "").strip().isdecimal():
            wait_s = min(float(found.group(2)), max_wait_s)
    return Preference(wait_s, is_async)


def idempotency_key(value: str | None) -> str | None:
    """Raises InvalidHeader."""
    if value is None:
        return None
    key = value.strip().strip('"')
    if not _IDEMPOTENCY_KEY.fullmatch(key):
        raise InvalidHeader("Idempotency-Key", "must be 1 to 255 printable ASCII characters")
    return key


def if_match(value: str | None) -> str | None:
    """The one entity tag of ``If-Match``, or ``*``. Raises InvalidHeader."""
    if value is None:
        return None
    tag = value.strip()
    if tag != "*" and not _ENTITY_TAG.fullmatch(tag):
        raise InvalidHeader("If-Match", "must be one entity tag as an `ETag` header gave it, or *")
    return tag


def expecting(request: Request[Principal, Any, Any], command: C, objects: int = 1) -> C:
    """The command, with the version of its object that the client expects. Raises InvalidHeader."""
    tag = if_match(request.headers.get("if-match"))
    if objects != 1 and tag not in (None, "*"):
        raise InvalidHeader("If-Match", "is about one object, and the request names several")
    return msgspec.structs.replace(command, if_match=tag)


def origin(request: Request[Principal, Any, Any]) -> Origin:
    """``litellm-changed-by`` of those who are not trusted to act for others is ignored, as LiteLLM does."""
    given = request.headers.get("x-request-id", "")
    bearer: Bearer = request.auth
    changed_by = request.headers.get("litellm-changed-by") if bearer.may_act_for(request.user) else None
    return Origin(
        request_id=given if _REQUEST_ID.fullmatch(given) else new_id(),
        source_address=request.client.host if request.client else None,
        changed_by=changed_by[:_MAX_CHANGED_BY] if changed_by else None,
    )
