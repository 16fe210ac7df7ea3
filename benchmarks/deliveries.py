"""Deliveries a second, and what twenty bad endpoints among two hundred cost the others, in one run."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from benchmarks.measurements import Pair, Series, percentile
from benchmarks.report import Row
from benchmarks.stack import Beside, Stack, free_port, wait_until

ENDPOINTS = 200
BAD = ("hang", "drip", "500")
BAD_COUNT = 20
PAIRS = 5
ROUNDS = 10
SETTLE_S = 4.0
GOAL_PER_S = 500
GOAL_TIMES = 1.1
PACE_S = 1.0
LONGEST_S = 60.0


class Bench:
    def __init__(self, stack: Stack, receiver: str) -> None:
        self._stack = stack
        self._receiver = receiver
        self._api = httpx.Client(
            base_url=f"http://127.0.0.1:{stack.port}",
            headers={"Authorization": f"Bearer {stack.key}", "Prefer": "wait=30"},
            timeout=60,
        )
        self._webhook_ids: list[str] = []
        self._models = 0

    def register(self, count: int) -> None:
        for _ in range(count):
            body = {"url": f"{self._receiver}/good", "event_types": ["model.created"]}
            answer = self._api.post("/webhooks", json=body)
            answer.raise_for_status()
            self._webhook_ids.append(answer.json()["webhook_id"])

    def lead(self, *paths: str) -> None:
        """Where those among the endpoints lead that are not always good: to these paths, in turns."""
        for number, webhook_id in enumerate(self._webhook_ids[:BAD_COUNT]):
            body = {"url": f"{self._receiver}/{paths[number % len(paths)]}"}
            self._api.patch(f"/webhooks/{webhook_id}", json=body).raise_for_status()

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
        return _per_second(self.gathered(models * endpoints)[1])

    def rate_of_one(self, models: int) -> float:
        """The same to the first endpoint, for which everything waits already: one client could not ask as quickly."""
        since = datetime.now(UTC)
        self._ask(self._webhook_ids[0], "disable")
        self.add_models(models)
        self._stack.wait_until_done()
        self.report()
        self._ask(self._webhook_ids[0], "enable")
        self._ask(self._webhook_ids[0], "replay", {"since": since.isoformat()})
        return _per_second(self.gathered(models)[1])

    def _ask(self, webhook_id: str, what: str, body: Any = None) -> None:
        self._api.post(f"/webhooks/{webhook_id}/{what}", json=body).raise_for_status()

    def paced_ms(self) -> list[float]:
        """The delays at the endpoints that are always good, while a model is added every second."""
        self.report()
        for _ in range(ROUNDS):
            began = time.monotonic()
            self.add_models(1)
            time.sleep(max(0, PACE_S - (time.monotonic() - began)))
        return [delay_s * 1000 for delay_s in self.gathered(ROUNDS * (ENDPOINTS - BAD_COUNT))[0]]


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
    to_one = bench.rate_of_one(1000)
    bench.register(ENDPOINTS - 1)
    to_many = bench.rate(25, ENDPOINTS)
    p50, p99 = _isolation(bench)
    return [
        Row.rate("delivered a second, one endpoint", to_one),
        Row.rate(f"  {ENDPOINTS} endpoints", to_many, goal=GOAL_PER_S),
        Row.at_most(f"event to good endpoint, {BAD_COUNT} of {ENDPOINTS} bad, p50 ms", "none bad", p50, GOAL_TIMES),
        Row.at_most("  p99 ms", "none bad", p99, GOAL_TIMES),
    ]


def _isolation(bench: Bench) -> tuple[Series, Series]:
    p50: list[Pair] = []
    p99: list[Pair] = []
    for _ in range(PAIRS):
        bench.lead("other")
        time.sleep(SETTLE_S)
        without_ms = bench.paced_ms()
        bench.lead(*BAD)
        with_ms = bench.paced_ms()
        p50.append(Pair(ours=percentile(with_ms, 50), other=percentile(without_ms, 50)))
        p99.append(Pair(ours=percentile(with_ms, 99), other=percentile(without_ms, 99)))
    return Series(p50), Series(p99)


def _per_second(arrived: list[float]) -> float:
    return len(arrived) / (arrived[-1] - arrived[0])


def _is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/report", timeout=1).is_success
    except httpx.TransportError:
        return False
