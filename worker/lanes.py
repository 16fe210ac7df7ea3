"""Threads that send. Each turn of a destination is a burst: what is due for it, sent one after the other in a lane or
two, so that nobody has more than two calls at a time however much waits for it."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import structlog

from shared.encryption.sealing import UnreadableField
from shared.outbox.breaker import Result
from shared.runtime.failpoints import reach
from shared.store.destinations import Leased, Turn
from worker.sending import SLACK, Attempted, Sending

LANES_OF_ONE: Final = 2
SLOW_AFTER_S: Final = 1.0
"""A call that takes longer makes room for another: slow receivers hold up only themselves."""

SLOW_LANES: Final = 4
"""So many times as many lanes may be slow."""

BURST_S: Final = 10.0
"""What has not begun by then is handed back; with one attempt's deadline it stays well below the lease."""

_THROTTLES: Final = (429, 503)

_log = structlog.get_logger(__name__)


class Burst:
    """What one turn sends. The first failure ends it: the rest would fare no better, and keeps its attempts."""

    def __init__(self, turn: Turn, lease_id: str, due: Sequence[Leased]) -> None:
        self.turn = turn
        self.lease_id = lease_id
        self.results: list[Result] = []
        self.unreadable: list[UnreadableField] = []
        self.is_gone = False
        self.endpoint: Leased = due[0]
        self.lanes = 1 if self.is_digest else min(LANES_OF_ONE, len(due))
        self._due = deque(due)
        self._ends_at = time.monotonic() + BURST_S
        self._open_lanes = self.lanes
        self._lock = threading.Lock()

    @property
    def is_digest(self) -> bool:
        return self.turn.destination_id.startswith(SLACK)

    @property
    def unsent(self) -> list[Leased]:
        return list(self._due)

    def next(self) -> list[Leased]:
        """What to send now, in one message; nothing when the burst is over."""
        with self._lock:
            if not self._due or time.monotonic() > self._ends_at or any(not result.ok for result in self.results):
                return []
            if not self.is_digest:
                return [self._due.popleft()]
            everything = list(self._due)
            self._due.clear()
            return everything

    def note(self, attempted: Attempted) -> None:
        outcome = attempted.outcome
        throttle_s = outcome.retry_after_s if outcome.status in _THROTTLES else None
        with self._lock:
            if attempted.unreadable is not None:
                self.unreadable.append(attempted.unreadable)
            self.is_gone = self.is_gone or outcome.gone
            if attempted.counts:
                self.results.append(
                    Result(ok=outcome.ok, at=attempted.ended_at, error=outcome.error, throttle_s=throttle_s)
                )

    def leave(self) -> bool:
        """A lane is through; whether it was the last."""
        with self._lock:
            self._open_lanes -= 1
            return self._open_lanes == 0


class Lanes:
    """``limit`` is how many quick calls there may be at a time. Whatever ends is told at once."""

    def __init__(
        self,
        sending: Sending,
        limit: int,
        attempted: Callable[[list[Attempted]], None],
        ended: Callable[[Burst], None],
    ) -> None:
        self._sending = sending
        self._limit = limit
        self._attempted = attempted
        self._ended = ended
        self._pool = ThreadPoolExecutor(max_workers=limit * (1 + SLOW_LANES), thread_name_prefix="lane")
        self._began: dict[object, float] = {}
        self._lock = threading.Lock()

    def room(self) -> int:
        """How many more lanes may be opened now."""
        slow_before = time.monotonic() - SLOW_AFTER_S
        with self._lock:
            quick = sum(began > slow_before for began in self._began.values())
            return max(0, min(self._limit - quick, self._limit * (1 + SLOW_LANES) - len(self._began)))

    @property
    def are_empty(self) -> bool:
        with self._lock:
            return not self._began

    def open(self, burst: Burst) -> None:
        for _ in range(burst.lanes):
            lane = object()
            with self._lock:
                self._began[lane] = time.monotonic()
            self._pool.submit(self._run, lane, burst).add_done_callback(_report)

    def _run(self, lane: object, burst: Burst) -> None:
        try:
            while due := burst.next():
                with self._lock:
                    self._began[lane] = time.monotonic()
                self._send(burst, due)
        finally:
            with self._lock:
                del self._began[lane]
            if burst.leave():
                self._ended(burst)

    def _send(self, burst: Burst, due: list[Leased]) -> None:
        made = self._sending.send_digest(due) if burst.is_digest else [self._sending.send(due[0])]
        reach("deliver.after_send")
        burst.note(made[0])
        self._attempted(made)


def _report(lane: Future[None]) -> None:
    error = lane.exception()
    if error is not None:
        _log.error("lane.broke_off", exc_info=error)
