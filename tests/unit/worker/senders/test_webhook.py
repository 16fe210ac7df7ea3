from datetime import timedelta

import msgspec
import pytest
from standardwebhooks import Webhook

from shared.outbox.addresses import Allowlist
from shared.outbox.webhook import UnusableSecretError, new_secret
from shared.runtime.clock import now
from tests.support.receivers import Answer, Receiver
from worker.senders.connector import Connector
from worker.senders.outcome import Outcome
from worker.senders.webhook import Message, send

CONNECTOR = Connector(allow=Allowlist.parse("127.0.0.1/32"))
SECRET = new_secret()


def a_message(url: str, *secrets: str) -> Message:
    return Message(
        url=url,
        secrets=secrets or (SECRET,),
        event_id="evt_0192f0c5a1b27c3d8e4f5a6b7c8d9e0f",
        event_type="task.succeeded",
        occurred_at=now(),
        data={"task_id": "t-1", "version": 3},
    )


def outcome_of(answer: Answer) -> Outcome:
    with Receiver(answer) as receiver:
        return send(a_message(receiver.url), now(), CONNECTOR)


def test_a_delivered_event_verifies_with_the_standards_own_library() -> None:
    with Receiver() as receiver:
        assert send(a_message(receiver.url), now(), CONNECTOR).ok
        (received,) = receiver.requests
    shown = Webhook(SECRET).verify(received.body, received.headers)
    assert shown["type"] == "task.succeeded"
    assert shown["data"] == {"task_id": "t-1", "version": 3}
    assert received.headers["content-type"] == "application/json"


def test_a_second_attempt_has_the_same_id_and_body_and_a_fresh_time() -> None:
    with Receiver(Answer(status=500)) as receiver:
        message = a_message(receiver.url)
        send(message, now() - timedelta(seconds=60), CONNECTOR)
        send(message, now(), CONNECTOR)
        first, second = receiver.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == message.event_id
    assert first.body == second.body
    assert int(first.headers["webhook-timestamp"]) < int(second.headers["webhook-timestamp"])


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_only_2xx_is_success(status: int) -> None:
    outcome = outcome_of(Answer(status=status, body=b""))
    assert (outcome.ok, outcome.status, outcome.error) == (True, status, None)


@pytest.mark.parametrize("status", [301, 302, 400, 401, 404, 429, 500, 503])
def test_everything_else_is_a_failure_that_may_pass(status: int) -> None:
    outcome = outcome_of(Answer(status=status))
    assert (outcome.ok, outcome.status, outcome.error) == (False, status, f"answered {status}")
    assert not outcome.gone
    assert not outcome.permanent


def test_410_means_gone_for_good() -> None:
    outcome = outcome_of(Answer(status=410))
    assert outcome.gone
    assert outcome.permanent
    assert not outcome.ok


def test_the_wait_that_the_receiver_asks_for_is_handed_on() -> None:
    assert outcome_of(Answer(status=429, headers={"Retry-After": "30"})).retry_after_s == 30


def test_without_an_answer_the_outcome_says_why() -> None:
    outcome = send(a_message("http://169.254.169.254/latest/meta-data/"), now(), CONNECTOR)
    assert outcome.error is not None
    assert outcome.error.startswith("refused: its address is link-local")
    assert (outcome.ok, outcome.status, outcome.excerpt) == (False, None, "")


def test_a_receiver_that_never_answers_is_left_at_the_deadline() -> None:
    with Receiver(Answer(hang=True)) as receiver:
        outcome = send(a_message(receiver.url), now(), CONNECTOR, deadline_s=0.2)
    assert outcome.error == "too_slow: there was no whole answer within 0.2 s"
    assert 0 < outcome.latency_ms < 30_000


def test_a_secret_that_cannot_sign_sends_nothing() -> None:
    with Receiver() as receiver:
        with pytest.raises(UnusableSecretError):
            send(a_message(receiver.url, "whsec_short"), now(), CONNECTOR)
        assert receiver.requests == []


def test_a_message_shows_no_secret_when_printed() -> None:
    message = a_message("http://127.0.0.1/canary")
    assert SECRET not in repr(message)
    assert "canary" not in repr(message)


def test_an_outcome_can_be_stored() -> None:
    assert msgspec.to_builtins(outcome_of(Answer(body=b"thanks")))["excerpt"] == "thanks"
