"""Slack hears of the first event at once and of the rest in one message, whoever sends it."""

import threading

from shared.domain.models import BlockModel
from tests.service.building import store_team
from tests.support.receivers import Answer, Receiver
from tests.support.workbench import Workbench, workbench_on


def texts_of(receiver: Receiver) -> list[str]:
    return [received.json["text"] for received in receiver.requests]


def slack_statuses(bench: Workbench) -> list[str]:
    return [row.status for row in bench.rows("SELECT status FROM delivery WHERE destination = 'slack' ORDER BY 1")]


def test_the_first_event_comes_at_once_and_the_rest_in_one_message(database_url: str) -> None:
    with Receiver() as slack, workbench_on(database_url, slack={"": slack.url}, slack_events=("model.*",)) as bench:
        bench.add_model("first")
        bench.deliver()
        for number in range(30):
            bench.submit("model.block", BlockModel(model_id=bench.add_model(f"m{number}")))
        bench.deliver()
        assert texts_of(slack) == ["Model added: first"]
        bench.wind(seconds=61)
        bench.deliver()
        assert len(slack.requests) == 2
        assert texts_of(slack)[1].startswith("60 events: 30 × ")
        assert set(slack_statuses(bench)) == {"succeeded"}
        bench.wind(seconds=61)
        bench.add_model("later")
        bench.deliver()
        assert texts_of(slack)[2] == "Model added: later"


def test_several_workers_send_one_message(database_url: str) -> None:
    with Receiver() as slack, workbench_on(database_url, slack={"": slack.url}, slack_events=("model.*",)) as bench:
        for number in range(20):
            bench.add_model(f"m{number}")
        workers = [threading.Thread(target=bench.another_deliverer().deliver) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert len(slack.requests) == 1


def test_slack_hears_only_of_what_it_is_told_to(database_url: str) -> None:
    with (
        Receiver() as slack,
        workbench_on(database_url, slack={"": slack.url}, slack_events=("model.blocked",)) as bench,
    ):
        model_id = bench.add_model()
        bench.submit("model.block", BlockModel(model_id=model_id))
        bench.deliver()
        assert texts_of(slack) == ["Model blocked: gpt"]


def test_a_team_has_a_channel_of_its_own(database_url: str) -> None:
    """Also one that is called like the destination of what an earlier release wrote."""
    with (
        Receiver() as everybody,
        Receiver() as red,
        workbench_on(
            database_url, slack={"": everybody.url, "unsorted": red.url}, slack_events=("webhook.*",)
        ) as bench,
    ):
        for team_id in ("unsorted", "blue"):
            store_team(bench.engine, team_id)
        bench.add_webhook("https://hooks.example.com/", team_id="unsorted")
        bench.add_webhook("https://hooks.example.com/", team_id="blue")
        bench.deliver()
        assert len(red.requests) == len(everybody.requests) == 1
        assert texts_of(everybody)[0].startswith("2 events")


def test_a_limit_holds_up_the_channel_and_loses_nothing(database_url: str) -> None:
    limited = Answer(status=429, headers={"Retry-After": "120"})
    with (
        Receiver(limited) as slack,
        workbench_on(database_url, slack={"": slack.url}, slack_events=("model.*",)) as bench,
    ):
        bench.add_model("a")
        bench.deliver()
        bench.add_model("b")
        bench.wind(seconds=100)
        bench.deliver()
        assert len(slack.requests) == 1
        bench.wind(seconds=100)
        bench.deliver()
        assert slack_statuses(bench) == ["succeeded", "succeeded"]


def test_what_slack_refuses_is_not_tried_again_and_changes_no_task(database_url: str) -> None:
    with (
        Receiver(default=Answer(status=400)) as slack,
        workbench_on(database_url, slack={"": slack.url}, slack_events=("model.*",)) as bench,
    ):
        bench.add_model()
        bench.deliver()
        bench.wind(hours=24)
        bench.deliver()
        assert len(slack.requests) == 1
        assert slack_statuses(bench) == ["failed"]
        assert {row.status for row in bench.rows("SELECT status FROM task")} == {"succeeded"}


def test_slack_is_told_of_an_endpoint_that_was_disabled(database_url: str) -> None:
    with (
        Receiver() as slack,
        Receiver(default=Answer(status=410)) as gone,
        workbench_on(database_url, slack={"": slack.url}, slack_events=("webhook.disabled",)) as bench,
    ):
        bench.add_webhook(gone.url)
        bench.add_model()
        bench.deliver()
        bench.apply()
        bench.deliver()
        assert len(slack.requests) == 1
        assert "Webhook disabled" in texts_of(slack)[0]
