"""What changes to a webhook endpoint mean: who is called, about what, and with which secrets the calls are signed."""

from datetime import datetime, timedelta
from typing import Any, Final, Literal

import msgspec

from shared.domain import team_models
from shared.domain.decision import Change, Context, Decision, Document, Event, ObjectRef, Replay, State
from shared.domain.preconditions import check_expected, require_expected
from shared.domain.problems import UnknownTeam, WebhookNotFound
from shared.domain.rights import Ownership
from shared.domain.tasks import Lines

OBJECT_TYPE: Final = "webhook"
SECRET_OVERLAP: Final = timedelta(hours=24)
"""For so long after a rotation every call is signed with both secrets."""

Reason = Literal["asked", "gone", "failing"]
"""Why an endpoint is off: somebody asked for it, it answered 410, or it failed for as long as the operator bears."""


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """One registered destination. ``url`` and both secrets are sealed; ``version`` counts its changes from 1."""

    webhook_id: str
    url: str
    event_types: tuple[str, ...]
    team_id: str | None = None
    description: str | None = None
    enabled: bool
    disabled_reason: Reason | None = None
    secret: str
    previous_secret: str | None = None
    overlap_until: datetime | None = None
    version: int
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str


class CreateWebhook(msgspec.Struct, frozen=True, kw_only=True, tag="webhook.create", tag_field="operation"):
    """Its id and its secret were drawn when it was accepted; the secret was shown then and never is again."""

    schema: int = 1
    webhook_id: str
    url: str
    event_types: tuple[str, ...]
    team_id: str | None = None
    description: str | None = None
    enabled: bool = True
    secret: str


class UpdateWebhook(msgspec.Struct, frozen=True, kw_only=True, tag="webhook.update", tag_field="operation"):
    """Change what is named; ``None`` leaves as it is, and an empty description takes it away."""

    schema: int = 1
    webhook_id: str
    url: str | None = None
    event_types: tuple[str, ...] | None = None
    description: str | None = None
    if_match: str | None = None


class DeleteWebhook(msgspec.Struct, frozen=True, kw_only=True, tag="webhook.delete", tag_field="operation"):
    schema: int = 1
    webhook_id: str
    if_match: str | None = None


class RotateSecret(msgspec.Struct, frozen=True, kw_only=True, tag="webhook.rotate_secret", tag_field="operation"):
    schema: int = 1
    webhook_id: str
    secret: str
    if_match: str | None = None


class EnableWebhook(msgspec.Struct, frozen=True, kw_only=True, tag="webhook.enable", tag_field="operation"):
    schema: int = 1
    webhook_id: str
    if_match: str | None = None


class DisableWebhook(msgspec.Struct, frozen=True, kw_only=True, tag="webhook.disable", tag_field="operation"):
    """``seen_version``: only if it is still the endpoint that failed; a changed one has a new chance."""

    schema: int = 1
    webhook_id: str
    reason: Reason = "asked"
    seen_version: int | None = None
    if_match: str | None = None


class SendTest(msgspec.Struct, frozen=True, kw_only=True, tag="webhook.test", tag_field="operation"):
    """Send one event to this endpoint alone, whatever it listens to and even while it is disabled."""

    schema: int = 1
    webhook_id: str
    if_match: str | None = None


class ReplayWebhook(msgspec.Struct, frozen=True, kw_only=True, tag="webhook.replay", tag_field="operation"):
    """Send again: one delivery, whatever became of it, or all that failed since a time."""

    schema: int = 1
    webhook_id: str
    delivery_id: str | None = None
    since: datetime | None = None
    if_match: str | None = None


ChangeOfOne = UpdateWebhook | DeleteWebhook | RotateSecret | EnableWebhook | DisableWebhook | SendTest | ReplayWebhook


def ref(webhook_id: str) -> ObjectRef:
    return ObjectRef(OBJECT_TYPE, webhook_id)


def touched(command: CreateWebhook | ChangeOfOne) -> tuple[ObjectRef, ...]:
    return (ref(command.webhook_id), *needed(command))


def needed(command: CreateWebhook | ChangeOfOne) -> tuple[ObjectRef, ...]:
    """The team whose events alone the endpoint is told of."""
    if isinstance(command, CreateWebhook) and command.team_id is not None:
        return (team_models.team_ref(command.team_id),)
    return ()


def named(command: CreateWebhook) -> tuple[Ownership, ...]:
    return (Ownership(team_id=command.team_id),)


# --- known to be impossible when accepting ---


def check_create(command: CreateWebhook, lines: Lines, _context: Context) -> None:
    """Raises UnknownTeam. The id is new."""
    if not all(lines[team].will_exist() for team in needed(command)):
        raise UnknownTeam(str(command.team_id), "team_id")


def check_change(command: ChangeOfOne, lines: Lines, _context: Context) -> None:
    """Raises WebhookNotFound, PreconditionFailed."""
    line = lines[ref(command.webhook_id)]
    if not line.will_exist():
        raise WebhookNotFound(command.webhook_id)
    check_expected(command, line)


# --- what they mean ---


def create(state: State, command: CreateWebhook, context: Context) -> Decision:
    """Raises UnknownTeam."""
    if any(state[team] is None for team in needed(command)):
        raise UnknownTeam(str(command.team_id), "team_id")
    webhook = Webhook(
        webhook_id=command.webhook_id,
        url=command.url,
        event_types=command.event_types,
        team_id=command.team_id,
        description=command.description,
        enabled=command.enabled,
        disabled_reason=None if command.enabled else "asked",
        secret=command.secret,
        version=1,
        created_at=context.now,
        created_by=context.principal.user_id,
        updated_at=context.now,
        updated_by=context.principal.user_id,
    )
    return _decided("created", None, webhook, context)


