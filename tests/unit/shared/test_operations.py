from typing import Any

import msgspec
import pytest

from shared.domain.decision import Context, ObjectRef
from shared.domain.models import CreateModel
from shared.domain.rights import MASTER
from shared.domain.tasks import Line
from shared.operations import OPERATIONS, command_from
from shared.runtime.clock import now

COMMANDS: dict[str, Any] = {
    "model.create": CreateModel(model_id="m-1", model_name="n", litellm_params={"model": "x"}, model_info={"a": 1})
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


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_decision_changes_only_what_it_touches(name: str) -> None:
    operation, command = OPERATIONS[name], COMMANDS[name]
    touched = operation.touched(command)
    assert touched[0].object_type == operation.object_type
    operation.check(command, Line(is_stored=False))
    state: dict[ObjectRef, Any] = dict.fromkeys(touched)
    decision = operation.decide(state, command, Context(now=now(), principal=MASTER, task_id="t"))
    assert set(decision.objects) <= set(touched)
    assert {ObjectRef(change.object_type, change.object_id) for change in decision.changes} <= set(touched)
    assert decision.changes
    assert operation.answer(decision.result)["model_id"] == "m-1"
