"""The task as its clients see it."""

from typing import Any

import msgspec

from shared.contract import errors
from shared.domain.problems import Problem
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
    url: str
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


def problem_body(problem: dict[str, Any]) -> dict[str, Any]:
    return errors.body(msgspec.convert(problem, Problem))