def update(state: State, command: UpdateWebhook, context: Context) -> Decision:
    """Raises WebhookNotFound, PreconditionFailed."""
    before = _existing(state, command)
    given = {"url": command.url, "event_types": command.event_types, "description": command.description}
    named = {name: value or None for name, value in given.items() if value is not None}
    fields = {name: value for name, value in named.items() if value != getattr(before, name)}
    return _changed("updated", before, fields, context)


def delete(state: State, command: DeleteWebhook, context: Context) -> Decision:
    """Raises WebhookNotFound, PreconditionFailed."""
    before = _existing(state, command)
    return Decision(
        objects={ref(before.webhook_id): None},
        changes=(_change("deleted", before, None),),
        events=(_event("webhook.deleted", before, context),),
        result={"webhook_id": before.webhook_id, "deleted": True},
    )


def rotate_secret(state: State, command: RotateSecret, context: Context) -> Decision:
    """The secret of before stays valid for a while. Raises WebhookNotFound, PreconditionFailed."""
    before = _existing(state, command)
    fields = {
        "secret": command.secret,
        "previous_secret": before.secret,
        "overlap_until": context.now + SECRET_OVERLAP,
    }
    return _changed("secret_rotated", before, fields, context)


def enable(state: State, command: EnableWebhook, context: Context) -> Decision:
    """Raises WebhookNotFound, PreconditionFailed."""
    before = _existing(state, command)
    return _changed("enabled", before, {} if before.enabled else {"enabled": True, "disabled_reason": None}, context)


def disable(state: State, command: DisableWebhook, context: Context) -> Decision:
    """Raises WebhookNotFound, PreconditionFailed."""
    before = _existing(state, command)
    is_other = command.seen_version not in (None, before.version)
    fields = {} if is_other or not before.enabled else {"enabled": False, "disabled_reason": command.reason}
    return _changed("disabled", before, fields, context)


def test(state: State, command: SendTest, context: Context) -> Decision:
    """Raises WebhookNotFound, PreconditionFailed."""
    webhook = _existing(state, command)
    event = msgspec.structs.replace(_event("webhook.test", webhook, context), only_to=webhook.webhook_id)
    return Decision(
        objects={},
        changes=(_change("tested", webhook, webhook),),
        events=(event,),
        result=document(webhook),
    )


def replay(state: State, command: ReplayWebhook, context: Context) -> Decision:  # noqa: ARG001
    """Raises WebhookNotFound, PreconditionFailed."""
    webhook = _existing(state, command)
    asked = Replay(webhook_id=webhook.webhook_id, delivery_id=command.delivery_id, since=command.since)
    what: Document = {"delivery_id": command.delivery_id, "since": msgspec.to_builtins(command.since)}
    return Decision(
        objects={},
        changes=(
            Change(action="replayed", object_type=OBJECT_TYPE, object_id=webhook.webhook_id, before=None, after=what),
        ),
        events=(),
        result={"webhook_id": webhook.webhook_id, **what},
        replays=(asked,),
    )


def document(webhook: Webhook) -> Document:
    """What a task's result keeps of it: no secret, sealed or not; the URL is sealed."""
    return {name: value for name, value in _whole(webhook).items() if name not in ("secret", "previous_secret")}


def _whole(webhook: Webhook) -> Document:
    """As JSON carries it: the audit log knows no tuples."""
    return {**msgspec.to_builtins(webhook), "event_types": list(webhook.event_types)}


def _existing(state: State, command: ChangeOfOne) -> Webhook:
    webhook: Webhook | None = state[ref(command.webhook_id)]
    if webhook is None:
        raise WebhookNotFound(command.webhook_id)
    require_expected(command, webhook)
    return webhook


def _changed(action: str, before: Webhook, fields: dict[str, Any], context: Context) -> Decision:
    if not fields:
        return Decision(objects={}, changes=(), events=(), result=document(before))
    after = msgspec.structs.replace(
        before,
        **fields,
        version=before.version + 1,
        updated_at=context.now,
        updated_by=context.principal.user_id,
    )
    return _decided(action, before, after, context)


def _decided(action: str, before: Webhook | None, after: Webhook, context: Context) -> Decision:
    return Decision(
        objects={ref(after.webhook_id): after},
        changes=(_change(action, before, after),),
        events=(_event(_EVENTS[action], after, context),),
        result=document(after),
    )


_EVENTS: Final = {
    "created": "webhook.created",
    "updated": "webhook.updated",
    "secret_rotated": "webhook.updated",
    "enabled": "webhook.enabled",
    "disabled": "webhook.disabled",
}


def _change(action: str, before: Webhook | None, after: Webhook | None) -> Change:
    return Change(
        action=action,
        object_type=OBJECT_TYPE,
        object_id=(after or before).webhook_id,  # pyright: ignore[reportOptionalMemberAccess]
        before=None if before is None else _whole(before),
        after=None if after is None else _whole(after),
    )


def _event(event_type: str, webhook: Webhook, context: Context) -> Event:
    data: Document = {
        "endpoint_id": webhook.webhook_id,
        "version": webhook.version,
        "task_id": context.task_id,
        "changed_by": context.principal.user_id,
    }
    if webhook.description is not None:
        data["description"] = webhook.description
    if webhook.disabled_reason is not None:
        data["reason"] = webhook.disabled_reason
    if webhook.team_id is not None:
        data["team_id"] = webhook.team_id
    return Event(type=event_type, object_type=OBJECT_TYPE, object_id=webhook.webhook_id, data=data)
