import pytest

from shared.outbox import slack as form
from tests.support.receivers import Answer, Receiver
from worker.senders.outcome import Outcome
from worker.senders.slack import send

MESSAGE = form.message("model.created", {"model_name": "fast", "model_id": "m-1"})


def outcome_of(answer: Answer) -> Outcome:
    with Receiver(answer) as receiver:
        return send(receiver.url, MESSAGE)


def test_a_message_arrives_as_it_was_formed() -> None:
    with Receiver() as slack:
        assert send(f"{slack.url}/services/T0/B0/x", MESSAGE).ok
        (received,) = slack.requests
    assert received.json == MESSAGE
    assert received.path == "/services/T0/B0/x"
    assert received.headers["content-type"] == "application/json; charset=utf-8"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_what_slack_refuses_is_not_tried_again(status: int) -> None:
    outcome = outcome_of(Answer(status=status, body=b"invalid_blocks"))
    assert (outcome.ok, outcome.permanent, outcome.excerpt) == (False, True, "invalid_blocks")


@pytest.mark.parametrize("status", [302, 408, 429, 500, 503])
def test_what_can_pass_by_itself_is_tried_again(status: int) -> None:
    outcome = outcome_of(Answer(status=status))
    assert (outcome.ok, outcome.permanent) == (False, False)


def test_a_limit_says_how_long_to_wait() -> None:
    assert outcome_of(Answer(status=429, headers={"Retry-After": "13"})).retry_after_s == 13


def test_one_call_is_one_request() -> None:
    with Receiver(default=Answer(status=500)) as slack:
        send(slack.url, MESSAGE)
        assert len(slack.requests) == 1


def test_a_slack_that_never_answers_is_left_at_the_deadline() -> None:
    with Receiver(Answer(hang=True)) as slack:
        outcome = send(slack.url, MESSAGE, deadline_s=0.2)
    assert not outcome.ok
    assert not outcome.permanent


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/services/canary", "nonsense-canary", "http://a:canary@127.0.0.1/"])
def test_the_url_is_in_no_outcome(url: str) -> None:
    outcome = send(url, MESSAGE)
    assert not outcome.ok
    assert "canary" not in repr(outcome)
