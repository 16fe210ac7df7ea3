"""What is measured, and against what in the same run. The two sides take turns, so that noise meets both."""

import socket
import threading
import time
from pathlib import Path
from statistics import median, quantiles

import msgspec

from benchmarks import noop
from benchmarks.load import Load
from benchmarks.memory import Footprint
from benchmarks.stack import Beside, Stack, free_port, generate, wait_until

CONNECTIONS = 64
ACCEPT_ROUNDS = 11
ACCEPT_S = 1.2
WAIT_ROUNDS = 5
WAIT_REQUESTS = 120
DRAIN_ROUNDS = 3
DRAIN_REQUESTS = 6000
DRAIN_NOOPS = 1000
_WARM_UP = 300
_SETTLE_S = 3.0
_LOOK_EVERY_S = 0.25


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """Our number and the other's of the same round."""

    ours: float
    other: float


class Series(msgspec.Struct, frozen=True):
    """The rounds of one measurement."""

    pairs: list[Pair]

    @property
    def ours(self) -> float:
        return median(pair.ours for pair in self.pairs)

    @property
    def other(self) -> float:
        return median(pair.other for pair in self.pairs)

    @property
    def ratios(self) -> list[float]:
        return sorted(pair.ours / pair.other for pair in self.pairs)

    @property
    def ratio(self) -> float:
        return median(self.ratios)


class Waits(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds, over all rounds for the percentiles."""

    p50: Series
    ours_ms: list[float]
    other_ms: list[float]


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Part -> how many processes, and megabytes: idle, and in the heaviest moment that was seen under load."""

    idle: dict[str, tuple[int, float]]
    load: dict[str, tuple[int, float]]


def accepting(stack: Stack, folder: Path) -> dict[str, Series]:
    """Answers a second at 64 connections, of our API and of an empty handler; no worker runs."""
    keyed = {"Idempotency-Key": "{n}"}
    plain: list[Pair] = []
    with_keys: list[Pair] = []
    port = free_port()
    with Beside("empty", [str(port)], folder) as other:
        wait_until(lambda: _listens(port), "the empty handler", other.log)
        _accepted(stack.port, stack.key, seconds=1)
        _accepted(port, stack.key, seconds=0.5)
        for number in range(ACCEPT_ROUNDS):
            empty = _accepted(port, stack.key)
            plain.append(Pair(ours=_accepted(stack.port, stack.key), other=empty))
            if number % 3 == 1:
                with_keys.append(Pair(ours=_accepted(stack.port, stack.key, headers=keyed), other=empty))
            stack.forget()
    return {"plain": Series(plain), "with_keys": Series(with_keys)}


def waiting(stack: Stack, publisher: noop.Publisher) -> Waits:
    """One change at a time, from the request to the finished row, and one no-op at a time."""
    load = Load(
        port=stack.port, key=stack.key, connections=1, requests=WAIT_REQUESTS, headers={"Prefer": "wait=5"}, status=200
    )
    _waited(load, publisher)
    pairs: list[Pair] = []
    ours_ms: list[float] = []
    other_ms: list[float] = []
    for _ in range(WAIT_ROUNDS):
        ours, other = _waited(load, publisher)
        pairs.append(Pair(ours=median(ours), other=median(other)))
        ours_ms += ours
        other_ms += other
    return Waits(p50=Series(pairs), ours_ms=ours_ms, other_ms=other_ms)


def draining(stack: Stack, publisher: noop.Publisher) -> tuple[Series, dict[str, tuple[int, float]]]:
    """Changes a second from the first request until the last is done, no-ops a second likewise; and our memory."""
    load = Load(port=stack.port, key=stack.key, connections=CONNECTIONS, requests=DRAIN_REQUESTS)
    publisher.per_second(_WARM_UP)
    pairs: list[Pair] = []
    heaviest: dict[str, tuple[int, float]] = {}
    for _ in range(DRAIN_ROUNDS):
        other = publisher.per_second(DRAIN_NOOPS)
        with Heaviest(Footprint(stack.pid)) as weighed:
            started = time.perf_counter()
            generate(load)
            stack.wait_until_done()
            ours = DRAIN_REQUESTS / (time.perf_counter() - started)
        heaviest = max(heaviest, weighed.by_part, key=total_mb)
        pairs.append(Pair(ours=ours, other=other))
    return Series(pairs), heaviest


def idle_memory(stack: Stack) -> dict[str, tuple[int, float]]:
    time.sleep(_SETTLE_S)
    return Footprint(stack.pid).by_part()


def total_mb(by_part: dict[str, tuple[int, float]]) -> float:
    return sum(size for _, size in by_part.values())


def percentile(values: list[float], percent: int) -> float:
    return quantiles(values, n=100)[percent - 1]


class Heaviest:
    """Looks at the memory from a thread, again and again, and keeps the largest sum."""

    def __init__(self, footprint: Footprint) -> None:
        self._footprint = footprint
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.by_part: dict[str, tuple[int, float]] = {}

    def __enter__(self) -> "Heaviest":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(_LOOK_EVERY_S):
            self.by_part = max(self.by_part, self._footprint.by_part(), key=total_mb)


def _accepted(port: int, key: str, *, seconds: float = ACCEPT_S, headers: dict[str, str] | None = None) -> float:
    load = Load(port=port, key=key, connections=CONNECTIONS, seconds=seconds, headers=headers or {})
    return generate(load).per_second


def _waited(load: Load, publisher: noop.Publisher) -> tuple[list[float], list[float]]:
    other = [publisher.round_trip_ms() for _ in range(WAIT_REQUESTS)]
    return generate(load).latencies_ms, other


def _listens(port: int) -> bool:
    """Whether anybody does; the empty handler has no page for the question."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
