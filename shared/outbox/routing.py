"""Who is told of an event: from an event to its deliveries."""

from typing import Any, Literal

import msgspec

from shared.domain.decision import Event
from shared.domain.problems import Problem

Destination = Literal["callback", "slack"]

# What the Slack channel hears of.
_SLACK_TYPES = frozenset(("model.created", "task.poisoned"))


class Routes(msgspec.Struct, frozen=True, kw_only=True):
    """The destinations that the operator configured."""

    slack: bool = False


def destinations(event: Event, routes: Routes, *, has_callback: bool) -> tuple[Destination, ...]:
    """Where to send an event. ``has_callback`` says that the task behind it named a ``Webhook-Url``."""
    to_callback = has_callback and event.type in ("task.succeeded", "task.failed", "task.cancelled")
    to_slack = routes.slack and event.type in _SLACK_TYPES
    wanted: list[Destination] = []
    if to_callback:
        wanted.append("callback")
    if to_slack:
        wanted.append("slack")
    return tuple(wanted)


def task_event(
    *, task_id: str, operation: str, status: str, object_type: str, object_id: str, problem: Problem | None = None
) -> Event:
    """What a task's callback is told: thin, and nothing that one would need a right to see."""
    data: dict[str, Any] = {
        "task_id": task_id,
        "operation": operation,
        "status": status,
        "object_type": object_type,
        "object_id": object_id,
    }
    if problem is not None:
        data["problem"] = {"code": problem.code, "message": problem.message}
    return Event(type=f"task.{status}", object_type="task", object_id=task_id, data=data)
