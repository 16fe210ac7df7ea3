"""From stored rows to what a client is shown: values opened, secrets gone."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from shared.contract import models as model_contract
from shared.contract.audit import AuditEntryView, table_name
from shared.contract.tasks import DeliveryAttemptView, DeliveryView, TaskView, WebhookView, problem_body
from shared.domain.models import Model, document
from shared.domain.tasks import OPEN
from shared.encryption.keyring import Keyring
from shared.encryption.masking import without_secrets
from shared.encryption.sealing import Binding, open_document, open_text
from shared.operations import OPERATIONS
from shared.store.rows import AnyRow

_SEALED = "litellm_params"


def model_entry(keyring: Keyring, model: Model) -> dict[str, Any]:
    """One element of ``/model/info``."""
    return model_contract.entry(_opened(keyring, "model", model.model_id, document(model)))


def task_result(keyring: Keyring, row: AnyRow) -> dict[str, Any] | None:
    """What a succeeded task answers with, in LiteLLM's shape."""
    if row.result is None:
        return None
    return OPERATIONS[row.operation].answer(_opened(keyring, row.object_type, row.object_id, row.result))


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
        last_error=row.last_error,
        progress=row.progress,
        result=task_result(keyring, row),
        error=problem_body(row.problem) if row.problem else None,
        submitted_by=row.submitted_by,
        webhook=_webhook(keyring, row, deliveries),
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


def _opened(keyring: Keyring, object_type: str, object_id: str, stored: dict[str, Any]) -> dict[str, Any]:
    if _SEALED not in stored:
        return stored
    opened = open_document(keyring, Binding(object_type, object_id), stored[_SEALED], _SEALED)
    return {**stored, _SEALED: without_secrets(opened)}


def _webhook(keyring: Keyring, row: AnyRow, deliveries: Iterable[AnyRow]) -> WebhookView | None:
    if row.webhook_url is None:
        return None
    url = open_text(keyring, Binding("task", row.task_id), row.webhook_url, "webhook_url")
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
            view.attempts.append(_attempt(attempt))
    return WebhookView(url=url, deliveries=list(views.values()))


def _attempt(row: AnyRow) -> DeliveryAttemptView:
    return DeliveryAttemptView(
        number=row.number,
        attempted_at=instant(row.attempted_at),
        status_code=row.status_code,
        error=row.error,
        latency_ms=row.latency_ms,
        excerpt=row.excerpt,
    )
