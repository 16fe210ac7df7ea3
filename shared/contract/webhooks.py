"""Webhook endpoints and their deliveries on the wire."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from shared.contract.decoding import decode, unstorable
from shared.contract.events import EVENTS, is_pattern
from shared.contract.tasks import DeliveryAttemptView
from shared.domain.problems import FieldError, InvalidRequest

_Url = Annotated[str, Meta(min_length=1, max_length=2048, description="http or https, public, without a user name.")]
_EventTypes = Annotated[
    tuple[str, ...],
    Meta(min_length=1, max_length=50, description="Types such as `model.created`, `model.*`, or `*`."),
]
_Description = Annotated[str, Meta(max_length=500)]


class NewWebhook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /webhooks``. With ``team_id`` only events of that team are sent."""

    url: _Url
    event_types: _EventTypes
    team_id: Annotated[str, Meta(min_length=1, max_length=255)] | None = None
    description: _Description | None = None
    enabled: bool = True


class WebhookChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of ``PATCH /webhooks/{webhook_id}``: what is not named stays as it is; ``null`` takes a description away."""

    url: _Url | msgspec.UnsetType = msgspec.UNSET
    event_types: _EventTypes | msgspec.UnsetType = msgspec.UNSET
    description: _Description | msgspec.UnsetType | None = msgspec.UNSET


class _NoBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``{}``, or nothing at all."""


class ReplayRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /webhooks/{webhook_id}/replay``: one of the two."""

    since: Annotated[datetime, Meta(tz=True, description="Everything that failed since then is sent again.")] | None = (
        None
    )
    delivery_id: Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")] | None = None


class HealthView(msgspec.Struct, frozen=True, kw_only=True):
    """How calls go. While ``paused_until`` is ahead, nothing is sent: the endpoint failed too often in a row."""

    consecutive_failures: int = 0
    failing_since: str | None = None
    paused_until: str | None = None
    last_success_at: str | None = None


class EndpointView(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint. What may be a token in its URL is shown as ``***``; its secret is never shown."""

    webhook_id: str
    url: str
    event_types: tuple[str, ...]
    team_id: str | None
    description: str | None
    enabled: bool
    disabled_reason: str | None
    overlap_until: str | None
    version: int
    created_at: str
    created_by: str
    updated_at: str
    updated_by: str
    health: HealthView


class EndpointPage(msgspec.Struct, frozen=True, kw_only=True):
    data: list[EndpointView]
    next_cursor: str | None


class WebhookDeliveryView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event on its way to one endpoint. ``webhook_id`` is the header of every attempt; it is the event's id."""

    delivery_id: str
    webhook_id: str
    event_type: str
    occurred_at: str
    status: str
    attempt: int
    next_attempt_at: str | None
    finished_at: str | None
    attempts: list[DeliveryAttemptView] | None = None


class DeliveryPage(msgspec.Struct, frozen=True, kw_only=True):
    data: list[WebhookDeliveryView]
    next_cursor: str | None


_new_webhook = msgspec.json.Decoder(NewWebhook)
_change = msgspec.json.Decoder(WebhookChange)
_no_body = msgspec.json.Decoder(_NoBody)
_replay = msgspec.json.Decoder(ReplayRequest)


def decode_new_webhook(body: bytes) -> NewWebhook:
    """Raises InvalidRequest."""
    request = decode(_new_webhook, body)
    _refuse([*_wrong_types(request.event_types), *unstorable(request.url, "url")])
    _refuse([*unstorable(request.team_id, "team_id"), *unstorable(request.description, "description")])
    return msgspec.structs.replace(request, event_types=_in_order(request.event_types))


def decode_webhook_change(body: bytes) -> WebhookChange:
    """Raises InvalidRequest."""
    request = decode(_change, body)
    errors = list(unstorable(request.url, "url")) + list(unstorable(request.description, "description"))
    if not isinstance(request.event_types, msgspec.UnsetType):
        errors += _wrong_types(request.event_types)
        request = msgspec.structs.replace(request, event_types=_in_order(request.event_types))
    _refuse(errors)
    return request


def decode_no_body(body: bytes) -> None:
    """Raises InvalidRequest."""
    decode(_no_body, body)


def decode_replay(body: bytes) -> ReplayRequest:
    """Raises InvalidRequest."""
    request = decode(_replay, body)
    if (request.since is None) == (request.delivery_id is None):
        raise InvalidRequest(FieldError("since", "give either `since` or `delivery_id`"))
    return request


def as_is(document: dict[str, Any]) -> dict[str, Any]:
    """A task's result; its URL has been opened and masked already."""
    return document


def _wrong_types(patterns: tuple[str, ...]) -> list[FieldError]:
    known = ", ".join(sorted({name.partition(".")[0] + ".*" for name in EVENTS}))
    return [
        FieldError(f"event_types[{i}]", f"is no event type; there are *, {known} and the types in them")
        for i, pattern in enumerate(patterns)
        if not is_pattern(pattern)
    ]


def _in_order(patterns: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(set(patterns)))


def _refuse(errors: list[FieldError]) -> None:
    if errors:
        raise InvalidRequest(*errors)
