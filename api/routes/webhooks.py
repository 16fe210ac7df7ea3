"""``/webhooks``: registering endpoints, and what may be done with them."""

from datetime import datetime
from typing import Any

import msgspec
from litestar import Request, Response, Router, delete, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from api.headers import expecting
from api.lookups import Judge
from api.openapi import change, submission
from api.reads import Reads
from api.routes.bodies import json_body
from api.routes.webhook_reads import delivery_row
from api.shapes import WebhookDeleted, WebhookReplayed, WebhookRow
from api.shown_once import shown_once
from api.submission import Asked, Submitter
from shared.contract.webhooks import (
    NewWebhook,
    ReplayRequest,
    WebhookChange,
    decode_new_webhook,
    decode_no_body,
    decode_replay,
    decode_webhook_change,
)
from shared.domain.rights import Principal, authorise
from shared.domain.webhooks import (
    OBJECT_TYPE,
    CreateWebhook,
    DeleteWebhook,
    DisableWebhook,
    EnableWebhook,
    ReplayWebhook,
    RotateSecret,
    SendTest,
    UpdateWebhook,
)
from shared.encryption.keyring import Keyring
from shared.encryption.sealing import Binding, seal_text
from shared.outbox.webhook import new_secret
from shared.runtime.clock import new_id

_Request = Request[Principal, Any, Any]
_Submitter = NamedDependency[Submitter]
_TAGS = ["webhooks"]
_OF_ONE = ("webhook_not_found",)
_on_one = change(None, WebhookRow, _OF_ONE)


@post(
    "/webhooks",
    opt={"operation": "webhook.create"},
    status_code=202,
    operation_class=submission(NewWebhook, WebhookRow, ()),
    summary="Register an endpoint",
    tags=_TAGS,
)
async def new_webhook(request: _Request, submitter: _Submitter, judge: NamedDependency[Judge]) -> Response[Any]:
    """The answer, whether 200 or 202, holds the endpoint's `secret`: it is shown this once and never again."""
    authorise(request.user, "webhook.create")
    body = decode_new_webhook(await json_body(request))
    await judge.check(body.url, "url")
    webhook_id, secret = new_id(), new_secret()
    command = CreateWebhook(
        webhook_id=webhook_id,
        url=_sealed(submitter.keyring, webhook_id, body.url, "url"),
        event_types=body.event_types,
        team_id=body.team_id,
        description=body.description,
        enabled=body.enabled,
        secret=_sealed(submitter.keyring, webhook_id, secret, "secret"),
    )
    asked = Asked(operation="webhook.create", command=command, body=body, names_object=False)
    return shown_once(await submitter.submit(request, asked), secret=secret)


@patch(
    "/webhooks/{webhook_id:str}",
    opt={"operation": "webhook.update"},
    status_code=202,
    operation_class=change(WebhookChange, WebhookRow, _OF_ONE),
    summary="Change an endpoint",
    tags=_TAGS,
)
async def patch_webhook(
    request: _Request, webhook_id: FromPath[str], submitter: _Submitter, judge: NamedDependency[Judge]
) -> Response[Any]:
    """Changes what is named, and nothing else. The team and the secret stay."""
    authorise(request.user, "webhook.update")
    body = decode_webhook_change(await json_body(request))
    url: str | None = None
    if not isinstance(body.url, msgspec.UnsetType):
        await judge.check(body.url, "url")
        url = _sealed(submitter.keyring, webhook_id, body.url, "url")
    command = UpdateWebhook(
        webhook_id=webhook_id,
        url=url,
        event_types=None if isinstance(body.event_types, msgspec.UnsetType) else body.event_types,
        description=None if isinstance(body.description, msgspec.UnsetType) else body.description or "",
    )
    command = expecting(request, command)
    asked = Asked(
        operation="webhook.update", command=command, body=(webhook_id, body, command.if_match), names_object=True
    )
    return await submitter.submit(request, asked)


@delete(
    "/webhooks/{webhook_id:str}",
    opt={"operation": "webhook.delete"},
    status_code=202,
    operation_class=change(None, WebhookDeleted, _OF_ONE),
    summary="Remove an endpoint",
    tags=_TAGS,
)
async def delete_webhook(request: _Request, webhook_id: FromPath[str], submitter: _Submitter) -> Response[Any]:
    """What still waits for it ends as failed."""
    return await submitter.submit_change(request, "webhook.delete", DeleteWebhook(webhook_id=webhook_id))


