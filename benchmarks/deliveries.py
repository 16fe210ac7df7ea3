"""Deliveries a second, and what twenty bad endpoints among two hundred cost the good ones, in one run.

python -m benchmarks.deliveries
"""

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from benchmarks.stack import Beside, Stack, free_port, wait_until

ENDPOINTS = 200
BAD = ("hang", "drip", "500")
BAD_COUNT = 20
ROUNDS = 20
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


def main() -> None:
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="pointsman-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the servers may run as another user
        allow = {"POINTSMAN_WEBHOOK_ALLOW": "127.0.0.0/8"}
        with Beside("receiver", [str(port)], folder) as receiver, Stack(folder, environment=allow) as stack:
            url = f"http://127.0.0.1:{port}"
            wait_until(lambda: _is_up(url), "the receiver", receiver.log)
            _measure(Bench(stack, url))


def _measure(bench: Bench) -> None:
    bench.register(1)
    print(f"one endpoint:        {bench.rate(600, 1):6.0f} deliveries/s")
    bench.register(ENDPOINTS - 1)
    print(f"{ENDPOINTS} endpoints:       {bench.rate(25, ENDPOINTS):6.0f} deliveries/s")
    alone = bench.paced(ROUNDS, ENDPOINTS)
    _show(f"{ENDPOINTS} good", alone)
    bench.make_bad(BAD_COUNT)
    onset = bench.paced(ROUNDS, ENDPOINTS - BAD_COUNT)
    _show(f"{BAD_COUNT} turn bad", onset)
    later = bench.paced(ROUNDS, ENDPOINTS - BAD_COUNT)
    _show(f"{BAD_COUNT} are bad", later)
    print(
        f"p99 of the good ones: {_p99(onset) / _p99(alone):.2f} times while the others turn bad, "
        f"{_p99(later) / _p99(alone):.2f} times afterwards"
    )


def _show(what: str, delays_s: Sequence[float]) -> None:
    print(
        f"{what:20} p50 {statistics.median(delays_s) * 1000:6.0f} ms, p99 {_p99(delays_s) * 1000:6.0f} ms, "
        f"{len(delays_s)} deliveries",
        flush=True,
    )


def _p99(delays_s: Sequence[float]) -> float:
    return statistics.quantiles(delays_s, n=100)[98]


def _is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/report", timeout=1).is_success
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    main()
