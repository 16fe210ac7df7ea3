"""When a destination is left alone for a while, and when it is given up. Pure.

After ``OPEN_AFTER`` failures in a row its circuit opens: nothing is sent until the pause is over, then one delivery is,
and what becomes of it decides. A success closes the circuit at once; each further failure makes the pause longer.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

OPEN_AFTER: Final = 5
FIRST_PAUSE_S: Final = 15.0
LONGEST_PAUSE_S: Final = 600.0
LONGEST_THROTTLE_S: Final = 3600.0
SPREAD: Final = 0.2


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """How a destination fares. ``failing_since`` is the first failure after the last success."""

    consecutive_failures: int = 0
    pauses: int = 0
    failing_since: datetime | None = None
    last_success_at: datetime | None = None
    last_error: str | None = None
    paused_until: datetime | None = None

    @property
    def is_suspect(self) -> bool:
        """One delivery at a time, until one succeeds."""
        return self.consecutive_failures > 0


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt; ``throttle_s`` is how long the receiver asked everybody to stay away."""

    ok: bool
    at: datetime
    error: str | None = None
    throttle_s: float | None = None


def after(health: Health, results: Sequence[Result], now: datetime, jitter: float) -> Health:
    """How it fares after these, in the order of their ends. ``jitter`` in [0, 1) spreads pauses over ±20 %."""
    if not results:
        return health
    for result in results:
        health = _one_more(health, result)
    pauses, pause_s = health.pauses, 0.0
    if health.consecutive_failures >= OPEN_AFTER:
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0**pauses) * (1 - SPREAD + 2 * SPREAD * jitter)
        pauses += 1
    throttle_s = min(LONGEST_THROTTLE_S, max((result.throttle_s or 0 for result in results), default=0))
    pause_s = max(pause_s, throttle_s)
    return msgspec.structs.replace(
        health, pauses=pauses, paused_until=now + timedelta(seconds=pause_s) if pause_s else None
    )


def is_given_up(health: Health, now: datetime, after_s: float) -> bool:
    """Whether it has only failed for so long, in more than one stroke of bad luck."""
    if health.failing_since is None or health.consecutive_failures < OPEN_AFTER:
        return False
    return (now - health.failing_since).total_seconds() >= after_s


def _one_more(health: Health, result: Result) -> Health:
    if result.ok:
        return Health(last_success_at=result.at)
    return msgspec.structs.replace(
        health,
        consecutive_failures=health.consecutive_failures + 1,
        failing_since=health.failing_since or result.at,
        last_error=result.error,
    )
