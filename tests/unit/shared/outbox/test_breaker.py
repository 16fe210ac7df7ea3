"""When a destination is left alone, and when it is given up."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.outbox.breaker import FIRST_PAUSE_S, LONGEST_PAUSE_S, OPEN_AFTER, Health, Result, after, is_given_up

NOW = datetime(2026, 11, 1, tzinfo=UTC)
FAILED = Result(ok=False, at=NOW, error="answered 500")
OK = Result(ok=True, at=NOW)


def pause_s(health: Health) -> float:
    assert health.paused_until is not None
    return (health.paused_until - NOW).total_seconds()


def test_a_few_failures_make_it_suspect_and_no_more() -> None:
    health = after(Health(), [FAILED] * (OPEN_AFTER - 1), NOW, 0.5)
    assert health.is_suspect
    assert health.paused_until is None
    assert health.failing_since == NOW


def test_the_circuit_opens_and_each_failure_makes_the_pause_longer() -> None:
    health = after(Health(), [FAILED] * OPEN_AFTER, NOW, 0.5)
    assert pause_s(health) == FIRST_PAUSE_S
    assert pause_s(after(health, [FAILED], NOW, 0.5)) == 2 * FIRST_PAUSE_S
    for _ in range(20):
        health = after(health, [FAILED], NOW, 0.5)
    assert pause_s(health) == LONGEST_PAUSE_S


def test_a_success_makes_it_whole() -> None:
    health = after(Health(), [FAILED] * 9, NOW, 0.5)
    assert after(health, [OK], NOW, 0.5) == Health(last_success_at=NOW)


def test_a_success_among_failures_starts_the_count_anew() -> None:
    assert after(Health(), [FAILED, OK, FAILED], NOW, 0.5).consecutive_failures == 1


def test_what_was_not_tried_changes_nothing() -> None:
    health = after(Health(), [FAILED] * 9, NOW, 0.5)
    assert after(health, [], NOW, 0.5) == health


@pytest.mark.parametrize(("asked_s", "given_s"), [(30, 30), (10 * 3600, 3600)])
def test_whoever_asks_to_be_left_alone_is_for_an_hour_at_most(asked_s: float, given_s: float) -> None:
    throttled = Result(ok=False, at=NOW, error="answered 429", throttle_s=asked_s)
    assert pause_s(after(Health(), [throttled], NOW, 0.5)) == given_s


@pytest.mark.parametrize(
    ("failures", "days", "given_up"), [(OPEN_AFTER, 5, True), (OPEN_AFTER, 4, False), (OPEN_AFTER - 1, 9, False)]
)
def test_it_is_given_up_after_days_of_nothing_but_failures(failures: int, days: int, given_up: bool) -> None:
    health = Health(consecutive_failures=failures, failing_since=NOW - timedelta(days=days))
    assert is_given_up(health, NOW, 5 * 24 * 3600) == given_up
