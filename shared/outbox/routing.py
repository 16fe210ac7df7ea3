"""Who is told of an event: from an event to its deliveries."""

from collections.abc import Iterable, Iterator
from typing import Any, Literal

import msgspec

from shared.contract.events import patterns_of
from shared.domain.decision import Event
from shared.domain.problems import Problem

Destination = Literal["callback", "slack", "webhook"]

_CALLBACK_TYPES = frozenset(("task.succeeded", "task.failed", "task.cancelled"))


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where one event goes. ``destination_id`` names whose turn it takes; nothing is sent to a held one."""

    destination: Destination
    destination_id: str
    webhook_id: str | None = None
    is_held: bool = False


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """What routing has to know of a webhook endpoint."""

    webhook_id: str
    event_types: tuple[str, ...]
    team_id: str | None
    enabled: bool

    def hears(self, event: Event) -> bool:
        if event.only_to is not None:
            return event.only_to == self.webhook_id
        if self.team_id is not None and event.data.get("team_id") != self.team_id:
            return False
        return any(pattern in self.event_types for pattern in patterns_of(event.type))


class Routes(msgspec.Struct, frozen=True, kw_only=True):
    """The destinations that the operator configured. A team's events go to its own channel as well."""

    slack: bool = False
    slack_events: tuple[str, ...] = ()
    slack_teams: frozenset[str] = frozenset()

    def slack_channels(self, event: Event) -> Iterator[str]:
        """The ids of the channels that hear of it; "" is the operator's own."""
        if event.only_to is not None or not any(pattern in self.slack_events for pattern in patterns_of(event.type)):
            return
        if self.slack:
            yield ""
        team_id = event.data.get("team_id")
        if team_id in self.slack_teams:
            yield team_id


def targets(event: Event, routes: Routes, endpoints: Iterable[Endpoint], callback_id: str | None) -> list[Target]:
    """Where to send an event. ``callback_id`` names the destination of the ``Webhook-Url`` behind it, if there is one.

    What a disabled endpoint would hear is held for it, so that a replay can close the gap.
    """
    found: list[Target] = []
    if callback_id is not None and event.type in _CALLBACK_TYPES:
        found.append(Target(destination="callback", destination_id=callback_id))
    found += [Target(destination="slack", destination_id=f"slack:{name}") for name in routes.slack_channels(event)]
    found += [
        Target(
            destination="webhook",
            destination_id=f"webhook:{endpoint.webhook_id}",
            webhook_id=endpoint.webhook_id,
            is_held=not endpoint.enabled and event.only_to is None,
        )
        for endpoint in endpoints
        if endpoint.hears(event)
    ]
    return found


def task_event(
    *,
    task_id: str,
    operation: str,
    status: str,
    object_type: str,
    object_id: str,
    team_id: str | None = None,
    problem: Problem | None = None,
) -> Event:
    """What a task's callback is told: thin, and nothing that one would need a right to see."""
    data: dict[str, Any] = {
        "task_id": task_id,
        "operation": operation,
        "status": status,
        "object_type": object_type,
        "object_id": object_id,
    }
    if team_id is not None:
        data["team_id"] = team_id
    if problem is not None:
        data["problem"] = {"code": problem.code, "message": problem.message}
    return Event(type=f"task.{status}", object_type="task", object_id=task_id, data=data)
