import pytest
from kombu.exceptions import OperationalError

from shared.messaging.broker import (
    APPLY_QUEUE,
    DELIVER_QUEUE,
    HARD_LIMIT_S,
    LONGEST_PAUSE_S,
    SOFT_LIMIT_S,
    VISIBILITY_TIMEOUT_S,
    broker_url,
    celery_app,
)
from worker.deliver import LEASE_S
from worker.drain import DRAIN_FOR_S
from worker.senders import transport


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("rediss://:pw@host:6380/1", "rediss://:pw@host:6380/1"),
        ("unix:///run/v.sock", "redis+socket:///run/v.sock?virtual_host=0"),
        ("unix:///run/v.sock?db=3", "redis+socket:///run/v.sock?virtual_host=3"),
    ],
)
def test_a_redis_url_is_spelled_as_kombu_wants_it(given: str, expected: str) -> None:
    assert broker_url(given) == expected


def test_what_is_lost_with_a_worker_comes_again() -> None:
    conf = celery_app("redis://localhost").conf
    assert conf.task_acks_late
    assert conf.task_reject_on_worker_lost
    assert conf.worker_prefetch_multiplier == 1
    assert conf.broker_connection_max_retries is None


def test_a_broker_that_was_away_for_long_is_found_as_soon_as_one_that_was_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kombu.utils.functional.sleep", lambda _: None)
    pauses: list[float] = []
    nowhere = celery_app("unix:///nowhere.sock").connection_for_read()
    with pytest.raises(OperationalError):
        nowhere.ensure_connection(lambda _error, pause: pauses.append(pause), max_retries=20)
    assert len(pauses) == 20
    assert max(pauses) == LONGEST_PAUSE_S


def test_nothing_is_kept_of_a_ring() -> None:
    conf = celery_app("redis://localhost").conf
    assert conf.result_backend is None
    assert conf.task_ignore_result
    assert conf.accept_content == ["json"]


def test_the_limits_nest() -> None:
    """A drain ends before it is interrupted, that before it is killed, and that before its ring is given away."""
    assert DRAIN_FOR_S < SOFT_LIMIT_S < HARD_LIMIT_S < VISIBILITY_TIMEOUT_S
    assert transport.DEADLINE_S < LEASE_S


def test_the_sweep_is_scheduled_and_expires() -> None:
    entry = celery_app("redis://localhost", sweep_interval_s=7).conf.beat_schedule["sweep"]
    assert (entry["schedule"], entry["options"]["queue"]) == (7, APPLY_QUEUE)
    assert entry["options"]["expires"] >= 5


def test_every_queue_is_declared() -> None:
    assert {queue.name for queue in celery_app("redis://localhost").conf.task_queues} == {APPLY_QUEUE, DELIVER_QUEUE}
