from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine
from standardwebhooks import Webhook, WebhookVerificationError

from shared.encryption.keyring import Keyring
from shared.encryption.sealing import Binding, open_text
from shared.outbox.addresses import Allowlist
from shared.runtime.clock import now
from shared.runtime.settings import Secret
from tests.service.building import CANARY, Clock, Side, a_task, accept, long_ago
from tests.support.receivers import Answer, Receiver
from worker.deliver import Deliverer
from worker.recording import Recording
from worker.senders.connector import Connector
from worker.sending import Sending

Database = psycopg.Connection[Any]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


class Callback:
    """A task with a callback has ended; its delivery waits."""

    def __init__(self, engine: Engine, keyring: Keyring, receiver: Receiver, database: Database) -> None:
        self.engine = engine
        self.keyring = keyring
        self.receiver = receiver
        self.database = database
        (self.task_id,) = accept(engine, a_task(keyring, "m-1", webhook_url=f"{receiver.url}/hook?key={CANARY}"))
        (self.delivery_id,) = Side(engine, keyring).applier.apply_due().delivery_ids

    def deliverer(self, *, waits_s: tuple[float, ...] = (1.0, 2.0, 3.0), clock: Clock = long_ago) -> Deliverer:
        """Its clock is behind, so that what is to be tried again is due at once."""
        connector = Connector(allow=Allowlist.parse("127.0.0.0/8"))
        slack_urls = {"": Secret(f"{self.receiver.url}/slack")}
        return Deliverer(
            engine=self.engine,
            sending=Sending(
                engine=self.engine, keyring=self.keyring, connector=connector, slack_urls=slack_urls, clock=clock
            ),
            recording=Recording(
                waits_s=waits_s,
                slack_window_s=1,
                disable_after_s=432_000,
                clock=clock,
                jitter=lambda: 0.5,
            ),
            limit=4,
            told=lambda _: None,
        )

    def deliver(self, deliverer: Deliverer | None = None) -> None:
        """Until nothing is due."""
        (deliverer or self.deliverer()).deliver()

    @property
    def state(self) -> tuple[str, int, bool]:
        """Status, attempts, and whether it has finished."""
        return self.database.execute(
            "SELECT status, attempt, finished_at IS NOT NULL FROM delivery WHERE delivery_id = %s", [self.delivery_id]
        ).fetchall()[0]

    @property
    def attempts(self) -> list[tuple[Any, ...]]:
        return self.database.execute(
            "SELECT number, status_code, error, excerpt FROM delivery_attempt ORDER BY number"
        ).fetchall()

    @property
    def secret(self) -> str:
        ((user_id, sealed),) = self.database.execute("SELECT user_id, secret FROM signing_secret").fetchall()
        return open_text(self.keyring, Binding("signing_secret", user_id), sealed, "secret")


@pytest.fixture
def callback(engine: Engine, keyring: Keyring, receiver: Receiver, database: Database) -> Callback:
    return Callback(engine, keyring, receiver, database)


def test_a_delivered_callback_is_signed_and_logged(callback: Callback, receiver: Receiver) -> None:
    callback.deliver(callback.deliverer(clock=now))
    (request,) = receiver.requests
    assert request.path == f"/hook?key={CANARY}"
    told = Webhook(callback.secret).verify(request.body, request.headers)
    assert told["type"] == "task.succeeded"
    assert (told["data"]["task_id"], told["data"]["object_id"]) == (callback.task_id, "m-1")
    assert callback.state == ("succeeded", 1, True)
    assert callback.attempts == [(1, 200, None, "ok")]


def test_a_signature_by_another_secret_does_not_verify(callback: Callback, receiver: Receiver) -> None:
    callback.deliver(callback.deliverer(clock=now))
    (request,) = receiver.requests
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").verify(request.body, request.headers)


def test_after_two_failures_it_is_tried_again_as_the_same_message(callback: Callback, receiver: Receiver) -> None:
    receiver.answer_with(Answer(status=500, body=b"no"), Answer(status=500, body=b"no"), Answer(status=200))
    callback.deliver()
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1
    assert len({request.body for request in receiver.requests}) == 1
    assert callback.state == ("succeeded", 3, True)
    assert [(number, code) for number, code, *_ in callback.attempts] == [(1, 500), (2, 500), (3, 200)]


def test_between_attempts_it_rests(callback: Callback, receiver: Receiver) -> None:
    receiver.answer_with(Answer(status=500))
    deliverer = callback.deliverer(waits_s=(3600.0,), clock=now)
    callback.deliver(deliverer)
    callback.deliver(deliverer)
    assert len(receiver.requests) == 1
    ((wait_s,),) = callback.database.execute(
        "SELECT extract(epoch FROM next_attempt_at - now())::float FROM delivery"
    ).fetchall()
    assert 3500 < wait_s <= 3600
    assert callback.state == ("pending", 1, False)


