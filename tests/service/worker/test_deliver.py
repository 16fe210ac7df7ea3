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
from worker.senders.connector import Connector

Database = psycopg.Connection[Any]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


class Sending:
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
        return Deliverer(
            engine=self.engine,
            keyring=self.keyring,
            connector=Connector(allow=Allowlist.parse("127.0.0.0/8")),
            slack_url=Secret(f"{self.receiver.url}/slack"),
            waits_s=waits_s,
            clock=clock,
            jitter=lambda: 0.5,
        )

    def deliver_all(self, deliverer: Deliverer | None = None) -> int:
        """How many attempts were made until nothing was due."""
        deliverer = deliverer or self.deliverer()
        count = 0
        while deliverer.deliver_next() is not None:
            count += 1
        return count

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
def sending(engine: Engine, keyring: Keyring, receiver: Receiver, database: Database) -> Sending:
    return Sending(engine, keyring, receiver, database)


def test_a_delivered_callback_is_signed_and_logged(sending: Sending, receiver: Receiver) -> None:
    assert sending.deliver_all(sending.deliverer(clock=now)) == 1
    (request,) = receiver.requests
    assert request.path == f"/hook?key={CANARY}"
    told = Webhook(sending.secret).verify(request.body, request.headers)
    assert told["type"] == "task.succeeded"
    assert (told["data"]["task_id"], told["data"]["object_id"]) == (sending.task_id, "m-1")
    assert sending.state == ("succeeded", 1, True)
    assert sending.attempts == [(1, 200, None, "ok")]


def test_a_signature_by_another_secret_does_not_verify(sending: Sending, receiver: Receiver) -> None:
    sending.deliver_all(sending.deliverer(clock=now))
    (request,) = receiver.requests
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").verify(request.body, request.headers)


def test_after_two_failures_it_is_tried_again_as_the_same_message(sending: Sending, receiver: Receiver) -> None:
    receiver.answer_with(Answer(status=500, body=b"no"), Answer(status=500, body=b"no"), Answer(status=200))
    assert sending.deliver_all() == 3
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1
    assert len({request.body for request in receiver.requests}) == 1
    assert sending.state == ("succeeded", 3, True)
    assert [(number, code) for number, code, *_ in sending.attempts] == [(1, 500), (2, 500), (3, 200)]


def test_between_attempts_it_rests(sending: Sending, receiver: Receiver) -> None:
    receiver.answer_with(Answer(status=500))
    deliverer = sending.deliverer(waits_s=(3600.0,), clock=now)
    assert sending.deliver_all(deliverer) == 1
    assert not deliverer.is_anything_due()
    ((wait_s,),) = sending.database.execute(
        "SELECT extract(epoch FROM next_attempt_at - now())::float FROM delivery"
    ).fetchall()
    assert 3500 < wait_s <= 3600
    assert sending.state == ("pending", 1, False)


def test_a_receiver_that_is_gone_is_left_alone(sending: Sending, receiver: Receiver) -> None:
    receiver.answer_with(Answer(status=410))
    assert sending.deliver_all() == 1
    assert sending.state == ("failed", 1, True)


def test_when_the_schedule_is_used_up_it_has_failed(sending: Sending, receiver: Receiver) -> None:
    receiver.default = Answer(status=503)
    assert sending.deliver_all(sending.deliverer(waits_s=(1.0, 2.0))) == 3
    assert sending.state == ("failed", 3, True)
    assert len(sending.attempts) == 3


def test_what_a_receiver_answers_is_kept_short_and_readable(sending: Sending, receiver: Receiver) -> None:
    receiver.answer_with(Answer(status=500, body=b"\x00\xff line\nbreak " + b"x" * 5000))
    sending.deliverer().deliver_next()
    ((_, _, _, excerpt),) = sending.attempts
    assert len(excerpt) <= 1024
    assert "\n" not in excerpt
    sending.deliver_all()


def test_a_sender_that_died_leaves_a_lease_that_runs_out(sending: Sending, receiver: Receiver) -> None:
    """As the sender's first commit left it: the attempt is counted and nothing is recorded of it."""
    sending.database.execute(
        "UPDATE delivery SET attempt = 1, next_attempt_at = now() + interval '1 minute' WHERE delivery_id = %s",
        [sending.delivery_id],
    )
    assert sending.deliver_all() == 0
    sending.database.execute("UPDATE delivery SET next_attempt_at = now()")
    assert sending.deliver_all() == 1
    assert sending.state == ("succeeded", 2, True)
    assert [number for number, *_ in sending.attempts] == [2]


def test_a_late_record_of_an_attempt_whose_lease_ran_out_ends_nothing(sending: Sending, receiver: Receiver) -> None:
    receiver.answer_with(Answer(status=410), Answer(status=500))

    def clock_during_which_another_leases() -> datetime:
        sending.database.execute("UPDATE delivery SET attempt = 2 WHERE attempt = 1")
        return datetime.now(UTC)

    sending.deliverer(clock=clock_during_which_another_leases).deliver_next()
    assert sending.state[:2] == ("pending", 2)
    sending.database.execute("UPDATE delivery SET next_attempt_at = now()")
    sending.deliver_all()


def test_while_one_is_sent_nobody_else_sends_it(sending: Sending, receiver: Receiver) -> None:
    def clock_during_which_another_looks() -> datetime:
        assert sending.deliverer(clock=now).deliver_next() is None
        return datetime.now(UTC)

    sending.deliverer(clock=clock_during_which_another_looks).deliver_next()
    assert len(receiver.requests) == 1


def test_the_signing_secret_is_made_once_for_a_user(sending: Sending, receiver: Receiver) -> None:
    sending.deliver_all()
    secret = sending.secret
    accept(sending.engine, a_task(sending.keyring, webhook_url=receiver.url))
    Side(sending.engine, sending.keyring).applier.apply_due()
    sending.deliver_all(sending.deliverer(clock=now))
    assert sending.secret == secret
    Webhook(secret).verify(receiver.requests[1].body, receiver.requests[1].headers)


def test_a_callback_that_cannot_be_opened_fails_once_and_says_why(sending: Sending, receiver: Receiver) -> None:
    sending.database.execute("UPDATE task SET webhook_url = replace(webhook_url, 'pm1:test:', 'pm1:lost:')")
    assert sending.deliver_all() == 1
    assert sending.state == ("failed", 1, True)
    assert "no key 'lost'" in sending.attempts[0][2]
    assert receiver.requests == []


def test_slack_is_told_of_an_added_model(
    engine: Engine, keyring: Keyring, receiver: Receiver, database: Database
) -> None:
    sending = Sending(engine, keyring, receiver, database)
    accept(engine, a_task(keyring, "m-2", name="claude"))
    Side(engine, keyring, slack=True).applier.apply_due()
    assert sending.deliver_all() == 2
    (message,) = [request for request in receiver.requests if request.path == "/slack"]
    assert "claude" in message.body.decode()
    assert CANARY not in message.body.decode()


def test_a_slow_or_broken_destination_does_not_hold_up_another(
    sending: Sending, receiver: Receiver, database: Database
) -> None:
    with Receiver(default=Answer(status=500)) as broken:
        accept(sending.engine, a_task(sending.keyring, webhook_url=broken.url))
        Side(sending.engine, sending.keyring).applier.apply_due()
        sending.deliver_all(sending.deliverer(clock=now, waits_s=(3600.0,)))
    assert sending.state == ("succeeded", 1, True)
    ((pending,),) = database.execute("SELECT count(*) FROM delivery WHERE status = 'pending'").fetchall()
    assert pending == 1
