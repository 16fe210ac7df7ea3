"""One run: a fleet, clients, a nemesis, and the verdict."""

import statistics
import tempfile
import time
from collections import defaultdict
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
            "recovery in seconds after the part was back",
            *self._recoveries(),
            *(f"  {what}" for what in (*verdict.lost, *verdict.duplicated, *verdict.out_of_order)[:20]),
        ]

    def _recoveries(self) -> list[str]:
        by_name: defaultdict[str, list[float]] = defaultdict(list)
        for fault in self.faults:
            by_name[fault.name].append(fault.recovered_after_s)
        every = [fault.recovered_after_s for fault in self.faults] or [0.0]
        return [
            *(f"  {name:<36}{len(took):>4} x, worst {max(took):6.2f}" for name, took in sorted(by_name.items())),
            f"  {'all':<36}{len(every):>4} x, worst {max(every):6.2f}, median {statistics.median(every):5.2f}",
        ]


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


def _callbacks(receiver: Receiver) -> tuple[int, int]:
    """How many came, and of how many tasks the end was told under two ids."""
    ids: defaultdict[str, set[str]] = defaultdict(set)
    for one in receiver.requests:
        ids[one.json["data"]["task_id"]].add(one.headers["webhook-id"])
    return len(receiver.requests), sum(len(found) > 1 for found in ids.values())
