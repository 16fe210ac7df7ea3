"""``/webhooks``: endpoints, what was sent to them, and how callbacks are signed."""

import base64
import binascii
import re
from typing import Annotated, Any, Literal

from litestar import Request, Response, Router, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from api.openapi import Answer, described
from api.presentation import attempt_view, delivery_view, left_out, refuse, webhook_view
from api.reads import Reads
from api.shapes import SigningSecret
from shared.contract.webhooks import DeliveryPage, EndpointPage, EndpointView, WebhookDeliveryView
from shared.domain.access import OWNERSHIP
from shared.domain.models import etag
from shared.domain.problems import DeliveryNotFound, InvalidQuery, WebhookNotFound
from shared.domain.rights import Principal, authorise, is_allowed, scope
from shared.encryption.keyring import Keyring
from shared.encryption.sealing import Binding, UnreadableField, open_text, seal_text
from shared.outbox.webhook import new_secret
from shared.store import outbox, webhooks
from shared.store.rows import AnyRow, fields_of

_Request = Request[Principal, Any, Any]
_Limit = Annotated[int, QueryParameter(ge=1, le=200)]
_Status = Literal["pending", "succeeded", "failed"]
_TAGS = ["webhooks"]
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@get(
    "/webhooks",
    operation_class=described(
        {200: Answer(shape=EndpointPage, text="A page of endpoints; `next_cursor` leads to the next one.")},
        problems=("not_permitted",),
    ),
    summary="List endpoints",
    tags=_TAGS,
)
async def list_webhooks(
    request: _Request,
    reads: NamedDependency[Reads],
    keyring: NamedDependency[Keyring],
    limit: _Limit = 50,
    cursor: FromQuery[str | None] = None,
) -> EndpointPage:
    """Oldest first. A team's are listed for its admins too."""
    rows = await reads.rows(
        webhooks.page(
            limit=limit + 1,
            after_id=None if cursor is None else _id_of(cursor),
            visible=scope(request.user, "webhook.read"),
        )
    )
    next_cursor = _cursor_of(rows[limit - 1].webhook_id) if len(rows) > limit else None
    return EndpointPage(data=[webhook_view(keyring, row, left_out) for row in rows[:limit]], next_cursor=next_cursor)


@get(
    "/webhooks/{webhook_id:str}",
    operation_class=described(
        {
            200: Answer(
                shape=EndpointView, text="The endpoint, and how calls to it go.", headers={"ETag": "Of the endpoint."}
            )
        },
        problems=("webhook_not_found",),
    ),
    summary="Show an endpoint",
    tags=_TAGS,
)
async def show_webhook(
    request: _Request, webhook_id: FromPath[str], reads: NamedDependency[Reads], keyring: NamedDependency[Keyring]
) -> Response[EndpointView]:
    """With its `ETag`, and how calls to it go. What may be a token in its URL shows as `***`."""
    row = await webhook_row(reads, request.user, webhook_id, "webhook.read")
    return Response(webhook_view(keyring, row, refuse), headers={"ETag": etag(fields_of(row))})


@get(
    "/webhooks/{webhook_id:str}/deliveries",
    operation_class=described(
        {200: Answer(shape=DeliveryPage, text="A page of deliveries; `next_cursor` leads to the next one.")},
        problems=("webhook_not_found",),
    ),
    summary="List what was sent to an endpoint",
    tags=_TAGS,
)
async def list_deliveries(
    request: _Request,
    webhook_id: FromPath[str],
    reads: NamedDependency[Reads],
    status: FromQuery[_Status | None] = None,
    limit: _Limit = 50,
    cursor: FromQuery[str | None] = None,
) -> DeliveryPage:
    """Newest first."""
    await webhook_row(reads, request.user, webhook_id, "delivery.read")
    before_id = None if cursor is None else _id_of(cursor)
    rows = await reads.rows(outbox.of_webhook(webhook_id, limit=limit + 1, before_id=before_id, status=status))
    next_cursor = _cursor_of(rows[limit - 1].delivery_id) if len(rows) > limit else None
    return DeliveryPage(data=[delivery_view(row) for row in rows[:limit]], next_cursor=next_cursor)


@get(
    "/webhooks/{webhook_id:str}/deliveries/{delivery_id:str}",
    operation_class=described(
        {200: Answer(shape=WebhookDeliveryView, text="The delivery.")},
        problems=("webhook_not_found", "delivery_not_found"),
    ),
    summary="Show a delivery and every attempt",
    tags=_TAGS,
)
async def show_delivery(
    request: _Request, webhook_id: FromPath[str], delivery_id: FromPath[str], reads: NamedDependency[Reads]
) -> WebhookDeliveryView:
    """When it was tried, what came back, how long it took, and the beginning of the answer."""
    row = await delivery_row(reads, request.user, webhook_id, delivery_id)
    attempts = await reads.rows(outbox.attempts_of(delivery_id))
    return delivery_view(row, [attempt_view(attempt) for attempt in attempts])


@get(
    "/webhooks/secret",
    operation_class=described(
        {200: Answer(shape=SigningSecret, text="The caller's own secret.")},
        problems=("not_permitted",),
    ),
    summary="Show the secret that signs your callbacks",
    tags=_TAGS,
)
async def show_secret(
    request: _Request, reads: NamedDependency[Reads], keyring: NamedDependency[Keyring]
) -> dict[str, str]:
    """A Standard Webhooks secret, made once for each user. Verify `webhook-signature` with it."""
    authorise(request.user, "webhook_secret.read")
    return {"secret": await _secret(request.user.user_id, reads, keyring)}


async def _secret(user_id: str, reads: Reads, keyring: Keyring) -> str:
    """Made when it is first asked for; of several that ask at the same time, the first one's stays."""
    binding = Binding("signing_secret", user_id)
    row = await reads.row(outbox.signing_secret_of(user_id))
    if row is None:
        await reads.write(outbox.add_signing_secret(user_id, seal_text(keyring, binding, new_secret(), "secret")))
        return await _secret(user_id, reads, keyring)
    try:
        return open_text(keyring, binding, row.secret, "secret")
    except UnreadableField as unreadable:
        refuse(unreadable)


async def delivery_row(reads: Reads, principal: Principal, webhook_id: str, delivery_id: str) -> AnyRow:
    """Raises WebhookNotFound, DeliveryNotFound."""
    await webhook_row(reads, principal, webhook_id, "delivery.read")
    row = await reads.row(outbox.one_of_webhook(webhook_id, delivery_id)) if _UUID.fullmatch(delivery_id) else None
    if row is None:
        raise DeliveryNotFound(delivery_id)
    return row


async def webhook_row(reads: Reads, principal: Principal, webhook_id: str, operation: str) -> AnyRow:
    """Raises WebhookNotFound, also where the endpoint is somebody else's."""
    row = await reads.row(webhooks.with_health(webhook_id)) if _UUID.fullmatch(webhook_id) else None
    if row is None or not is_allowed(principal, operation, OWNERSHIP["webhook"](row)):
        raise WebhookNotFound(webhook_id)
    return row


def _cursor_of(object_id: str) -> str:
    return base64.urlsafe_b64encode(object_id.encode()).decode().rstrip("=")


def _id_of(cursor: str) -> str:
    """Raises InvalidQuery."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        text = ""
    if not _UUID.fullmatch(text):
        raise InvalidQuery("cursor", "is not one that a page gave out")
    return text


router = Router("/", route_handlers=[list_webhooks, show_webhook, list_deliveries, show_delivery, show_secret])