@post(
    "/webhooks/{webhook_id:str}/rotate",
    opt={"operation": "webhook.rotate_secret"},
    status_code=202,
    operation_class=_on_one,
    summary="Replace an endpoint's secret",
    tags=_TAGS,
)
async def rotate_webhook(request: _Request, webhook_id: FromPath[str], submitter: _Submitter) -> Response[Any]:
    """The answer holds the new `secret`, this once. For 24 hours every call is signed with both."""
    decode_no_body(await json_body(request))
    secret = new_secret()
    sealed = _sealed(submitter.keyring, webhook_id, secret, "secret")
    command = expecting(request, RotateSecret(webhook_id=webhook_id, secret=sealed))
    asked = Asked(
        operation="webhook.rotate_secret", command=command, body=(webhook_id, command.if_match), names_object=True
    )
    return shown_once(await submitter.submit(request, asked), secret=secret)


@post(
    "/webhooks/{webhook_id:str}/enable",
    opt={"operation": "webhook.enable"},
    status_code=202,
    operation_class=_on_one,
    summary="Switch an endpoint on",
    tags=_TAGS,
)
async def enable_webhook(request: _Request, webhook_id: FromPath[str], submitter: _Submitter) -> Response[Any]:
    """What it missed meanwhile comes with `POST /webhooks/{webhook_id}/replay`."""
    decode_no_body(await json_body(request))
    return await submitter.submit_change(request, "webhook.enable", EnableWebhook(webhook_id=webhook_id))


@post(
    "/webhooks/{webhook_id:str}/disable",
    opt={"operation": "webhook.disable"},
    status_code=202,
    operation_class=_on_one,
    summary="Switch an endpoint off",
    tags=_TAGS,
)
async def disable_webhook(request: _Request, webhook_id: FromPath[str], submitter: _Submitter) -> Response[Any]:
    """Nothing is sent, not even what waits already; all of it is kept as failed, for a replay."""
    decode_no_body(await json_body(request))
    return await submitter.submit_change(request, "webhook.disable", DisableWebhook(webhook_id=webhook_id))


@post(
    "/webhooks/{webhook_id:str}/test",
    opt={"operation": "webhook.test"},
    status_code=202,
    operation_class=_on_one,
    summary="Send a test event",
    tags=_TAGS,
)
async def test_webhook(request: _Request, webhook_id: FromPath[str], submitter: _Submitter) -> Response[Any]:
    """`webhook.test` comes to this endpoint alone, also while it is disabled."""
    decode_no_body(await json_body(request))
    return await submitter.submit_change(request, "webhook.test", SendTest(webhook_id=webhook_id))


@post(
    "/webhooks/{webhook_id:str}/replay",
    opt={"operation": "webhook.replay"},
    status_code=202,
    operation_class=change(ReplayRequest, WebhookReplayed, (*_OF_ONE, "delivery_not_found")),
    summary="Send deliveries again",
    tags=_TAGS,
)
async def replay_webhook(
    request: _Request, webhook_id: FromPath[str], submitter: _Submitter, reads: NamedDependency[Reads]
) -> Response[Any]:
    """One delivery, or all that failed since a time: the same `webhook-id`, a fresh timestamp and schedule."""
    authorise(request.user, "webhook.replay")
    body = decode_replay(await json_body(request))
    if body.delivery_id is not None:
        await delivery_row(reads, request.user, webhook_id, body.delivery_id)
    since: datetime | None = body.since
    return await submitter.submit_change(
        request, "webhook.replay", ReplayWebhook(webhook_id=webhook_id, delivery_id=body.delivery_id, since=since)
    )


def _sealed(keyring: Keyring, webhook_id: str, text: str, path: str) -> str:
    return seal_text(keyring, Binding(OBJECT_TYPE, webhook_id), text, path)


router = Router(
    "/",
    route_handlers=[
        new_webhook,
        patch_webhook,
        delete_webhook,
        rotate_webhook,
        enable_webhook,
        disable_webhook,
        test_webhook,
        replay_webhook,
    ],
)
