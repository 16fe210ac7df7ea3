"""Deliveries a second, and what twenty bad endpoints among two hundred cost the good ones, in one run."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from benchmarks.measurements import percentile
from benchmarks.report import Row
from benchmarks.stack import Beside, Stack, free_port, wait_until

ENDPOINTS = 200
BAD = ("hang", "drip", "500")
BAD_COUNT = 20
ROUNDS = 15
GOAL_PER_S = 500
GOAL_TIMES = 1.1
PACE_S = 1.0
LONGEST_S = 60.0


class Bench:
    def __init__(self, stack: Stack, receiver: str) -> None:
        self._receiver = receiver
        self._api = httpx.Client(
            base_url=f"http://127.0.0.1:{stack.port}",
            headers={"Authorization": f"Bearer {stack.key}", "Prefer": "wait=30"},
            timeout=60,
        )
        self._webhook_ids: list[str] = []
        self._models = 0

    def register(self, count: int) -> None:
        for number in range(count):
            body = {"url": f"{self._receiver}/good/{number}", "event_types": ["model.created"]}
            answer = self._api.post("/webhooks", json=body)
            answer.raise_for_status()
            self._webhook_ids.append(answer.json()["webhook_id"])

    def lead(self, webhook_id: str, path: str) -> None:
        self._api.patch(f"/webhooks/{webhook_id}", json={"url": f"{self._receiver}/{path}"}).raise_for_status()

    def make_bad(self, count: int) -> None:
        for number, webhook_id in enumerate(self._webhook_ids[:count]):
            self.lead(webhook_id, BAD[number % len(BAD)])

    def add_models(self, count: int) -> None:
        for _ in range(count):
            self._models += 1
            body = {"model_name": f"bench-{self._models}", "litellm_params": {"model": "openai/gpt-4o"}}
            self._api.post("/model/new", json=body, headers={"Prefer": "respond-async"}).raise_for_status()

    def report(self) -> dict[str, Any]:
        answer: dict[str, Any] = httpx.get(f"{self._receiver}/report", timeout=60).json()
        return answer

    def gathered(self, count: int) -> tuple[list[float], list[float]]:
        """Delays and arrivals, once so many have come."""
        delays: list[float] = []
        arrived: list[float] = []
        deadline = time.monotonic() + LONGEST_S
        while len(delays) < count:
            if time.monotonic() > deadline:
                raise SystemExit(f"benchmarks: {len(delays)} of {count} deliveries came within {LONGEST_S:g} s")
            time.sleep(0.2)
            report = self.report()
            delays += report["delays_s"]
            arrived += report["arrived_at"]
        return delays, sorted(arrived)

    def rate(self, models: int, endpoints: int) -> float:
        """Deliveries a second from the first to the last that arrives."""
        self.report()
        self.add_models(models)
        _, arrived = self.gathered(models * endpoints)
        return len(arrived) / (arrived[-1] - arrived[0])

    def paced(self, rounds: int, good: int) -> list[float]:
        """The delays at the good endpoints while a model is added every second."""
        self.report()
        for _ in range(rounds):
            began = time.monotonic()
            self.add_models(1)
            time.sleep(max(0, PACE_S - (time.monotonic() - began)))
        return self.gathered(rounds * good)[0]


def rows(folder: Path) -> list[Row]:
    """Starts a stack and the receivers of its own."""
    port = free_port()
    allow = {"POINTSMAN_WEBHOOK_ALLOW": "127.0.0.0/8"}
    with Beside("receiver", [str(port)], folder) as receiver, Stack(folder, environment=allow) as stack:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: _is_up(url), "the receiver", receiver.log)
        return _measured(Bench(stack, url))


def _measured(bench: Bench) -> list[Row]:
    bench.register(1)
    to_one = bench.rate(600, 1)
    bench.register(ENDPOINTS - 1)
    to_many = bench.rate(25, ENDPOINTS)
    alone = bench.paced(ROUNDS, ENDPOINTS)
    bench.make_bad(BAD_COUNT)
    onset = bench.paced(ROUNDS, ENDPOINTS - BAD_COUNT)
    later = bench.paced(ROUNDS, ENDPOINTS - BAD_COUNT)
    return [
        Row.rate("delivered a second, one endpoint", to_one),
        Row.rate(f"  {ENDPOINTS} endpoints", to_many, goal=GOAL_PER_S),
        Row.at_most_times("event to endpoint, p50 ms, while 20 of 200 turn bad", _p50(onset), _p50(alone)),
        Row.at_most_times("  p99 ms", _p99(onset), _p99(alone), goal=GOAL_TIMES),
        Row.at_most_times("  p50 ms, afterwards", _p50(later), _p50(alone)),
        Row.at_most_times("  p99 ms", _p99(later), _p99(alone), goal=GOAL_TIMES),
    ]


def _p50(delays_s: Sequence[float]) -> float:
    return percentile([delay_s * 1000 for delay_s in delays_s], 50)


def _p99(delays_s: Sequence[float]) -> float:
    return percentile([delay_s * 1000 for delay_s in delays_s], 99)


def _is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/report", timeout=1).is_success
    except httpx.TransportError:
        return False
