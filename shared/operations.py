"""THE table: what each operation is called, which command it carries, what it touches, and how it is decided."""

from collections.abc import Callable
from typing import Any

import msgspec

from shared.contract import models as model_contract
from shared.contract import webhooks as webhook_contract
from shared.domain import models, webhooks
from shared.domain.decision import Context, Decision, Installation, ObjectRef, State
from shared.domain.tasks import Line

Command = models.CreateModel | models.ChangeOfOne | webhooks.CreateWebhook | webhooks.ChangeOfOne
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
    "webhook.create": Operation(
        object_type=webhooks.OBJECT_TYPE,
        command=webhooks.CreateWebhook,
        touched=webhooks.touched,
        check=webhooks.check_create,
        decide=webhooks.create,
        answer=webhook_contract.as_is,
    ),
    "webhook.update": Operation(
        object_type=webhooks.OBJECT_TYPE,
        command=webhooks.UpdateWebhook,
        touched=webhooks.touched,
        check=webhooks.check_change,
        decide=webhooks.update,
        answer=webhook_contract.as_is,
    ),
    "webhook.delete": Operation(
        object_type=webhooks.OBJECT_TYPE,
        command=webhooks.DeleteWebhook,
        touched=webhooks.touched,
        check=webhooks.check_change,
        decide=webhooks.delete,
        answer=webhook_contract.as_is,
    ),
    "webhook.rotate_secret": Operation(
        object_type=webhooks.OBJECT_TYPE,
        command=webhooks.RotateSecret,
        touched=webhooks.touched,
        check=webhooks.check_change,
        decide=webhooks.rotate_secret,
        answer=webhook_contract.as_is,
    ),
    "webhook.enable": Operation(
        object_type=webhooks.OBJECT_TYPE,
        command=webhooks.EnableWebhook,
        touched=webhooks.touched,
        check=webhooks.check_change,
        decide=webhooks.enable,
        answer=webhook_contract.as_is,
    ),
    "webhook.disable": Operation(
        object_type=webhooks.OBJECT_TYPE,
        command=webhooks.DisableWebhook,
        touched=webhooks.touched,
        check=webhooks.check_change,
        decide=webhooks.disable,
        answer=webhook_contract.as_is,
    ),
    "webhook.test": Operation(
        object_type=webhooks.OBJECT_TYPE,
        command=webhooks.SendTest,
        touched=webhooks.touched,
        check=webhooks.check_change,
        decide=webhooks.test,
        answer=webhook_contract.as_is,
    ),
    "webhook.replay": Operation(
        object_type=webhooks.OBJECT_TYPE,
        command=webhooks.ReplayWebhook,
        touched=webhooks.touched,
        check=webhooks.check_change,
        decide=webhooks.replay,
        answer=webhook_contract.as_is,
    ),
}


def command_from(operation: str, stored: dict[str, Any]) -> Command:
    """The command of a task row."""
    return msgspec.convert(stored, OPERATIONS[operation].command)
