"""What comes to a webhook endpoint, when again, and how its owner sees it."""

from typing import Any

import msgspec
import pytest
from standardwebhooks.webhooks import Webhook as Verifier

from shared.domain.webhooks import (
    DeleteWebhook,
    DisableWebhook,
    EnableWebhook,
    ReplayWebhook,
    RotateSecret,
    SendTest,
    UpdateWebhook,
)
from shared.outbox.webhook import new_secret
from shared.store import outbox
from tests.support.receivers import Answer, Receiver
from tests.support.workbench import Workbench

NOT_NOW = Answer(status=500)


def types_of(receiver: Receiver) -> list[str]:
    return [received.json["type"] for received in receiver.requests]


def verified(receiver: Receiver, number: int, secret: str) -> Any:
    received = receiver.requests[number]
    return Verifier(secret).verify(received.body, received.headers)


def test_a_change_comes_to_whoever_listens_signed_and_thin(bench: Workbench) -> None:
    with Receiver() as receiver, Receiver() as other:
        webhook_id, secret = bench.add_webhook(receiver.url, "model.created")
        bench.add_webhook(other.url, "task.failed", "webhook.test")
        model_id = bench.add_model("gpt")
        bench.deliver()
        body = verified(receiver, 0, secret)
        assert types_of(receiver) == ["model.created"]
        assert other.requests == []
    assert body["data"].items() >= {"model_id": model_id, "model_name": "gpt", "version": 1}.items()
    assert bench.statuses(webhook_id) == ["succeeded"]


@pytest.mark.parametrize(("listens_to", "hears"), [("*", True), ("model.*", True), ("team.*", False)])
def test_wildcards_stand_for_types(bench: Workbench, listens_to: str, hears: bool) -> None:
    with Receiver() as receiver:
        bench.add_webhook(receiver.url, listens_to)
        bench.add_model()
        bench.deliver()
        assert ("model.created" in types_of(receiver)) == hears


def test_a_team_hears_of_its_own_only(bench: Workbench) -> None:
    with Receiver() as receiver:
        bench.add_webhook(receiver.url, "*", team_id="red")
        bench.add_model()
        bench.deliver()
        # What it hears of is its own endpoint.
        assert {received.json["data"].get("team_id") for received in receiver.requests} <= {"red"}
        assert "model.created" not in types_of(receiver)


def test_a_failed_call_is_made_again_with_the_same_id_and_a_fresh_time(bench: Workbench) -> None:
    with Receiver(NOT_NOW) as receiver:
        webhook_id, secret = bench.add_webhook(receiver.url)
        bench.add_model()
        bench.deliver()
        assert bench.statuses(webhook_id) == ["pending"]
        bench.wind(seconds=7)
        bench.deliver()
        first, second = receiver.requests
        verified(receiver, 1, secret)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert bench.statuses(webhook_id) == ["succeeded"]


def test_every_attempt_is_kept_with_its_answer(bench: Workbench) -> None:
    with Receiver(Answer(status=503, body=b"come back later")) as receiver:
        webhook_id, _ = bench.add_webhook(receiver.url)
        bench.add_model()
        bench.deliver()
        bench.wind(hours=2)
        bench.deliver()
    with bench.engine.begin() as connection:
        delivery = connection.execute(outbox.of_webhook(webhook_id, limit=9, before_id=None, status=None)).one()
        attempts = connection.execute(outbox.attempts_of(delivery.delivery_id)).all()
    assert [(attempt.number, attempt.status_code) for attempt in attempts] == [(1, 503), (2, 200)]
    assert attempts[0].excerpt == "come back later"


def test_when_the_schedule_is_used_up_it_has_failed_and_a_replay_starts_it_anew(bench: Workbench) -> None:
    with Receiver(*[NOT_NOW] * 5) as receiver:
        webhook_id, _ = bench.add_webhook(receiver.url)
        bench.add_model()
        for _ in range(5):
            bench.deliver()
            bench.wind(hours=1)
        assert len(receiver.requests) == 4
        assert bench.statuses(webhook_id) == ["failed"]
        bench.submit("webhook.replay", ReplayWebhook(webhook_id=webhook_id, since=bench.since(hours=24)))
        bench.deliver()
        assert bench.statuses(webhook_id) == ["pending"]
        bench.wind(seconds=7)
        bench.deliver()
        assert bench.statuses(webhook_id) == ["succeeded"]
        assert len({received.headers["webhook-id"] for received in receiver.requests}) == 1


