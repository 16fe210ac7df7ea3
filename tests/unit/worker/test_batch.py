from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from shared.domain.decision import Installation, ObjectRef
from shared.domain.models import CreateModel
from shared.domain.principals import Standing
from shared.domain.problems import Poisoned
from shared.domain.rights import MASTER
from shared.encryption.keyring import Keyring, new_key
from shared.encryption.sealing import Binding, seal_document, seal_text
from shared.operations import command_from
from shared.outbox.routing import Endpoint, Routes
from shared.runtime.clock import new_id
from shared.store.tasks import Claimed
from worker.batch import Batch
from worker.principals import Principals

KEYRING = Keyring.parse(new_key("test"))
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
CANARY = "sk-canary-77c1d0a9be5f42"


def a_claimed(model_id: str = "m-1", *, name: str = "gpt", has_callback: bool = False, **fields: Any) -> Claimed:
    task_id = new_id()
    hook = seal_text(KEYRING, Binding("task", task_id), "https://example.com/hook", "webhook_url")
    params = seal_document(KEYRING, Binding("model", model_id), {"model": "openai/gpt-4o", "api_key": CANARY})
    command = CreateModel(model_id=model_id, model_name=name, litellm_params=params, model_info={})
    given: dict[str, Any] = {
        "task_id": task_id,
        "seq": 1,
        "operation": "model.create",
        "object_type": "model",
        "object_id": model_id,
        "command": msgspec.json.decode(msgspec.json.encode(command)),
        "principal": msgspec.to_builtins(MASTER),
        "submitted_by": MASTER.user_id,
        "origin": {"request_id": "r-1", "changed_by": "ann"},
        "webhook_url": hook if has_callback else None,
        "attempt": 0,
    }
    return Claimed(**(given | fields))


def a_batch(*tasks: Claimed, slack: bool = False, principals: Principals | None = None) -> Batch:
    objects = dict.fromkeys(ObjectRef(task.object_type, task.object_id) for task in tasks)
    routes = Routes(slack=slack, slack_events=("model.created",))
    return Batch(objects, NOW, KEYRING, routes, Installation(), principals)


def decide(batch: Batch, *tasks: Claimed) -> None:
    batch.decide(tasks, {task.task_id: command_from(task.operation, task.command) for task in tasks})


def decided(*tasks: Claimed, slack: bool = False) -> Batch:
    batch = a_batch(*tasks, slack=slack)
    decide(batch, *tasks)
    return batch


def test_each_task_is_decided_on_what_the_one_before_left() -> None:
    batch = decided(a_claimed(name="first"), a_claimed(name="second"))
    assert [ending.status for ending in batch.endings] == ["succeeded", "failed"]
    assert batch.changed_of("model")["m-1"][0].model_name == "first"
    assert batch.change_count == 1


def test_each_change_has_a_number_of_its_own() -> None:
    batch = decided(a_claimed("a"), a_claimed("a"), a_claimed("b"), a_claimed("c"))
    numbers = {model_id: number for model_id, (_, number) in batch.changed_of("model").items()}
    assert numbers == {"a": 1, "b": 2, "c": 3}


def test_every_task_has_one_entry_and_one_end() -> None:
    tasks = [a_claimed("a"), a_claimed("a"), a_claimed("b")]
    batch = decided(*tasks)
    ids = [task.task_id for task in tasks]
    assert [entry.task_id for entry in batch.entries] == ids
    assert [ending.task_id for ending in batch.endings] == ids
    assert [entry.action for entry in batch.entries] == ["created", "refused", "created"]


def test_an_entry_says_who_when_and_for_whom() -> None:
    (entry,) = decided(a_claimed()).entries
    assert (entry.actor, entry.actor_key, entry.changed_by) == (MASTER.user_id, MASTER.key_id, "ann")
    assert (entry.recorded_at, entry.request_id, entry.operation) == (NOW, "r-1", "model.create")


def of_somebody(**standing: Any) -> tuple[dict[str, str], Principals]:
    """A principal as a task row has it, and what is known of it now."""
    known = Standing(token="k", current_token="k", user_id="u", role="internal_user")
    stored = {"user_id": "u", "role": "proxy_admin", "key_id": "k"}
    return stored, Principals({"k": msgspec.structs.replace(known, **standing)})


def test_rights_are_judged_again_and_not_believed() -> None:
    principal, principals = of_somebody()
    task = a_claimed(principal=principal)
    batch = a_batch(task, principals=principals)
    decide(batch, task)
    assert (batch.endings[0].problem or {})["code"] == "not_permitted"
    assert batch.changed_of("model") == {}


@pytest.mark.parametrize(
    ("standing", "code"),
    [
        ({"blocked": True}, "key_blocked"),
        ({"is_team_blocked": True}, "key_blocked"),
        ({"expires": NOW}, "key_expired"),
        ({"current_token": "next"}, "unknown_key"),
    ],
)
def test_what_a_key_asked_for_is_refused_once_it_holds_no_more(standing: dict[str, Any], code: str) -> None:
    principal, principals = of_somebody(role="proxy_admin", **standing)
    task = a_claimed(principal=principal)
    batch = a_batch(task, principals=principals)
    decide(batch, task)
    assert (batch.endings[0].problem or {})["code"] == code


