"""From stored rows to what a client is shown: values opened, secrets gone."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, NoReturn

import msgspec

from api.unreadable import report
from shared.audit.entries import describe
from shared.contract import credentials as credential_contract
from shared.contract import models as model_contract
from shared.contract.audit import AuditEntryView, table_name
from shared.contract.config_file import ConfigModel
from shared.contract.credentials import CredentialView
from shared.contract.models import FieldChange, ModelHistory, VersionView
from shared.contract.tasks import DeliveryAttemptView, DeliveryView, TaskView, WebhookView, problem_body
from shared.contract.webhooks import EndpointView, HealthView, WebhookDeliveryView
from shared.domain import webhooks
from shared.domain.credentials import Credential
from shared.domain.decision import Change
from shared.domain.differences import differences
from shared.domain.models import Model, document, etag
from shared.domain.problems import UnreadableSecret
from shared.domain.tasks import OPEN
from shared.encryption.documents import Document
from shared.encryption.keyring import Keyring
from shared.encryption.masking import GONE, without_gone, without_secrets
from shared.encryption.sealing import Binding, UnreadableField, open_document, open_text
from shared.encryption.urls import HIDDEN, shown_url
from shared.operations import OPERATIONS
from shared.store.models import ModelRevision
from shared.store.rows import AnyRow

_SEALED = "litellm_params"

Unreadable = Callable[[UnreadableField], None]
_COMPARED = ("litellm_params", "model_info", "team_id", "blocked")


def model_entry(keyring: Keyring, model: Model, unreadable: Unreadable) -> dict[str, Any]:
    """One element of ``/model/info``."""
    return model_contract.entry(_opened(keyring, "model", model.model_id, document(model), unreadable))


def credential_view(keyring: Keyring, credential: Credential, unreadable: Unreadable) -> CredentialView:
    """Its values are hidden, but opened all the same: a client shall know of one that no gateway could use."""
    binding = Binding("credential", credential.credential_name)
    values, fields = _readable(keyring, binding, "credential_values", credential.credential_values, unreadable)
    info = credential.credential_info
    return credential_contract.view(
        msgspec.structs.replace(
            credential,
            credential_values=values,
            credential_info={**info, "unreadable_fields": fields} if fields else info,
        )
    )


def config_entry(model: ConfigModel) -> dict[str, Any]:
    """A model of the configuration file in the same shape."""
    return {
        "model_name": model.model_name,
        "litellm_params": without_secrets(model.litellm_params),
        "model_info": {
            **model_contract.prices(model.litellm_params),
            **model.model_info,
            "id": model.model_id,
            "db_model": False,
            "blocked": False,
        },
    }


def history_view(keyring: Keyring, model_id: str, revisions: list[ModelRevision], limit: int) -> ModelHistory:
    """``revisions`` newest first, and one more than the limit where there are older ones, to compare the last with."""
    masked = [_masked_state(keyring, model_id, revision) for revision in revisions]
    older = [*masked, {}][1:]
    views = [
        VersionView(
            version=revision.version,
            operation=revision.operation,
            changed_at=instant(revision.changed_at),
            changed_by=revision.changed_by,
            task_id=revision.task_id,
            is_deletion=revision.state is None,
            changes=[FieldChange(field=name, before=a, after=b) for name, a, b in differences(before, after)],
        )
        for revision, before, after in zip(revisions, older, masked, strict=True)
    ]
    has_more = len(revisions) > limit
    return ModelHistory(
        model_id=model_id,
        data=views[:limit],
        next_before=revisions[limit - 1].revision if has_more else None,
    )


def _masked_state(keyring: Keyring, model_id: str, revision: ModelRevision) -> dict[str, Any]:
    change = Change(
        action=revision.operation, object_type="model", object_id=model_id, before=None, after=revision.state
    )
    _, after = describe(keyring, change)
    if after is None:
        return {}
    return {"model_name": model_contract.shown_name(after), **{name: after[name] for name in _COMPARED}}


def task_result(keyring: Keyring, row: AnyRow) -> dict[str, Any] | None:
    """What a succeeded task answers with, in LiteLLM's shape."""
    if row.result is None:
        return None
    opened = _opened(keyring, row.object_type, row.object_id, row.result, left_out)
    return OPERATIONS[row.operation].answer(opened)


def result_etag(row: AnyRow) -> str | None:
    """The entity tag of the object that a task left behind."""
    return etag(row.result) if row.result is not None and "version" in row.result else None


def task_view(keyring: Keyring, row: AnyRow, deliveries: Iterable[AnyRow] = ()) -> TaskView:
    is_put_off = row.status in OPEN and row.last_error is not None
    return TaskView(
        task_id=row.task_id,
        operation=row.operation,
        status=row.status,
        object_type=row.object_type,
        object_id=row.object_id,
        submitted_at=instant(row.submitted_at),
        started_at=_instant_or_none(row.started_at),
        finished_at=_instant_or_none(row.finished_at),
        attempt=row.attempt,
        next_attempt_at=instant(row.next_attempt_at) if is_put_off else None,
        cancel_requested_at=_instant_or_none(row.cancel_requested_at),
        retry_of=row.retry_of,
        last_error=row.last_error,
        progress=row.progress,
        result=task_result(keyring, row),
        error=problem_body(row.problem) if row.problem else None,
        submitted_by=row.submitted_by,
        webhook=_webhook(keyring, row, deliveries),
    )


