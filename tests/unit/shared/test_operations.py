from typing import Any

import msgspec
import pytest

from shared.contract.events import EVENTS
from shared.domain import credentials, keys, model_lists, models, team_models, teams, users, webhooks
from shared.domain.credentials import CreateCredential, DeleteCredential, UpdateCredential
from shared.domain.decision import Context, Event, ObjectRef
from shared.domain.encryption import RotateKeys
from shared.domain.keys import (
    BlockKey,
    CreateKey,
    DeleteKeys,
    Key,
    KeyFields,
    RegenerateKey,
    UnblockKey,
    UpdateKey,
)
from shared.domain.members import Member
from shared.domain.models import BlockModel, CreateModel, DeleteModel, RollbackModel, UnblockModel, UpdateModel
from shared.domain.rights import MASTER
from shared.domain.tasks import CHORES, Line
from shared.domain.users import CreateUser, DeleteUsers, UpdateUser, User
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
    "team.create": teams.CreateTeam(team_id="t-1", models=("gpt",)),
    "team.update": teams.UpdateTeam(team_id="t-1", team_alias="A", settings={"rpm_limit": None}, if_match="*"),
    "team.delete": teams.DeleteTeams(team_ids=("t-1",)),
    "team.block": teams.BlockTeam(team_id="t-1"),
    "team.unblock": teams.UnblockTeam(team_id="t-1"),
    "team.member_add": teams.AddMembers(team_id="t-1", members=(Member(user_id="ann", role="admin"),)),
    "team.member_update": teams.UpdateMember(team_id="t-1", user_id="default_user_id", role="user"),
    "team.member_delete": teams.DeleteMember(team_id="t-1", user_id="default_user_id"),
    "team.model_add": teams.AddTeamModels(team_id="t-1", models=("claude",)),
    "team.model_delete": teams.DeleteTeamModels(team_id="t-1", models=("gpt",)),
    "key.create": CreateKey(token="k-1", key_name="sk-...abcd", models=("gpt-4o",), settings={"rpm_limit": 5}),
    "key.update": UpdateKey(token="k-1", fields=KeyFields(blocked=True, duration_s=None), if_match="*"),
    "key.regenerate": RegenerateKey(token="k-1", new_token="k-2", new_key_name="sk-...wxyz", grace_s=60),
    "key.block": BlockKey(token="k-1"),
    "key.unblock": UnblockKey(token="k-1"),
    "key.delete": DeleteKeys(tokens=("k-1",)),
    "user.create": CreateUser(user_id="u-1", role="internal_user", key=CreateKey(token="k-1", key_name="sk-...abcd")),
    "user.update": UpdateUser(user_id="u-1", role="proxy_admin"),
    "user.delete": DeleteUsers(user_ids=("u-1",)),
}
_STAMPS: dict[str, Any] = {
    "version": 1,
    "created_at": now(),
    "created_by": "ann",
    "updated_at": now(),
    "updated_by": "ann",
}


NAMES: tuple[Any, ...] = ("m-1", "c-1", "w-1", "u-1", "k-1", "k-2", "t-1", ["k-1"], ["u-1"], ["t-1"])


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
    if name.startswith("team."):
        return the_team_before(name, context)
    if name.startswith(("key.", "user.")):
        return the_key_and_user_before(name)
    if name.startswith("credential."):
        where = credentials.ref("c-1")
        if name == "credential.create":
            return {where: None}
        created = credentials.create({where: None}, COMMANDS["credential.create"], context).objects[where]
        return {where: created, credentials.users_ref("c-1"): frozenset()}
    created = models.create({models.ref("m-1"): None}, COMMANDS["model.create"], context).objects[models.ref("m-1")]
    changed = msgspec.structs.replace(created, model_name="other", blocked=name == "model.unblock", version=2)
    group = model_lists.group_ref("m-1", None)
    return {models.ref("m-1"): changed, models.revision_ref("m-1", 1): created, group: model_lists.Group()}


def the_team_before(name: str, context: Context) -> dict[ObjectRef, Any]:
    where = teams.ref("t-1")
    lists = {
        team_models.names_ref("t-1"): {},
        team_models.keys_ref("t-1"): None,
        team_models.belongings_ref("t-1"): None,
    }
    if name == "team.create":
        return {where: None, **lists}
    created = teams.create({where: None, **lists}, COMMANDS["team.create"], context).objects[where]
    return {where: msgspec.structs.replace(created, blocked=name == "team.unblock"), **lists}


def the_key_and_user_before(name: str) -> dict[ObjectRef, Any]:
    key = Key(token="k-1", key_name="sk-...abcd", blocked=name == "key.unblock", **_STAMPS)
    user = User(user_id="u-1", role="internal_user", **_STAMPS)
    is_there = not name.endswith(".create")
    return {
        keys.ref("k-1"): key if is_there else None,
        keys.ref("k-2"): None,
        users.ref("u-1"): user if is_there else None,
        users.belongings_ref("u-1"): None,
    }


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
    operation.check(
        command,
        {touched[0]: Line(is_stored=not name.endswith(".create"))},
        Context(now=now(), principal=MASTER, task_id="t"),
    )
    state = {ref: before[ref] for ref in touched}
    decision = operation.decide(state, command, Context(now=now(), principal=MASTER, task_id="t"))
    assert set(decision.objects) <= set(touched)
    assert {ObjectRef(change.object_type, change.object_id) for change in decision.changes} <= set(touched)
    assert decision.changes
    answered = operation.answer(decision.result)
    named = (
        "deleted_teams",
        "deleted_users",
        "team_id",
        "model_id",
        "credential_name",
        "webhook_id",
        "token",
        "deleted_keys",
        "user_id",
    )
    assert next(answered[field] for field in named if answered.get(field)) in NAMES


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
    operation.check(command, {own: Line(is_stored=False)}, Context(now=now(), principal=MASTER, task_id="t"))
