from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from shared.domain import models, team_models
from shared.domain.decision import Context
from shared.domain.models import CreateModel
from shared.domain.problems import ModelExists, UnknownTeam
from shared.domain.rights import MASTER
from shared.domain.tasks import Line

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
CONTEXT = Context(now=NOW, principal=MASTER, task_id="t-1")


def a_command(**fields: Any) -> CreateModel:
    given = {"model_id": "m-1", "model_name": "gpt", "litellm_params": {"model": "pm1:sealed"}, "model_info": {}}
    return CreateModel(**(given | fields))


def test_a_created_model_is_the_command_with_times_and_a_first_version() -> None:
    command = a_command(model_info={"x": 1}, blocked=True)
    decision = models.create({models.ref("m-1"): None}, command, CONTEXT)
    model = decision.objects[models.ref("m-1")]
    assert (model.model_id, model.model_name, model.litellm_params) == ("m-1", "gpt", {"model": "pm1:sealed"})
    assert (model.model_info, model.blocked, model.version) == ({"x": 1}, True, 1)
    assert (model.created_at, model.updated_at) == (NOW, NOW)
    assert (model.created_by, model.updated_by) == (MASTER.user_id, MASTER.user_id)


def test_a_creation_is_audited_and_announced() -> None:
    decision = models.create({models.ref("m-1"): None}, a_command(), CONTEXT)
    (change,), (event,) = decision.changes, decision.events
    assert (change.action, change.object_id, change.before) == ("created", "m-1", None)
    assert change.after == decision.result
    assert (event.type, event.object_id) == ("model.created", "m-1")
    assert event.data == {
        "model_id": "m-1",
        "model_name": "gpt",
        "version": 1,
        "task_id": "t-1",
        "changed_by": MASTER.user_id,
    }


def test_an_event_carries_no_parameter() -> None:
    decision = models.create({models.ref("m-1"): None}, a_command(), CONTEXT)
    assert b"pm1:" not in msgspec.json.encode(decision.events)


def test_the_same_decision_is_made_again() -> None:
    state = {models.ref("m-1"): None}
    assert models.create(state, a_command(), CONTEXT) == models.create(state, a_command(), CONTEXT)


def test_a_model_that_exists_is_not_created_again() -> None:
    state = models.create({models.ref("m-1"): None}, a_command(), CONTEXT).objects
    with pytest.raises(ModelExists, match="m-1"):
        models.create(state, a_command(), CONTEXT)


def test_a_creation_touches_its_model_only() -> None:
    assert models.touched(a_command()) == (models.ref("m-1"),)


def test_what_is_known_to_be_impossible_is_refused_when_accepting() -> None:
    with pytest.raises(ModelExists):
        models.check_create(a_command(), {models.ref("m-1"): Line(is_stored=True)}, CONTEXT)
    nowhere = {models.ref("m-1"): Line(is_stored=False), team_models.team_ref("t"): Line(is_stored=False)}
    with pytest.raises(UnknownTeam):
        models.check_create(a_command(team_id="t"), nowhere, CONTEXT)
    models.check_create(a_command(), {models.ref("m-1"): Line(is_stored=False)}, CONTEXT)


def test_a_command_can_be_read_again_from_its_row() -> None:
    command = a_command(team_id="t", model_info={"deep": [1, 2.5, None]})
    stored = msgspec.json.decode(msgspec.json.encode(command))
    assert msgspec.convert(stored, CreateModel) == command
    assert (stored["operation"], stored["schema"]) == ("model.create", 1)