def webhook_view(keyring: Keyring, row: AnyRow, on_unreadable: Unreadable) -> EndpointView:
    """An endpoint and how it fares; a row of ``store.webhooks.page`` or ``with_health``."""
    return EndpointView(
        webhook_id=row.webhook_id,
        url=_shown_url(keyring, row.webhook_id, row.url, on_unreadable),
        event_types=tuple(row.event_types),
        team_id=row.team_id,
        description=row.description,
        enabled=row.enabled,
        disabled_reason=row.disabled_reason,
        overlap_until=_instant_or_none(row.overlap_until),
        version=row.version,
        created_at=instant(row.created_at),
        created_by=row.created_by,
        updated_at=instant(row.updated_at),
        updated_by=row.updated_by,
        health=HealthView(
            consecutive_failures=row.consecutive_failures or 0,
            failing_since=_instant_or_none(row.failing_since),
            paused_until=_instant_or_none(row.paused_until),
            last_success_at=_instant_or_none(row.last_success_at),
        ),
    )


def delivery_view(row: AnyRow, attempts: list[DeliveryAttemptView] | None = None) -> WebhookDeliveryView:
    return WebhookDeliveryView(
        delivery_id=row.delivery_id,
        webhook_id=row.event_id,
        event_type=row.type,
        occurred_at=instant(row.occurred_at),
        status=row.status,
        attempt=row.attempt,
        next_attempt_at=instant(row.next_attempt_at) if row.status == "pending" else None,
        finished_at=_instant_or_none(row.finished_at),
        attempts=attempts,
    )


def audit_view(row: AnyRow) -> AuditEntryView:
    return AuditEntryView(
        id=row.entry_id,
        updated_at=instant(row.recorded_at),
        changed_by=row.changed_by or row.actor,
        changed_by_api_key=row.actor_key,
        action=row.action,
        table_name=table_name(row.object_type),
        object_id=row.object_id,
        before_value=row.before,
        updated_values=row.after,
        actor=row.actor,
        operation=row.operation,
        object_type=row.object_type,
        task_id=row.task_id,
        request_id=row.request_id,
        source_address=row.source_address,
        problem=row.problem,
        position=row.position,
        previous_hash=row.previous_hash,
        hash=row.hash,
    )


def instant(value: datetime) -> str:
    """RFC 3339 in UTC, with ``Z``."""
    return msgspec.to_builtins(value)


def _instant_or_none(value: datetime | None) -> str | None:
    return None if value is None else instant(value)


def refuse(unreadable: UnreadableField) -> NoReturn:
    """For reads of one thing: better no answer than one that a client would take for the whole."""
    report(unreadable)
    raise UnreadableSecret(str(unreadable), unreadable.field)


def left_out(unreadable: UnreadableField) -> None:
    """For lists and tasks, which one value must not take down: the entry comes without it and says so."""
    report(unreadable)


def _opened(
    keyring: Keyring, object_type: str, object_id: str, stored: dict[str, Any], on_unreadable: Unreadable
) -> dict[str, Any]:
    """The document with its secrets removed. What does not open is never passed on, not even as ciphertext."""
    if object_type == webhooks.OBJECT_TYPE and "url" in stored:
        return {**stored, "url": _shown_url(keyring, object_id, stored["url"], on_unreadable)}
    if _SEALED not in stored:
        return stored
    opened, fields = _readable(keyring, Binding(object_type, object_id), _SEALED, stored[_SEALED], on_unreadable)
    shown = {**stored, _SEALED: without_secrets(opened)}
    if fields:
        shown["model_info"] = {**stored.get("model_info", {}), "unreadable_fields": fields}
    return shown


def _readable(
    keyring: Keyring, binding: Binding, path: str, sealed: Document, on_unreadable: Unreadable
) -> tuple[Document, list[str]]:
    """What opens, and the fields that do not."""
    fields: list[str] = []

    def note(problem: UnreadableField) -> str:
        on_unreadable(problem)
        fields.append(problem.field)
        return GONE

    opened = open_document(keyring, binding, sealed, path, instead=note)
    return without_gone(opened) if fields else opened, fields


def _shown_url(keyring: Keyring, webhook_id: str, sealed: str, on_unreadable: Unreadable) -> str:
    """An endpoint's URL as it may be shown; ``***`` if it does not open."""
    try:
        return shown_url(open_text(keyring, Binding(webhooks.OBJECT_TYPE, webhook_id), sealed, "url"))
    except UnreadableField as unreadable:
        on_unreadable(unreadable)
        return HIDDEN


def _webhook(keyring: Keyring, row: AnyRow, deliveries: Iterable[AnyRow]) -> WebhookView | None:
    if row.webhook_url is None:
        return None
    try:
        url = open_text(keyring, Binding("task", row.task_id), row.webhook_url, "webhook_url")
    except UnreadableField as unreadable:
        report(unreadable)
        url = None
    views: dict[str, DeliveryView] = {}
    for attempt in deliveries:
        view = views.setdefault(
            attempt.delivery_id,
            DeliveryView(
                webhook_id=attempt.event_id,
                status=attempt.status,
                attempt=attempt.attempt,
                next_attempt_at=instant(attempt.next_attempt_at) if attempt.status == "pending" else None,
                attempts=[],
            ),
        )
        if attempt.number is not None:
            view.attempts.append(attempt_view(attempt))
    return WebhookView(url=url, deliveries=list(views.values()))


def attempt_view(row: AnyRow) -> DeliveryAttemptView:
    return DeliveryAttemptView(
        number=row.number,
        attempted_at=instant(row.attempted_at),
        status_code=row.status_code,
        error=row.error,
        latency_ms=row.latency_ms,
        excerpt=row.excerpt,
    )