def test_one_delivery_is_sent_again_though_it_arrived(bench: Workbench) -> None:
    with Receiver() as receiver:
        webhook_id, secret = bench.add_webhook(receiver.url)
        bench.add_model()
        bench.add_model()
        bench.deliver()
        delivery = bench.rows("SELECT delivery_id, event_id FROM delivery WHERE webhook_id = :id", id=webhook_id)[0]
        bench.submit("webhook.replay", ReplayWebhook(webhook_id=webhook_id, delivery_id=delivery.delivery_id))
        bench.deliver()
        assert len(receiver.requests) == 3
        assert receiver.requests[2].headers["webhook-id"] == delivery.event_id
        verified(receiver, 2, secret)


def test_nobody_replays_what_was_sent_to_others(bench: Workbench) -> None:
    with Receiver() as receiver, Receiver() as other:
        webhook_id, _ = bench.add_webhook(receiver.url)
        other_id, _ = bench.add_webhook(other.url)
        bench.add_model()
        bench.deliver()
        foreign = bench.rows("SELECT delivery_id FROM delivery WHERE webhook_id = :id", id=other_id)[0].delivery_id
        bench.submit("webhook.replay", ReplayWebhook(webhook_id=webhook_id, delivery_id=foreign))
        bench.deliver()
        assert len(other.requests) == 1


def test_while_secrets_rotate_both_are_good_and_afterwards_the_new_one(bench: Workbench) -> None:
    with Receiver() as receiver:
        webhook_id, old = bench.add_webhook(receiver.url)
        new = new_secret()
        bench.submit(
            "webhook.rotate_secret", RotateSecret(webhook_id=webhook_id, secret=bench.sealed(webhook_id, new, "secret"))
        )
        bench.add_model()
        bench.deliver()
        verified(receiver, 0, old)
        verified(receiver, 0, new)
        bench.wind(hours=25)
        bench.add_model()
        bench.deliver()
        verified(receiver, 1, new)
        assert len(receiver.requests[1].headers["webhook-signature"].split(" ")) == 1


def test_a_disabled_endpoint_is_left_alone_and_a_replay_closes_the_gap(bench: Workbench) -> None:
    with Receiver() as receiver:
        webhook_id, _ = bench.add_webhook(receiver.url)
        bench.add_model("before")
        bench.submit("webhook.disable", DisableWebhook(webhook_id=webhook_id))
        bench.add_model("meanwhile")
        bench.deliver()
        assert receiver.requests == []
        assert bench.statuses(webhook_id) == ["failed", "failed"]
        bench.submit("webhook.enable", EnableWebhook(webhook_id=webhook_id))
        bench.submit("webhook.replay", ReplayWebhook(webhook_id=webhook_id, since=bench.since(hours=1)))
        bench.deliver()
        assert {received.json["data"]["model_name"] for received in receiver.requests} == {"before", "meanwhile"}


def test_a_test_comes_to_this_endpoint_alone_even_while_it_is_disabled(bench: Workbench) -> None:
    with Receiver() as receiver, Receiver() as other:
        webhook_id, _ = bench.add_webhook(receiver.url, "task.failed")
        bench.add_webhook(other.url, "*")
        bench.submit("webhook.disable", DisableWebhook(webhook_id=webhook_id))
        bench.submit("webhook.test", SendTest(webhook_id=webhook_id))
        bench.deliver()
        assert types_of(receiver) == ["webhook.test"]
        assert "webhook.test" not in types_of(other)


def test_410_disables_the_endpoint(bench: Workbench) -> None:
    with Receiver(Answer(status=410)) as receiver:
        webhook_id, _ = bench.add_webhook(receiver.url)
        bench.add_model()
        bench.deliver()
        bench.apply()
        bench.add_model()
        bench.deliver()
        assert len(receiver.requests) == 1
    endpoint = bench.rows("SELECT enabled, disabled_reason FROM webhook_endpoint")[0]
    assert (endpoint.enabled, endpoint.disabled_reason) == (False, "gone")
    assert bench.rows("SELECT actor FROM audit_entry WHERE action = 'disabled'")[0].actor == "pointsman"
    assert len(bench.told) == 1
    assert bench.statuses(webhook_id) == ["failed", "failed"]


def test_an_endpoint_that_only_fails_for_days_is_disabled(bench: Workbench) -> None:
    with Receiver(default=NOT_NOW) as receiver:
        bench.add_webhook(receiver.url)
        for _ in range(6):
            bench.add_model()
            bench.deliver()
            bench.wind(hours=18)
        assert bench.rows("SELECT enabled FROM webhook_endpoint")[0].enabled
        bench.wind(hours=13)
        bench.add_model()
        bench.deliver()
        bench.apply()
    endpoint = bench.rows("SELECT enabled, disabled_reason FROM webhook_endpoint")[0]
    assert (endpoint.enabled, endpoint.disabled_reason) == (False, "failing")