def test_nobody_is_told_unless_somebody_wants_to_know() -> None:
    assert decided(a_claimed()).routed([]).events == []


def test_a_callback_is_told_of_the_end_whatever_it_is() -> None:
    outgoing = decided(a_claimed(has_callback=True), a_claimed(has_callback=True)).routed([])
    assert [event.type for event in outgoing.events] == ["task.succeeded", "task.failed"]
    assert [delivery.destination for delivery in outgoing.deliveries] == ["callback", "callback"]
    assert outgoing.events[1].data["problem"]["code"] == "model_exists"


def test_callbacks_of_one_user_to_one_host_take_turns_with_each_other_only() -> None:
    of_another = {"submitted_by": "another"}
    outgoing = decided(
        a_claimed("a", has_callback=True),
        a_claimed("b", has_callback=True),
        a_claimed("c", has_callback=True, **of_another),
    ).routed([])
    first, second, third = (delivery.destination_id for delivery in outgoing.deliveries)
    assert first == second != third
    assert "example.com" not in first


def test_whoever_listens_is_told_of_the_change_and_of_the_end() -> None:
    listening = Endpoint(webhook_id="w", event_types=("*",), team_id=None, enabled=True)
    outgoing = decided(a_claimed()).routed([listening])
    assert [event.type for event in outgoing.events] == ["model.created", "task.succeeded"]
    assert {delivery.webhook_id for delivery in outgoing.deliveries} == {"w"}


TEAMS_OWN = Endpoint(webhook_id="w", event_types=("*",), team_id="red", enabled=True)


def of_team(team_id: str, task: Claimed) -> Claimed:
    return msgspec.structs.replace(task, command={**task.command, "team_id": team_id})


@pytest.mark.parametrize(("team_id", "types"), [("red", ["task.failed"]), ("blue", [])])
def test_a_team_hears_of_the_end_of_its_tasks_though_there_is_no_object(team_id: str, types: list[str]) -> None:
    refused = a_claimed(principal={"user_id": "u", "role": "internal_user", "key_id": "k"})
    outgoing = decided(of_team(team_id, refused)).routed([TEAMS_OWN])
    assert [event.type for event in outgoing.events] == types


@pytest.mark.parametrize(("team_id", "types"), [("red", ["task.cancelled"]), ("blue", [])])
def test_a_team_hears_of_what_is_called_off(team_id: str, types: list[str]) -> None:
    batch = a_batch()
    batch.decide([of_team(team_id, a_claimed(is_cancelled=True))], {})
    assert [event.type for event in batch.routed([TEAMS_OWN]).events] == types


def test_a_team_hears_of_its_objects_whoever_changes_them() -> None:
    task = a_claimed(operation="model.delete", command={"operation": "model.delete", "model_id": "m-1"})
    (created,) = decided(a_claimed()).changed_of("model").values()
    model = msgspec.structs.replace(created[0], team_id="red")
    batch = Batch({ObjectRef("model", "m-1"): model}, NOW, KEYRING, Routes(), Installation())
    decide(batch, task)
    assert [event.type for event in batch.routed([TEAMS_OWN]).events] == ["model.deleted", "task.succeeded"]


def test_slack_is_told_of_an_added_model() -> None:
    outgoing = decided(a_claimed(), slack=True).routed([])
    assert [event.type for event in outgoing.events] == ["model.created"]
    assert outgoing.deliveries[0].event_id == outgoing.events[0].event_id
    assert outgoing.events[0].event_id.startswith("evt_")


def test_no_secret_leaves_a_batch_but_sealed_in_its_object() -> None:
    batch = decided(a_claimed(has_callback=True), slack=True)
    said = msgspec.json.encode([batch.entries, batch.routed([]).events, batch.endings])
    assert CANARY.encode() not in said
    assert b"api_key" not in msgspec.json.encode([ending.result for ending in batch.endings])
    assert CANARY.encode() not in msgspec.json.encode(batch.changed_of("model")["m-1"][0])


@pytest.mark.parametrize("command", [None, {}, [], "x", {"operation": "model.create"}])
def test_a_command_that_cannot_be_read_breaks_the_batch_off(command: Any) -> None:
    task = a_claimed(command=command)
    with pytest.raises(msgspec.ValidationError):
        decide(a_batch(task), task)


def test_such_a_task_can_be_ended_with_a_problem() -> None:
    task = a_claimed(command=None, principal={}, has_callback=True)
    batch = a_batch(task)
    batch.fail(task, Poisoned(3).problem())
    assert batch.endings[0].status == "failed"
    assert (batch.entries[0].action, batch.entries[0].actor) == ("refused", MASTER.user_id)
    assert batch.routed([]).events[0].data["problem"]["code"] == "poisoned"
