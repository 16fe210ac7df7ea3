"""Runs everything and prints the table."""

import argparse
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

from benchmarks import deliveries, measurements, noop
from benchmarks.report import Row, memory_table, table
from benchmarks.stack import Beside, Stack, wait_until

PARTS = ("accept", "done", "deliver")
LONGEST_S = 480


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    arguments.add_argument("only", nargs="*", choices=[[], *PARTS], help="Only these; everything by default.")
    only: list[str] = arguments.parse_args().only or list(PARTS)
    signal.signal(signal.SIGTERM, _ended)
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(LONGEST_S)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pointsman-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the servers may run as another user
        rows, memory = _measure(folder, only)
    print(table(rows))
    if memory is not None:
        print(memory_table(memory))
    cores, load = os.cpu_count(), os.getloadavg()[1]
    print(f"\n{time.monotonic() - started:.0f} s on {cores} cores, load average of the last five minutes {load:.1f}")


def _measure(folder: Path, only: list[str]) -> tuple[list[Row], measurements.Memory | None]:
    rows: list[Row] = []
    memory = None
    _say("starting")
    with Stack(folder, ("api",)) as stack:
        rows.append(Row.seconds("ready, first start (API and servers)", stack.ready_s))
        if "accept" in only:
            _say("accepting")
            rows += _accept_rows(stack, folder)
        stack.forget()
    if "done" in only:
        _say("starting again")
        with Stack(folder) as stack, Beside("noop", [noop.url(stack.redis_url)], folder) as other:
            rows.append(Row.seconds("ready, second start of `pointsman up`", stack.ready_s, goal_s=5))
            done, memory = _done_rows(stack, other)
            rows += done
    if "deliver" in only:
        _say("delivering")
        rows += deliveries.rows(folder)
    return rows, memory


def _accept_rows(stack: Stack, folder: Path) -> list[Row]:
    found = measurements.accepting(stack, folder)
    return [
        Row.at_least("accepted a second, 64 connections", "empty handler", found["plain"], 0.5),
        Row.at_least("  the same with an Idempotency-Key", "empty handler", found["with_keys"], None),
    ]


def _done_rows(stack: Stack, other: Beside) -> tuple[list[Row], measurements.Memory]:
    publisher = noop.Publisher(noop.url(stack.redis_url))
    wait_until(lambda: publisher.round_trip_ms() > 0, "the no-op's worker", other.log)
    idle = measurements.idle_memory(stack)
    _say("waiting for one at a time")
    waits = measurements.waiting(stack, publisher)
    _say("draining")
    drained, load = measurements.draining(stack, publisher)
    rows = [
        Row.at_least("done a second under load", "Celery no-op", drained, 3),
        Row.at_most("request to done, one at a time, p50 ms", "Celery no-op", waits.p50, 5),
        Row.percentiles("  p99 ms", "Celery no-op", waits),
    ]
    return rows, measurements.Memory(idle=idle, load=load)


def _say(text: str) -> None:
    print(f"… {text}", file=sys.stderr, flush=True)


def _ended(_number: int, _frame: FrameType | None) -> None:
    """As Ctrl-C does: what was started is ended, what was written is removed."""
    raise SystemExit("benchmarks: ended")


def _too_long(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(f"benchmarks: not finished after {LONGEST_S} s")


if __name__ == "__main__":
    main()
