"""Named places at which a test has the process die, stand still or fail; in service each is one comparison.

``FAILPOINT=<name>:<action>[:<hit>]`` in the environment of a process, or ``arm`` inside of it, switches one on.
"""

import os
import signal
from collections.abc import Callable

VARIABLE = "FAILPOINT"

POINTS = {
    "intake.before_insert": "the rows of a group are checked, and not sent to the database yet",
    "intake.before_commit": "they are inserted, where a transaction holds the lines; not committed",
    "intake.after_commit": "they are committed; nobody was told",
    "intake.after_ring": "the bell was rung; the clients have no answer yet",
    "apply.after_claim": "tasks are locked",
    "apply.after_load": "their objects are locked and read",
    "apply.before_head": "events and ends are written; the head row is not locked yet",
    "apply.before_commit": "everything is written; nothing is committed",
    "apply.after_commit": "it is committed; nobody was told",
    "apply.after_wake": "waiters were told; nobody rang for the deliveries",
    "apply.after_ring": "deliveries were rung for; the broker's message is not acknowledged",
    "attempt.before_commit": "an attempt is counted, and not committed",
    "attempt.after_commit": "it is committed; the attempt has not begun",
    "attempt.before_postpone": "the attempt broke off; that is not committed",
    "chore.after_lease": "a long task is leased and its attempt counted; its next chunk has not begun",
    "chore.before_commit": "a chunk and its new place are written; nothing is committed",
    "chore.after_chunk": "the chunk is committed",
    "deliver.after_lease": "a delivery is leased and counted; nothing was sent",
    "deliver.after_send": "it was sent; that is not recorded",
    "deliver.after_record": "its outcome is committed",
    "sweep.before_ring": "what is due is known; nobody rang",
    "sweep.after_ring": "it was rung for",
}


class FailpointReached(RuntimeError):
    """What an armed failpoint with the action ``raise`` raises."""


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _freeze() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _raise() -> None:
    raise FailpointReached


ACTIONS: dict[str, Callable[[], None]] = {"kill": _kill, "freeze": _freeze, "raise": _raise}


class _Armed:
    def __init__(self, name: str, action: str, hit: int) -> None:
        if name not in POINTS:
            raise ValueError(f"{name!r} is no failpoint")
        self.name = name
        self._act = ACTIONS[action]
        self._left = hit

    def reached(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._act()


_armed: _Armed | None = None


def arm(name: str, action: str, hit: int = 1) -> None:
    """Act when this place is reached for the ``hit``-th time, and never again."""
    global _armed
    _armed = _Armed(name, action, hit)


def disarm() -> None:
    global _armed
    _armed = None


def arm_from(value: str) -> None:
    name, action, *hit = value.split(":")
    arm(name, action, int(hit[0]) if hit else 1)


def reach(name: str) -> None:
    """The code has come to this place."""
    if _armed is not None and _armed.name == name:
        _armed.reached()


if VARIABLE in os.environ:
    arm_from(os.environ[VARIABLE])
