"""When a delivery is tried again."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Final

MINUTE_S: Final = 60
HOUR_S: Final = 60 * MINUTE_S

# Ten waits, eleven attempts: a receiver may be down over a weekend and still hears of everything.
DEFAULT_SCHEDULE_S: Final[tuple[float, ...]] = (
    5,
    30,
    5 * MINUTE_S,
    30 * MINUTE_S,
    2 * HOUR_S,
    5 * HOUR_S,
    10 * HOUR_S,
    14 * HOUR_S,
    20 * HOUR_S,
    20 * HOUR_S,
)
LONGEST_RETRY_AFTER_S: Final = 24 * HOUR_S
SPREAD: Final = 0.2


def next_attempt(
    attempt: int, schedule: Sequence[float], now: datetime, jitter: float, retry_after_s: float | None
) -> datetime | None:
    """The time of the attempt after this many, or ``None`` when the schedule is used up.

    ``jitter`` in [0, 1) spreads the planned wait evenly over ±20 %, so that what failed together does not come back
    together. What the receiver asked for may lengthen the wait, to at most a day, and never shortens it; it is spread
    too, by up to 20 % later, since everybody it turned away was told the same.
    """
    if attempt < 1:
        raise ValueError("There is no wait before the first attempt.")
    if attempt > len(schedule):
        return None
    planned = schedule[attempt - 1] * (1 - SPREAD + 2 * SPREAD * jitter)
    asked = (retry_after_s or 0) * (1 + SPREAD * jitter)
    return now + timedelta(seconds=max(planned, min(asked, LONGEST_RETRY_AFTER_S)))


def within(schedule: Sequence[float], longest_s: float) -> tuple[float, ...]:
    """The beginning of a schedule, as far as its last attempt comes no later than this after the first."""
    return tuple(wait_s for wait_s, since_s in zip(schedule, accumulate(schedule), strict=True) if since_s <= longest_s)
