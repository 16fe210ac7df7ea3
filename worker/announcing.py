"""From an event to rows of the outbox, in whoever's transaction it happened."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec
from sqlalchemy import Connection

from shared.contract.events import patterns_of
from shared.domain.decision import Event
from shared.outbox.routing import Endpoint, Target
from shared.runtime.clock import new_id
from shared.store import destinations, outbox, webhooks
from shared.store.outbox import NewDelivery, StoredEvent
from shared.store.rows import fields_of, packed

GIVE_UP_AFTER: Final = timedelta(days=4)
"""A day more than the attempts take: whatever waits longer, because its destination is paused, ends as failed."""


class Outgoing(msgspec.Struct, frozen=True):
    """Events and their deliveries, as they go into the outbox together."""

    events: list[StoredEvent]
    deliveries: list[NewDelivery]

    def add(self, event: Event, targets: Sequence[Target], now: datetime, task_id: str | None) -> None:
        """An event that nobody is told of is not kept."""
        if not targets:
            return
        event_id = "evt_" + new_id().replace("-", "")
        self.events.append(
            StoredEvent(
                event_id=event_id,
                type=event.type,
                occurred_at=now,
                object_type=event.object_type,
                object_id=event.object_id,
                data=event.data,
                task_id=task_id,
            )
        )
        self.deliveries.extend(
            NewDelivery(
                delivery_id=new_id(),
                event_id=event_id,
                destination=target.destination,
                destination_id=target.destination_id,
                webhook_id=target.webhook_id,
                task_id=task_id,
                status="failed" if target.is_held else "pending",
                give_up_at=now + GIVE_UP_AFTER,
                finished_at=now if target.is_held else None,
            )
            for target in targets
        )


def listening(connection: Connection, events: Iterable[Event]) -> list[Endpoint]:
    """The endpoints that may have to be told of these, as they are at this moment. One statement for all."""
    events = list(events)
    if not events:
        return []
    patterns = sorted({pattern for event in events for pattern in patterns_of(event.type)})
    team_ids = sorted({str(event.data["team_id"]) for event in events if event.data.get("team_id")})
    only = sorted({event.only_to for event in events if event.only_to is not None})
    rows = connection.execute(webhooks.listening(patterns, team_ids, only))
    return [msgspec.convert(fields_of(row), Endpoint) for row in rows]


def save(connection: Connection, outgoing: Outgoing) -> None:
    if not outgoing.events:
        return
    connection.execute(outbox.insert_events(), packed(outgoing.events))
    connection.execute(destinations.add(), packed(outgoing.deliveries))
    connection.execute(outbox.insert_deliveries(), packed(outgoing.deliveries))
