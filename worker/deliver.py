"""Sends what the outbox holds: at least once, on each delivery's own schedule, each destination in its turn.

Attempts are leased and counted in one commit, made without any transaction, and recorded in another; each commit does
both, for however many attempts ended and begin. A sender that dies in between leaves leases that run out; the receiver
then sees the same ``webhook-id`` again.
"""

import contextlib
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from shared.runtime.clock import new_id
from shared.runtime.failpoints import reach
from shared.store import destinations
from shared.store.destinations import Leased, Turn
from shared.store.engines import is_transient
from shared.store.rows import fields_of
from worker.lanes import LANES_OF_ONE, Burst, Lanes
from worker.recording import Recording
from worker.sending import SLACK, Attempted, Sending

LEASE_S: Final = 60.0
"""Longer than any burst can take, so that a lease that ran out means that its holder is gone."""

MAX_BURST: Final = 50
MAX_DIGEST: Final = 1000

_LOOK_AGAIN_S: Final = 1.0
_GATHER_S: Final = 0.02
"""Calls that end within this share a commit. It holds up nobody: lanes go on meanwhile, and a ring is heard at once."""

_AFTER_TROUBLE_S: Final = 1.0

_log = structlog.get_logger(__name__)


class Deliverer:
    """One for each process. ``told`` hears of the tasks that were accepted on the system's own behalf."""

    def __init__(
        self,
        *,
        engine: Engine,
        sending: Sending,
        recording: Recording,
        limit: int,
        told: Callable[[Sequence[str]], None],
    ) -> None:
        self._engine = engine
        self._recording = recording
        self._told = told
        self._news: queue.SimpleQueue[list[Attempted] | Burst | None] = queue.SimpleQueue()
        self._lanes = Lanes(sending, limit, self._news.put, self._news.put)
        self._driving = threading.Lock()
        self._is_rung = threading.Event()
        self._is_stopping = threading.Event()
        self._attempted: list[Attempted] = []
        self._ended: list[Burst] = []

    def deliver(self) -> None:
        """Send until nothing is due and nothing is under way. If that happens already, it hears of this ring."""
        self._is_rung.set()
        self._news.put(None)
        while self._is_rung.is_set() and self._driving.acquire(blocking=False):
            try:
                self._drive()
            finally:
                self._driving.release()

    def stop(self) -> None:
        """Take no more turns; ``deliver`` returns when what is under way has ended and is recorded."""
        self._is_stopping.set()
        self._news.put(None)

    def _drive(self) -> None:
        while True:
            self._is_rung.clear()
            # Forgotten before they are recorded: one that never can be must not break off every turn that follows.
            taken = self._attempted, self._ended
            self._attempted, self._ended = [], []
            try:
                has_begun = self._turn(*taken)
            except (SQLAlchemyError, OSError) as error:
                if not is_transient(error):
                    raise
                self._attempted, self._ended = taken
                _log.warning("deliver.database_away", error=type(error).__name__)
                self._is_stopping.wait(_AFTER_TROUBLE_S)
                continue
            if not has_begun and self._is_idle():
                return
            self._gather()

    def _is_idle(self) -> bool:
        return self._lanes.are_empty and self._news.empty() and not (self._attempted or self._ended)

    def _turn(self, attempted: list[Attempted], ended: list[Burst]) -> bool:
        """Records what ended, and begins what is due as far as there is room. Says whether anything began."""
        room = 0 if self._is_stopping.is_set() else self._lanes.room() // LANES_OF_ONE
        with self._engine.begin() as connection:
            task_ids = self._recording.save(connection, attempted, ended)
            if attempted:
                reach("deliver.before_record")
            bursts = _lease(connection, room) if room else []
            if bursts:
                reach("deliver.before_lease")
        if attempted:
            reach("deliver.after_record")
        if bursts:
            reach("deliver.after_lease")
        for burst in bursts:
            self._lanes.open(burst)
        self._report(attempted)
        if task_ids:
            self._told(task_ids)
        return bool(bursts)

    def _gather(self) -> None:
        """Waits for news, and takes all there is. Looks again by itself when calls may have become slow ones."""
        with contextlib.suppress(queue.Empty):
            news = self._news.get(timeout=_LOOK_AGAIN_S)
            until = time.monotonic() + _GATHER_S
            while self._keep(news) and not self._lanes.are_empty:
                news = self._news.get(timeout=max(0.0, until - time.monotonic()))
        with contextlib.suppress(queue.Empty):
            while True:
                self._keep(self._news.get_nowait())

    def _keep(self, news: list[Attempted] | Burst | None) -> bool:
        """Whether more of it may be waited for: a ring may not wait."""
        if isinstance(news, Burst):
            self._ended.append(news)
        elif news is not None:
            self._attempted.extend(news)
        return news is not None

    def _report(self, attempted: Sequence[Attempted]) -> None:
        delivered = sum(one.outcome.ok for one in attempted)
        if delivered:
            _log.info("deliveries.succeeded", count=delivered)
        for one in attempted:
            if not one.outcome.ok:
                _log.info(
                    "delivery.failed",
                    delivery_id=one.due.delivery_id,
                    destination=one.due.destination,
                    event_type=one.due.type,
                    attempt=one.due.attempt,
                    status_code=one.outcome.status,
                    error=one.outcome.error,
                )


def _lease(connection: Connection, limit: int) -> list[Burst]:
    """The next turns, and what each of them sends."""
    rows = connection.execute(destinations.next_turns(limit))
    turns = {row.destination_id: msgspec.convert(fields_of(row), Turn) for row in rows}
    if not turns:
        return []
    lease_id = new_id()
    connection.execute(destinations.begin_turns(list(turns), lease_id, LEASE_S))
    due: defaultdict[str, list[Leased]] = defaultdict(list)
    rooms = {destination_id: _room(turn) for destination_id, turn in turns.items()}
    delivery_ids = [row.delivery_id for row in connection.execute(destinations.due(rooms))]
    for row in connection.execute(destinations.take(delivery_ids, LEASE_S)):
        due[row.destination_id].append(msgspec.convert(fields_of(row), Leased))
    return [Burst(turn, lease_id, due[destination_id]) for destination_id, turn in turns.items() if due[destination_id]]


def _room(turn: Turn) -> int:
    if turn.destination_id.startswith(SLACK):
        return MAX_DIGEST
    return 1 if turn.is_suspect else MAX_BURST
