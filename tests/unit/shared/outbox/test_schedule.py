from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.outbox.schedule import DEFAULT_SCHEDULE_S, LONGEST_RETRY_AFTER_S, SPREAD, next_attempt, within
from shared.runtime.settings import Settings

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MIDDLE = 0.5
"""The jitter that changes nothing."""


def wait_s(attempt: int, *, jitter: float = MIDDLE, retry_after_s: float | None = None) -> float:
    again_at = next_attempt(attempt, DEFAULT_SCHEDULE_S, NOW, jitter, retry_after_s)
    assert again_at is not None
    return (again_at - NOW).total_seconds()


def test_each_attempt_waits_as_the_schedule_says() -> None:
    assert tuple(wait_s(attempt) for attempt in range(1, len(DEFAULT_SCHEDULE_S) + 1)) == DEFAULT_SCHEDULE_S


def test_the_default_schedule_covers_about_three_days() -> None:
    assert timedelta(days=2.9) < timedelta(seconds=sum(DEFAULT_SCHEDULE_S)) < timedelta(days=3.1)


def test_the_setting_starts_from_the_same_schedule() -> None:
    fields = {field.name: field.default for field in msgspec.structs.fields(Settings)}
    assert tuple(fields["webhook_schedule"]) == DEFAULT_SCHEDULE_S


def test_a_used_up_schedule_has_no_next_attempt_even_when_asked_for_one() -> None:
    assert next_attempt(len(DEFAULT_SCHEDULE_S) + 1, DEFAULT_SCHEDULE_S, NOW, MIDDLE, 60) is None


def test_an_empty_schedule_allows_one_attempt() -> None:
    assert next_attempt(1, (), NOW, MIDDLE, None) is None


def test_retry_after_lengthens_the_wait() -> None:
    assert 100 <= wait_s(1, retry_after_s=100) <= 100 * (1 + SPREAD)


def test_retry_after_never_shortens_the_wait() -> None:
    assert wait_s(5, retry_after_s=1) == DEFAULT_SCHEDULE_S[4]


def test_retry_after_is_capped_at_a_day() -> None:
    assert wait_s(1, retry_after_s=10**9) == LONGEST_RETRY_AFTER_S == 24 * 3600


def test_there_is_no_wait_before_the_first_attempt() -> None:
    with pytest.raises(ValueError, match="first"):
        next_attempt(0, DEFAULT_SCHEDULE_S, NOW, MIDDLE, None)


@given(attempt=st.integers(1, len(DEFAULT_SCHEDULE_S)), jitter=st.floats(0, 1, exclude_max=True))
def test_jitter_stays_within_a_fifth_of_the_plan(attempt: int, jitter: float) -> None:
    planned = DEFAULT_SCHEDULE_S[attempt - 1]
    assert planned * 0.8 - 0.001 <= wait_s(attempt, jitter=jitter) <= planned * 1.2 + 0.001


def test_a_schedule_is_cut_where_it_takes_too_long() -> None:
    assert within(DEFAULT_SCHEDULE_S, 3 * 3600) == (5, 30, 300, 1800, 7200)
    assert within(DEFAULT_SCHEDULE_S, 0) == ()
