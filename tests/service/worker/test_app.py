"""What one worker process works with, put together from settings, and what it says on Redis."""

import base64
from collections.abc import Iterator

import msgspec
import pytest
import redis
from sqlalchemy import Engine

from shared.encryption.keyring import Keyring
from shared.messaging.broker import APPLY_QUEUE, DELIVER_QUEUE, celery_app
from shared.messaging.wakeups import CHANNEL
from shared.runtime.settings import Misconfigured
from tests.conftest import SettingsBuilder
from tests.service.building import a_task, accept
from tests.support.servers import ValkeyServer
from worker.app import Workshop, check


@pytest.fixture
def workshop(a_settings: SettingsBuilder) -> Iterator[Workshop]:
    settings = a_settings(slack_webhook_url="https://hooks.slack.example/T0/B0/x")
    app = celery_app(settings.redis_url.reveal())
    workshop = Workshop(app, check(settings))
    yield workshop
    workshop.sweeper._engine.dispose()
    workshop._waker.close()
    app.close()


def rung(redis_url: str, queue: str) -> list[dict[str, list[str]]]:
    with redis.Redis.from_url(redis_url) as client:
        messages = [msgspec.json.decode(message) for message in client.lrange(queue, 0, -1)]
    bodies = [msgspec.json.decode(base64.b64decode(message["body"])) for message in messages]
    return [arguments for _, arguments, _ in bodies]


def test_after_a_commit_waiters_are_woken_and_deliveries_rung_for(
    workshop: Workshop, engine: Engine, keyring: Keyring, redis_url: str
) -> None:
    (task_id,) = accept(engine, a_task(keyring))
    with redis.Redis.from_url(redis_url) as client, client.pubsub(ignore_subscribe_messages=True) as channel:
        channel.subscribe(CHANNEL)
        assert channel.get_message(timeout=5) is None
        assert workshop.drain.drain() is False
        message = None
        while message is None:
            message = channel.get_message(timeout=5)
    assert msgspec.json.decode(message["data"]) == [task_id]
    (ring,) = rung(redis_url, DELIVER_QUEUE)
    assert list(ring) == ["delivery_ids"]


def test_a_ring_carries_ids_and_nothing_else(
    workshop: Workshop, engine: Engine, keyring: Keyring, redis_url: str
) -> None:
    task_ids = accept(engine, a_task(keyring), a_task(keyring))
    workshop.sweeper.sweep()
    assert rung(redis_url, APPLY_QUEUE) == [{"task_ids": task_ids, "one_by_one": False}]
    workshop.drain.drain()


def test_without_redis_everything_is_applied_all_the_same(
    workshop: Workshop, engine: Engine, keyring: Keyring, valkey: ValkeyServer
) -> None:
    valkey.stop()
    accept(engine, a_task(keyring), a_task(keyring))
    assert workshop.drain.drain() is False
    workshop.ring_on()


@pytest.mark.parametrize(("field", "value"), [("encryption_keys", "a:c2hvcnQ="), ("webhook_allow", "everywhere")])
def test_what_cannot_be_used_stops_the_start_and_names_its_variable(
    a_settings: SettingsBuilder, field: str, value: str
) -> None:
    with pytest.raises(Misconfigured, match=f"POINTSMAN_{field.upper()} cannot be used"):
        check(a_settings(**{field: value}))