def test_a_receiver_that_is_gone_is_left_alone(callback: Callback, receiver: Receiver) -> None:
    receiver.answer_with(Answer(status=410))
    callback.deliver()
    assert callback.state == ("failed", 1, True)
    assert len(receiver.requests) == 1


def test_when_the_schedule_is_used_up_it_has_failed(callback: Callback, receiver: Receiver) -> None:
    receiver.default = Answer(status=503)
    callback.deliver(callback.deliverer(waits_s=(1.0, 2.0)))
    assert callback.state == ("failed", 3, True)
    assert len(callback.attempts) == 3


def test_what_a_receiver_answers_is_kept_short_and_readable(callback: Callback, receiver: Receiver) -> None:
    receiver.answer_with(Answer(status=500, body=b"\x00\xff line\nbreak " + b"x" * 5000))
    callback.deliver()
    (_, _, _, excerpt), _ = callback.attempts
    assert len(excerpt) <= 1024
    assert "\n" not in excerpt


def test_a_sender_that_died_leaves_a_lease_that_runs_out(callback: Callback, receiver: Receiver) -> None:
    """As the sender's first commit left it: the attempt is counted and nothing is recorded of it."""
    callback.database.execute(
        "UPDATE delivery SET attempt = 1, next_attempt_at = now() + interval '1 minute' WHERE delivery_id = %s",
        [callback.delivery_id],
    )
    callback.deliver()
    assert receiver.requests == []
    callback.database.execute("UPDATE delivery SET next_attempt_at = now()")
    callback.deliver()
    assert callback.state == ("succeeded", 2, True)
    assert [number for number, *_ in callback.attempts] == [2]


def test_a_late_record_of_an_attempt_whose_lease_ran_out_ends_nothing(callback: Callback, receiver: Receiver) -> None:
    receiver.answer_with(Answer(status=410), Answer(status=500))

    def clock_during_which_another_leases() -> datetime:
        callback.database.execute("UPDATE delivery SET attempt = 2 WHERE attempt = 1")
        return datetime.now(UTC)

    callback.deliverer(clock=clock_during_which_another_leases).deliver()
    assert callback.state[:2] == ("pending", 2)
    callback.database.execute("UPDATE delivery SET next_attempt_at = now()")
    callback.deliver()
    assert callback.state == ("succeeded", 4, True)


def test_while_one_is_sent_nobody_else_sends_it(callback: Callback, receiver: Receiver) -> None:
    def clock_during_which_another_looks() -> datetime:
        callback.deliverer(clock=now).deliver()
        return datetime.now(UTC)

    callback.deliverer(clock=clock_during_which_another_looks).deliver()
    assert len(receiver.requests) == 1


def test_the_signing_secret_is_made_once_for_a_user(callback: Callback, receiver: Receiver) -> None:
    callback.deliver()
    secret = callback.secret
    accept(callback.engine, a_task(callback.keyring, webhook_url=receiver.url))
    Side(callback.engine, callback.keyring).applier.apply_due()
    callback.deliver(callback.deliverer(clock=now))
    assert callback.secret == secret
    Webhook(secret).verify(receiver.requests[1].body, receiver.requests[1].headers)


def test_a_callback_that_cannot_be_opened_waits_for_its_key_and_says_so(callback: Callback, receiver: Receiver) -> None:
    callback.database.execute("UPDATE task SET webhook_url = replace(webhook_url, 'pm1:test:', 'pm1:lost:')")
    callback.deliver(callback.deliverer(waits_s=(3600.0,), clock=now))
    assert callback.state == ("pending", 1, False)
    assert "no key 'lost'" in callback.attempts[0][2]
    assert receiver.requests == []
    callback.database.execute("UPDATE task SET webhook_url = replace(webhook_url, 'pm1:lost:', 'pm1:test:')")
    callback.database.execute("UPDATE delivery SET next_attempt_at = now()")
    callback.deliver()
    assert callback.state == ("succeeded", 2, True)


def test_slack_is_told_of_an_added_model(
    engine: Engine, keyring: Keyring, receiver: Receiver, database: Database
) -> None:
    callback = Callback(engine, keyring, receiver, database)
    accept(engine, a_task(keyring, "m-2", name="claude"))
    Side(engine, keyring, slack=True).applier.apply_due()
    callback.deliver()
    (message,) = [request for request in receiver.requests if request.path == "/slack"]
    assert "claude" in message.body.decode()
    assert CANARY not in message.body.decode()


def test_a_slow_or_broken_destination_does_not_hold_up_another(
    callback: Callback, receiver: Receiver, database: Database
) -> None:
    with Receiver(default=Answer(status=500)) as broken:
        accept(callback.engine, a_task(callback.keyring, webhook_url=broken.url))
        Side(callback.engine, callback.keyring).applier.apply_due()
        callback.deliver(callback.deliverer(clock=now, waits_s=(3600.0,)))
    assert callback.state == ("succeeded", 1, True)
    ((pending,),) = database.execute("SELECT count(*) FROM delivery WHERE status = 'pending'").fetchall()
    assert pending == 1