def test_one_success_starts_the_clock_anew(bench: Workbench) -> None:
    with Receiver(*[NOT_NOW] * 4, Answer(), default=NOT_NOW) as receiver:
        webhook_id, _ = bench.add_webhook(receiver.url)
        for _ in range(9):
            bench.add_model()
            bench.deliver()
            bench.wind(hours=18)
    assert bench.destination(f"webhook:{webhook_id}").last_success_at is not None
    assert bench.rows("SELECT enabled FROM webhook_endpoint")[0].enabled


def test_what_waits_for_a_deleted_endpoint_ends_as_failed(bench: Workbench) -> None:
    with Receiver() as receiver:
        webhook_id, _ = bench.add_webhook(receiver.url)
        bench.add_model()
        bench.submit("webhook.delete", DeleteWebhook(webhook_id=webhook_id))
        bench.deliver()
        assert receiver.requests == []
    assert bench.statuses(webhook_id) == ["failed"]


def test_what_is_not_taken_for_days_ends_as_failed(bench: Workbench) -> None:
    with Receiver(default=NOT_NOW) as receiver:
        webhook_id, _ = bench.add_webhook(receiver.url)
        for _ in range(8):
            bench.add_model()
        for _ in range(5):
            bench.deliver()
            bench.wind(hours=1)
        bench.wind(days=4)
        bench.deliver()
        assert set(bench.statuses(webhook_id)) == {"failed"}


def test_a_crash_after_the_call_sends_it_again_with_the_same_id(bench: Workbench) -> None:
    with Receiver() as receiver:
        webhook_id, _ = bench.add_webhook(receiver.url)
        bench.add_model()
        dying = bench.another_deliverer()

        dying._turn([], [])
        receiver.wait_for(1)
        bench.deliver()
        assert bench.statuses(webhook_id) == ["pending"]
        bench.wind(seconds=61)
        bench.deliver()
        first, second = receiver.requests
        assert first.headers["webhook-id"] == second.headers["webhook-id"]
        assert bench.statuses(webhook_id) == ["succeeded"]


def test_a_receiver_says_when_to_come_back(bench: Workbench) -> None:
    with Receiver(Answer(status=429, headers={"Retry-After": "600"})) as receiver:
        webhook_id, _ = bench.add_webhook(receiver.url)
        bench.add_model()
        bench.deliver()
        bench.add_model()
        bench.wind(seconds=590)
        bench.deliver()
        assert len(receiver.requests) == 1
        bench.wind(seconds=200)
        bench.deliver()
        assert bench.statuses(webhook_id) == ["succeeded", "succeeded"]


def test_neither_the_url_nor_a_secret_stands_anywhere_in_clear(bench: Workbench) -> None:
    with Receiver() as receiver:
        webhook_id, secret = bench.add_webhook(f"{receiver.url}/hook?token=canary-1", "*")
        bench.add_model()
        bench.submit("webhook.test", SendTest(webhook_id=webhook_id))
        bench.deliver()
        sent = b"".join(received.body for received in receiver.requests)
    tables = ("task", "audit_entry", "event", "delivery", "delivery_attempt", "webhook_endpoint", "destination")
    stored = "".join(str(row) for table in tables for row in bench.rows(f"SELECT {table}::text FROM {table}"))
    for canary in ("canary-1", secret, secret.removeprefix("whsec_")):
        assert canary not in stored
        assert canary.encode() not in sent


def test_the_audit_log_shows_that_url_and_secret_changed_and_not_to_what(bench: Workbench) -> None:
    webhook_id, _ = bench.add_webhook("https://hooks.example.com/in?token=canary-1")
    url = bench.sealed(webhook_id, "https://hooks.example.com/in?token=canary-2", "url")
    bench.submit("webhook.update", UpdateWebhook(webhook_id=webhook_id, url=url))
    entry = bench.rows("SELECT before, after FROM audit_entry WHERE action = 'updated'")[0]
    assert entry.before["url"].startswith("https://hooks.example.com/in?token=*** (")
    assert entry.before["url"] != entry.after["url"]
    assert entry.before["secret"] == entry.after["secret"]


def test_a_task_result_holds_no_secret(bench: Workbench) -> None:
    bench.add_webhook("https://hooks.example.com/in")
    result = bench.rows("SELECT result, command FROM task WHERE operation = 'webhook.create'")[0]
    assert result.command is None
    assert not {"secret", "previous_secret"} & set(result.result)
    assert msgspec.json.encode(result.result)
