"""What happened is announced: to the callback of each task, signed, and to the operator's Slack channel."""

from collections.abc import Iterator
from typing import Any

import pytest
import standardwebhooks

from tests.support.fleet import API, DELIVER, Fleet, a_model, running_fleet, until
from tests.support.receivers import Answer, Received, Receiver

pytestmark = [pytest.mark.xdist_group("announcing"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def slack() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, slack: Receiver) -> Iterator[Fleet]:
    url = f"{slack.url}/services/T0/B0/secret-of-slack"
    with running_fleet(tmp_path_factory, slack_webhook_url=url, slack_window="1") as fleet:
        yield fleet


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


# --- callbacks ---


def test_each_task_has_one_callback_that_verifies(fleet: Fleet, receiver: Receiver) -> None:
    sent = [fleet.accepted(a_model(f"told {number}"), webhook_url=f"{receiver.url}/told") for number in range(20)]
    tasks = {task["task_id"]: task for task in fleet.all_succeed(sent)}
    _until_delivered(fleet, *sent)
    bodies = [_verified(fleet, request) for request in receiver.requests]
    assert sorted(body["data"]["task_id"] for body in bodies) == sorted(sent)
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == len(sent)
    for body in bodies:
        task = tasks[body["data"]["task_id"]]
        assert (body["type"], body["data"]["status"]) == ("task.succeeded", "succeeded")
        assert body["data"]["object_id"] == task["object_id"]


def test_a_signature_of_somebody_elses_secret_does_not_verify(fleet: Fleet, receiver: Receiver) -> None:
    fleet.submit(a_model(), webhook_url=receiver.url)
    (request,) = receiver.wait_for(1)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook("whsec_" + "A" * 43 + "=").verify(request.body, request.headers)


def test_a_callback_that_fails_twice_comes_a_third_time_as_the_same(fleet: Fleet, receiver: Receiver) -> None:
    receiver.answer_with(Answer(status=500, body=b"not now"), Answer(status=500, body=b"nor now"))
    task_id = fleet.accepted(a_model(), webhook_url=f"{receiver.url}/again")
    (delivery,) = _until_delivered(fleet, task_id)
    requests = receiver.requests
    assert len(requests) == 3
    assert {request.headers["webhook-id"] for request in requests} == {delivery["webhook_id"]}
    assert {request.body for request in requests} == {requests[0].body}
    assert {_verified(fleet, request)["data"]["task_id"] for request in requests} == {task_id}
    attempts = [(attempt["number"], attempt["status_code"], attempt["excerpt"]) for attempt in delivery["attempts"]]
    assert attempts == [(1, 500, "not now"), (2, 500, "nor now"), (3, 200, "ok")]
    assert (delivery["status"], delivery["attempt"]) == ("succeeded", 3)


def test_a_callback_is_given_up_when_its_schedule_is_used_up(fleet: Fleet, receiver: Receiver) -> None:
    receiver.default = Answer(status=503)
    task_id = fleet.accepted(a_model(), webhook_url=receiver.url)
    (delivery,) = until(lambda: _ended_deliveries(fleet, task_id))
    assert (delivery["status"], len(delivery["attempts"])) == ("failed", 4)
    assert len(receiver.requests) == 4
    assert fleet.ended(task_id)["status"] == "succeeded"


def test_a_redirect_is_not_followed(fleet: Fleet, receiver: Receiver) -> None:
    with Receiver() as elsewhere:
        receiver.default = Answer(status=302, headers={"Location": elsewhere.url})
        task_id = fleet.accepted(a_model(), webhook_url=receiver.url)
        (delivery,) = until(lambda: _ended_deliveries(fleet, task_id))
        assert {attempt["status_code"] for attempt in delivery["attempts"]} == {302}
        assert elsewhere.requests == []


def test_a_callback_to_nobody_says_so_in_the_log_of_its_attempts(fleet: Fleet) -> None:
    with Receiver() as gone:
        url = gone.url
    task_id = fleet.accepted(a_model(), webhook_url=url)
    (delivery,) = until(lambda: _ended_deliveries(fleet, task_id))
    assert delivery["status"] == "failed"
    assert all(attempt["status_code"] is None and attempt["error"] for attempt in delivery["attempts"])


def test_a_receiver_that_never_answers_holds_up_no_change(fleet: Fleet, receiver: Receiver) -> None:
    with Receiver(default=Answer(hang=True)) as deaf:
        stuck_id = fleet.accepted(a_model(), webhook_url=deaf.url)
        deaf.wait_for(1)
        fleet.all_succeed([stuck_id])
        task_id = fleet.accepted(a_model("beside it"), webhook_url=receiver.url)
        fleet.all_succeed([task_id])
        receiver.wait_for(1)
        assert _deliveries(fleet, stuck_id)[0]["status"] == "pending"


def test_callbacks_that_nobody_sends_are_sent_when_the_deliverer_is_back(fleet: Fleet, receiver: Receiver) -> None:
    with fleet.without(DELIVER):
        sent = [fleet.accepted(a_model(), webhook_url=receiver.url) for _ in range(5)]
        fleet.all_succeed(sent)
        assert receiver.requests == []
    _until_delivered(fleet, *sent)
    assert sorted(_verified(fleet, request)["data"]["task_id"] for request in receiver.requests) == sorted(sent)


def test_a_callback_to_this_machine_is_refused_unless_it_is_allowed(fleet: Fleet, receiver: Receiver) -> None:
    fleet.stop(API)
    fleet.start(API, POINTSMAN_WEBHOOK_ALLOW="")
    for url in (
        receiver.url,
        f"http://localhost:{receiver.port}",
        "http://169.254.169.254/latest",
        "file:///etc/passwd",
    ):
        refused = fleet.submit(a_model("refused"), webhook_url=url)
        assert (refused.status_code, refused.json()["error"]["param"]) == (422, "Webhook-Url")
    fleet.stop(API)
    fleet.start(API)
    assert receiver.requests == []
    assert "refused" not in {entry["model_name"] for entry in fleet.models().values()}


def test_a_callback_is_refused_again_when_it_is_sent(fleet: Fleet, receiver: Receiver) -> None:
    """What was allowed when it was accepted may not be any more."""
    fleet.stop(DELIVER)
    fleet.start(DELIVER, POINTSMAN_WEBHOOK_ALLOW="")
    task_id = fleet.accepted(a_model(), webhook_url=receiver.url)
    (delivery,) = until(lambda: _ended_deliveries(fleet, task_id))
    assert delivery["status"] == "failed"
    assert receiver.requests == []
    fleet.stop(DELIVER)


# --- Slack ---


def test_slack_is_told_of_an_added_model_and_nobody_is_called_by_its_name(fleet: Fleet, slack: Receiver) -> None:
    _add_and_tell(fleet, "<!channel> & <@U1> <https://example.com|free>")
    message = slack.requests[-1]
    assert message.path == "/services/T0/B0/secret-of-slack"
    text = message.body.decode()
    assert "&lt;!channel&gt; &amp; &lt;@U1&gt; &lt;https://example.com|free&gt;" in message.json["text"]
    assert "<!" not in text
    assert "<@" not in text
    assert "<https" not in text
    assert "Model added" in message.json["text"]


@pytest.mark.parametrize(("status", "tries"), [(400, 1), (404, 1), (500, 2), (429, 2)])
def test_slack_failing_changes_no_task(fleet: Fleet, slack: Receiver, status: int, tries: int) -> None:
    """What Slack says of the message is not tried again; what passes by itself is."""
    fleet.all_told()
    before = len(slack.requests)
    slack.answer_with(Answer(status=status, body=b"invalid_blocks"))
    assert _add_and_tell(fleet, f"slack says {status}")["status"] == "succeeded"
    assert len(slack.requests) - before == tries


def _add_and_tell(fleet: Fleet, name: str) -> dict[str, Any]:
    """Alone, and not in one message with others. Returns once Slack was told, or given up."""
    fleet.all_told()
    task = fleet.ended(fleet.accepted(a_model(name)))
    told = "SELECT 1 FROM delivery WHERE task_id = %s AND destination = 'slack' AND finished_at IS NOT NULL"
    until(lambda: fleet.select(told, task["task_id"]))
    return task


def _verified(fleet: Fleet, request: Received) -> dict[str, Any]:
    secret = fleet.http.get("/webhooks/secret").raise_for_status().json()["secret"]
    return standardwebhooks.Webhook(secret).verify(request.body, request.headers)


def _deliveries(fleet: Fleet, task_id: str) -> list[dict[str, Any]]:
    return fleet.http.get(f"/tasks/{task_id}").raise_for_status().json()["webhook"]["deliveries"]


def _ended_deliveries(fleet: Fleet, task_id: str) -> list[dict[str, Any]]:
    return [delivery for delivery in _deliveries(fleet, task_id) if delivery["status"] != "pending"]


def _until_delivered(fleet: Fleet, *task_ids: str) -> list[dict[str, Any]]:
    ended = [until(lambda task_id=task_id: _ended_deliveries(fleet, task_id)) for task_id in task_ids]
    deliveries = [delivery for (delivery,) in ended]
    assert {delivery["status"] for delivery in deliveries} == {"succeeded"}
    return deliveries
