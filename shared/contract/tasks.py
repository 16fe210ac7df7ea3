"""The task as its clients see it."""

from typing import Any

import msgspec

from shared.contract import errors
from shared.contract.decoding import decode
from shared.domain.problems import FieldError, InvalidRequest, Problem
from shared.domain.tasks import ENDED


class DeliveryAttemptView(msgspec.Struct, frozen=True, kw_only=True):
    number: int
    attempted_at: str
    status_code: int | None
    error: str | None
    latency_ms: int
    excerpt: str


class DeliveryView(msgspec.Struct, frozen=True, kw_only=True):
    webhook_id: str
    status: str
    attempt: int
    next_attempt_at: str | None
    attempts: list[DeliveryAttemptView]


class WebhookView(msgspec.Struct, frozen=True, kw_only=True):
    url: str | None
    deliveries: list[DeliveryView]


class TaskView(msgspec.Struct, frozen=True, kw_only=True):
    """One task. ``result`` is there once it succeeded, ``error`` once it failed; times are RFC 3339 in UTC.

    ``last_error`` and ``next_attempt_at`` are there while an attempt that broke off waits to be made again.
    """

    task_id: str
    operation: str
    status: str
    object_type: str
    object_id: str
    submitted_at: str
    started_at: str | None = None
    finished_at: str | None = None
    attempt: int = 0
    next_attempt_at: str | None = None
    cancel_requested_at: str | None = None
    retry_of: str | None = None
    last_error: str | None = None
    progress: dict[str, int] | None = None
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    submitted_by: str
    webhook: WebhookView | None = None

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED


class TaskPage(msgspec.Struct, frozen=True, kw_only=True):
    """``next_cursor`` is null on the last page."""

    data: list[TaskView]
    next_cursor: str | None


class TaskFilter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /tasks/cancel`` and ``/tasks/retry``: which tasks. At least one field must be given."""

    operation: str | None = None
    object_type: str | None = None
    object_id: str | None = None
    submitted_by: str | None = None

    def given(self) -> dict[str, str]:
        return {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}


class TasksCancelled(msgspec.Struct, frozen=True, kw_only=True):
    """``has_more``: the filter matches more tasks than one request handles; ask again."""

    task_ids: list[str]
    has_more: bool


class TasksRetried(msgspec.Struct, frozen=True, kw_only=True):
    """Each failed task that was submitted anew, with the id of its new task, or why it was refused."""

    tasks: dict[str, str]
    refused: dict[str, str]
    has_more: bool


_filter = msgspec.json.Decoder(TaskFilter)


def decode_filter(body: bytes) -> TaskFilter:
    """Raises InvalidRequest, also for an empty filter, which would mean every task there is."""
    request = decode(_filter, body)
    if not request.given():
        names = ", ".join(TaskFilter.__struct_fields__)
        raise InvalidRequest(FieldError("body", f"must name at least one of {names}"))
    return request


def problem_body(problem: dict[str, Any]) -> dict[str, Any]:
    return errors.body(msgspec.convert(problem, Problem))
