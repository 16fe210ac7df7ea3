"""THE table: what each operation is called, which command it carries, what it touches, and how it is decided."""

from collections.abc import Callable
from typing import Any

import msgspec

from shared.contract import models as model_contract
from shared.domain import models
from shared.domain.decision import Context, Decision, Installation, ObjectRef, State
from shared.domain.tasks import Line

Command = models.CreateModel | models.ChangeOfOne
"""Any command; a tagged union, so that a queued row can always be read."""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table.

    ``touched`` names the objects that ``decide`` needs, ``check`` refuses when accepting what is already known to be
    impossible, ``answer`` shapes the result for the client once it is opened and free of secrets.
    """

    object_type: str
    command: type[Any]
    touched: Callable[[Any], tuple[ObjectRef, ...]]
    check: Callable[[Any, Line, Installation], None]
    decide: Callable[[State, Any, Context], Decision]
    answer: Callable[[dict[str, Any]], dict[str, Any]]


OPERATIONS: dict[str, Operation] = {
    "model.create": Operation(
        object_type=models.OBJECT_TYPE,
        command=models.CreateModel,
        touched=models.touched,
        check=models.check_create,
        decide=models.create,
        answer=model_contract.row,
    ),
    "model.update": Operation(
        object_type=models.OBJECT_TYPE,
        command=models.UpdateModel,
        touched=models.touched,
        check=models.check_change,
        decide=models.update,
        answer=model_contract.row,
    ),
    "model.block": Operation(
        object_type=models.OBJECT_TYPE,
        command=models.BlockModel,
        touched=models.touched,
        check=models.check_change,
        decide=models.block,
        answer=model_contract.row,
    ),
    "model.unblock": Operation(
        object_type=models.OBJECT_TYPE,
        command=models.UnblockModel,
        touched=models.touched,
        check=models.check_change,
        decide=models.unblock,
        answer=model_contract.row,
    ),
    "model.rollback": Operation(
        object_type=models.OBJECT_TYPE,
        command=models.RollbackModel,
        touched=models.touched_by_rollback,
        check=models.check_change,
        decide=models.rollback,
        answer=model_contract.row,
    ),
    "model.delete": Operation(
        object_type=models.OBJECT_TYPE,
        command=models.DeleteModel,
        touched=models.touched,
        check=models.check_change,
        decide=models.delete,
        answer=model_contract.deletion,
    ),
}


def command_from(operation: str, stored: Any) -> Command:
    """The command of a task row. Raises msgspec.ValidationError."""
    return msgspec.convert(stored, OPERATIONS[operation].command)
