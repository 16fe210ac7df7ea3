from typing import Any

import msgspec
import pytest

from shared.contract.events import EVENTS
from shared.domain import credentials, models, webhooks
from shared.domain.credentials import CreateCredential, DeleteCredential, UpdateCredential
from shared.domain.decision import Context, Event, Installation, ObjectRef
from shared.domain.encryption import RotateKeys
from shared.domain.models import BlockModel, CreateModel, DeleteModel, RollbackModel, UnblockModel, UpdateModel
from shared.domain.rights import MASTER
from shared.domain.tasks import CHORES, Line
from shared.domain.webhooks import (
    CreateWebhook,
    DeleteWebhook,
    DisableWebhook,
    EnableWebhook,
    ReplayWebhook,
    RotateSecret,
    SendTest,
    UpdateWebhook,
)
from shared.operations import OPERATIONS, command_from
from shared.runtime.clock import now

DECIDED = sorted(OPERATIONS.keys() - CHORES.keys())
"""In one go, and not in chunks."""
COMMANDS: dict[str, Any] = {
    "model.create": CreateModel(model_id="m-1", model_name="n", litellm_params={"model": "x"}, model_info={"a": 1}),
    "model.update": UpdateModel(model_id="m-1", set_params={"rpm": 1}, remove_params=("tpm",), if_match="*"),
    "model.delete": DeleteModel(model_id="m-1"),
    "model.block": BlockModel(model_id="m-1"),
    "model.unblock": UnblockModel(model_id="m-1"),
    "model.rollback": RollbackModel(model_id="m-1", to_version=1),
    "credential.create": CreateCredential(
        credential_name="c-1", credential_values={"api_key": "x"}, credential_info={"a": 1}
    ),
    "credential.update": UpdateCredential(credential_name="c-1", set_values={"api_key": "y"}),
    "credential.delete": DeleteCredential(credential_name="c-1"),
    "encryption.rotate": RotateKeys(key_id="k-1"),
    "webhook.create": CreateWebhook(webhook_id="w-1", url="x", event_types=("*",), secret="y", description="d"),
    "webhook.update": UpdateWebhook(webhook_id="w-1", event_types=("model.*",)),
    "webhook.delete": DeleteWebhook(webhook_id="w-1"),
    "webhook.rotate_secret": RotateSecret(webhook_id="w-1", secret="z"),
    "webhook.enable": EnableWebhook(webhook_id="w-1"),
    "webhook.disable": DisableWebhook(webhook_id="w-1"),
    "webhook.test": SendTest(webhook_id="w-1"),
    "webhook.replay": ReplayWebhook(webhook_id="w-1", since=now()),
}


def the_state_before(name: str) -> dict[ObjectRef, Any]:
    """In which the command changes something."""
    if name == "model.create":
        return {models.ref("m-1"): None}
    context = Context(now=now(), principal=MASTER, task_id="t")
    if name.startswith("webhook."):
        where = webhooks.ref("w-1")
        if name == "webhook.create":
            return {where: None}
        created = webhooks.create({where: None}, COMMANDS["webhook.create"], context).objects[where]
        return {where: msgspec.structs.replace(created, enabled=name != "webhook.enable")}
    if name.startswith("credential."):
        where = credentials.ref("c-1")
        if name == "credential.create":
            return {where: None}
        created = credentials.create({where: None}, COMMANDS["credential.create"], context).objects[where]
        return {where: created, credentials.users_ref("c-1"): frozenset()}
    created = models.create({models.ref("m-1"): None}, COMMANDS["model.create"], context).objects[models.ref("m-1")]
    changed = msgspec.structs.replace(created, model_name="other", blocked=name == "model.unblock", version=2)
    return {models.ref("m-1"): changed, models.revision_ref("m-1", 1): created}


def test_every_operation_has_a_command_here() -> None:
    assert set(COMMANDS) == set(OPERATIONS)


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_stored_command_is_read_again(name: str) -> None:
    stored = msgspec.json.decode(msgspec.json.encode(COMMANDS[name]))
    assert command_from(name, stored) == COMMANDS[name]


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_command_of_another_operation_is_not_read(name: str) -> None:
    stored = msgspec.json.decode(msgspec.json.encode(COMMANDS[name])) | {"operation": "model.other"}
    with pytest.raises(msgspec.ValidationError):
        command_from(name, stored)


@pytest.mark.parametrize("name", DECIDED)
def test_a_decision_changes_only_what_it_touches(name: str) -> None:
    operation, command = OPERATIONS[name], COMMANDS[name]
    touched = operation.touched(command)
    assert touched[0].object_type == operation.object_type
    before = the_state_before(name)
    operation.check(command, {touched[0]: Line(is_stored=not name.endswith(".create"))}, Installation())
    state = {ref: before[ref] for ref in touched}
    decision = operation.decide(state, command, Context(now=now(), principal=MASTER, task_id="t"))
    assert set(decision.objects) <= set(touched)
    assert {ObjectRef(change.object_type, change.object_id) for change in decision.changes} <= set(touched)
    assert decision.changes
    answered = operation.answer(decision.result)
    assert {"m-1", "c-1", "w-1"} & {answered.get(field) for field in ("model_id", "credential_name", "webhook_id")}


ENDS = {"task.succeeded", "task.failed", "task.cancelled", "task.poisoned"}
ALARMS = {"secret.unreadable"}


def events_of(name: str) -> tuple[Event, ...]:
    context = Context(now=now(), principal=MASTER, task_id="t")
    return OPERATIONS[name].decide(the_state_before(name), COMMANDS[name], context).events


def test_the_listed_events_are_those_that_there_are() -> None:
    announced = {event.type for name in DECIDED for event in events_of(name)}
    assert announced | ENDS | ALARMS == set(EVENTS)


@pytest.mark.parametrize("name", DECIDED)
def test_an_event_has_the_fields_that_are_listed(name: str) -> None:
    for event in events_of(name):
        always = {field for field in EVENTS[event.type].fields if not field.endswith("?")}
        listed = {field.removesuffix("?") for field in EVENTS[event.type].fields}
        assert always <= event.data.keys() <= listed


@pytest.mark.parametrize("name", CHORES)
def test_a_long_task_is_found_by_its_line(name: str) -> None:
    operation, command = OPERATIONS[name], COMMANDS[name]
    (own,) = operation.touched(command)
    assert own.object_type == operation.object_type
    assert own.line == CHORES[name]
    operation.check(command, {own: Line(is_stored=False)}, Installation())
