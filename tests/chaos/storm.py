"""One run: a fleet, clients, a nemesis, and the verdict."""

import statistics
import tempfile
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tests.chaos.clients import Client
from tests.chaos.history import History, Verdict, judge
from tests.chaos.nemesis import Fault, Nemesis
from tests.support.fleet import Fleet, until
from tests.support.receivers import Receiver

CLIENTS = 6
# A delivery whose sender died is sent again when its lease has run out.
LAST_DELIVERY_S = 150.0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    seed: int
    seconds: float
    verdict: Verdict
    faults: list[Fault]
    answered_s: dict[str, list[float]]
    """By fault: how long the answers took that were asked for while it lasted."""
    callbacks: int
    callbacks_with_two_ids: int

    @property
    def is_good(self) -> bool:
        return self.verdict.is_good and not self.callbacks_with_two_ids

    def lines(self) -> list[str]:
        verdict = self.verdict
        counts = {
            "accepted": verdict.accepted,
            "refused": verdict.refused,
            "repeated until answered": verdict.repeated,
            "never answered": verdict.unknown,
            **{f"ended as {status}": count for status, count in sorted(verdict.ended.items())},
            "lost": len(verdict.lost),
            "duplicated": len(verdict.duplicated),
            "out of order": len(verdict.out_of_order),
            "unexpected": len(verdict.unexpected),
            "callbacks received": self.callbacks,
            "of them with two ids for one event": self.callbacks_with_two_ids,
        }
        return [
            f"seed {self.seed}, {self.seconds:.0f} s of load, {len(self.faults)} faults",
            *(f"  {name:<36}{count:>8}" for name, count in counts.items()),
            f"  {'':<36}{'times':>6}{'recovered after, s':>20}{'answers meanwhile, p99 s':>26}",
            *self._recoveries(),
            *(f"  {what}" for what in (*verdict.lost, *verdict.duplicated, *verdict.out_of_order)[:20]),
        ]

    def _recoveries(self) -> list[str]:
        by_name: defaultdict[str, list[float]] = defaultdict(list)
        for fault in self.faults:
            by_name[fault.name].append(fault.recovered_after_s)
        every = sorted(fault.recovered_after_s for fault in self.faults)
        return [
            *(_row(name, took, self.answered_s.get(name, [])) for name, took in sorted(by_name.items())),
            _row("all", every, [took for answers in self.answered_s.values() for took in answers]),
            f"  {'median recovery':<42}{statistics.median(every or [0.0]):>20.2f}",
        ]


def _row(name: str, recovered_after_s: Sequence[float], answered_s: Sequence[float]) -> str:
    worst = max(recovered_after_s, default=0.0)
    p99 = f"{sorted(answered_s)[int(len(answered_s) * 0.99)]:>26.2f}" if answered_s else f"{'-':>26}"
    return f"  {name:<36}{len(recovered_after_s):>6}{worst:>20.2f}{p99}"


def storm(seed: int, seconds: float) -> Report:
    """Raises AssertionError if an invariant of the fleet does not hold afterwards, or the tests' own parts fail."""
    with (
        tempfile.TemporaryDirectory(prefix="chaos") as made,
        Receiver() as receiver,
        Fleet(Path(made) / "f", {"POINTSMAN_STALL_AFTER": "5"}) as fleet,
    ):
        history, nemesis = History(), Nemesis(seed, fleet)
        clients = [Client(number, seed, fleet, history, receiver.url) for number in range(CLIENTS)]
        began_at = time.monotonic()
        for client in clients:
            client.start()
        try:
            nemesis.rage(seconds)
        finally:
            _end(clients)
        took_s = time.monotonic() - began_at
        _settle(fleet)
        verdict = judge(history, fleet, probes=nemesis.probes)
        told, two_ids = _callbacks(receiver)
    return Report(
        seed=seed,
        seconds=took_s,
        verdict=verdict,
        faults=nemesis.faults,
        answered_s=_answered_s(history, nemesis.faults),
        callbacks=told,
        callbacks_with_two_ids=two_ids,
    )


def _end(clients: list[Client]) -> None:
    """Raises AssertionError if one was answered what it must never be."""
    for client in clients:
        client.end()
    for client in clients:
        client.join(60)
        client.give_up()
        client.join()
        assert client.error is None, client.error


def _settle(fleet: Fleet) -> None:
    fleet.make_whole()
    deadline = time.monotonic() + LAST_DELIVERY_S
    while fleet._unfinished() and time.monotonic() < deadline:
        time.sleep(0.2)
    until(lambda: not fleet._unfinished())
    fleet.check_invariants()


def _answered_s(history: History, faults: list[Fault]) -> dict[str, list[float]]:
    operations = sorted(history.operations, key=lambda one: one.invoked_at)
    invoked_at = [one.invoked_at for one in operations]
    found: defaultdict[str, list[float]] = defaultdict(list)
    for fault in faults:
        meanwhile = operations[bisect_left(invoked_at, fault.began_at) : bisect_left(invoked_at, fault.over_at)]
        found[fault.name] += [one.answered_at - one.invoked_at for one in meanwhile]
    return dict(found)


def _callbacks(receiver: Receiver) -> tuple[int, int]:
    """How many came, and of how many tasks the end was told under two ids."""
    ids: defaultdict[str, set[str]] = defaultdict(set)
    for one in receiver.requests:
        ids[one.json["data"]["task_id"]].add(one.headers["webhook-id"])
    return len(receiver.requests), sum(len(found) > 1 for found in ids.values())
