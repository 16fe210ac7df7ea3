"""Announces secrets that did not open: whoever met one noted it, and each is told once."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import Engine

from shared.domain.decision import Event
from shared.outbox.routing import Routes, targets
from shared.store import unreadable
from shared.store.rows import fields_of, packed
from shared.store.unreadable import Place
from worker import announcing
from worker.announcing import Outgoing

MAX_TOLD: Final = 100
"""At a time: a key that is gone may leave very many."""


class Alarms:
    def __init__(self, engine: Engine, routes: Routes, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._routes = routes
        self._clock = clock

    def announce(self) -> None:
        """Events, their deliveries and the note that they were told in one commit. Raises what the database raises."""
        with self._engine.begin() as connection:
            rows = connection.execute(unreadable.untold_locked(MAX_TOLD)).all()
            places = [msgspec.convert(fields_of(row), Place) for row in rows]
            if not places:
                return
            events = [_event(place) for place in places]
            endpoints = announcing.listening(connection, events)
            outgoing = Outgoing([], [])
            for event in events:
                outgoing.add(event, targets(event, self._routes, endpoints, None), self._clock(), None)
            announcing.save(connection, outgoing)
            connection.execute(unreadable.told(), packed(places))


def _event(place: Place) -> Event:
    return Event(
        type="secret.unreadable",
        object_type=place.object_type,
        object_id=place.object_id,
        data=msgspec.to_builtins(place),
    )
