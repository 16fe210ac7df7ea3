"""THE table: what each operation is called, which command it carries, what it touches, and how it is decided."""

from collections.abc import Callable
from typing import Any

import msgspec

from shared.contract import credentials as credential_contract
from shared.contract import models as model_contract
from shared.contract import webhooks as webhook_contract
from shared.domain import credentials, encryption, models, webhooks
from shared.domain.decision import Context, Decision, Installation, ObjectRef, State
from shared.domain.tasks import Lines

Command = (
    models.CreateModel
    | models.ChangeOfOne
    | credentials.CreateCredential
    | credentials.ChangeOfOne
    | encryption.RotateKeys
    | webhooks.CreateWebhook
    | webhooks.ChangeOfOne
)
"""Any command; a tagged union, so that a queued row can always be read."""


def _nothing(_command: Any) -> tuple[ObjectRef, ...]:
    return ()


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table.

    ``touched`` names the object that the command changes, then those that ``decide`` reads; of the latter, ``needed``
    are those whose earlier tasks come first. ``check`` refuses when accepting what is already known to be impossible,
    ``answer`` shapes the result for the client once it is opened and free of secrets.
    """

    object_type: str
    command: type[Any]
    touched: Callable[[Any], tuple[ObjectRef, ...]]
    check: Callable[[Any, Lines, Installation], None]
    decide: Callable[[State, Any, Context], Decision]
    answer: Callable[[dict[str, Any]], dict[str, Any]]
    needed: Callable[[Any], tuple[ObjectRef, ...]] = _nothing


def _as_it_is(result: dict[str, Any]) -> dict[str, Any]:
    return result


OPERATIONS: dict[str, Operation] = {
    "model.create": Operation(
        object_type=models.OBJECT_TYPE,
        command=models.CreateModel,
        touched=models.touched,
        check=models.check_create,
        decide=models.create,
        answer=model_contract.row,
        needed=models.needed,
    ),
    "model.update": Operation(
        object_type=models.OBJECT_TYPE,
        command=models.UpdateModel,
        touched=models.touched,
        check=models.check_change,
        decide=models.update,
        answer=model_contract.row,
        needed=models.needed,
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
        touched=models.touched,
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
    "credential.create": Operation(
        object_type=credentials.OBJECT_TYPE,
        command=credentials.CreateCredential,
        touched=credentials.touched,
        check=credentials.check_create,
        decide=credentials.create,
        answer=credential_contract.answer,
    ),
    "credential.update": Operation(
        object_type=credentials.OBJECT_TYPE,
        command=credentials.UpdateCredential,
        touched=credentials.touched,
        check=credentials.check_change,
        decide=credentials.update,
        answer=credential_contract.answer,
    ),
    "credential.delete": Operation(
        object_type=credentials.OBJECT_TYPE,
        command=credentials.DeleteCredential,
        touched=credentials.touched,
        check=credentials.check_change,
        decide=credentials.delete,
        answer=credential_contract.answer,
    ),
    "encryption.rotate": Operation(
        object_type=encryption.OBJECT_TYPE,
        command=encryption.RotateKeys,
        touched=encryption.touched,
        check=encryption.check,
        decide=encryption.decide,
        answer=_as_it_is,
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


def command_from(operation: str, stored: Any) -> Command:
    """The command of a task row. Raises msgspec.ValidationError."""
    return msgspec.convert(stored, OPERATIONS[operation].command)
