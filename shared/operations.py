"""THE table: what each operation is called, which command it carries, what it touches, and how it is decided."""

from collections.abc import Callable
from typing import Any

import msgspec

from shared.contract import credentials as credential_contract
from shared.contract import keys as key_contract
from shared.contract import models as model_contract
from shared.contract import teams as team_contract
from shared.contract import users as user_contract
from shared.contract import webhooks as webhook_contract
from shared.domain import (
    access,
    credentials,
    encryption,
    key_changes,
    keys,
    models,
    renames,
    teams,
    user_changes,
    users,
    webhooks,
)
from shared.domain.access import OWNERSHIP
from shared.domain.decision import Context, Decision, Installation, ObjectRef, State
from shared.domain.problems import TeamModelsOff
from shared.domain.rights import OPEN, Ownership
from shared.domain.tasks import ABSENT, Lines

Command = (
    models.CreateModel
    | models.ChangeOfOne
    | credentials.CreateCredential
    | credentials.ChangeOfOne
    | encryption.RotateKeys
    | webhooks.CreateWebhook
    | webhooks.ChangeOfOne
    | teams.CreateTeam
    | teams.ChangeOfOne
    | teams.DeleteTeams
    | keys.Command
    | users.Command
)
"""Any command; a tagged union, so that a queued row can always be read."""


def _nothing(_command: Any) -> tuple[Any, ...]:
    return ()


def _nobody(_command: Any) -> tuple[Ownership, ...]:
    return (OPEN,)


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table.

    ``touched`` names the object whose line the task stands in, then the others that ``decide`` changes or reads; of
    these, ``needed`` are those whose earlier tasks come first, and ``changed`` all that the command changes, if it is
    more than the first: they are judged by their owners, and locked to be changed. ``named`` are the owners that the
    command itself names, such as the team in which it creates something; they are judged alike.
    ``check`` refuses when accepting what is already known to be impossible; as ``decide``, it is given what the
    principal may see. ``answer`` shapes the result for the client once it is opened and free of secrets.
    """

    object_type: str
    command: type[Any]
    touched: Callable[[Any], tuple[ObjectRef, ...]]
    check: Callable[[Any, Lines, Context], None]
    decide: Callable[[State, Any, Context], Decision]
    answer: Callable[[dict[str, Any]], dict[str, Any]]
    needed: Callable[[Any], tuple[ObjectRef, ...]] = _nothing
    named: Callable[[Any], tuple[Ownership, ...]] = _nothing
    changed: Callable[[Any], tuple[ObjectRef, ...]] | None = None

    def changes(self, command: Any) -> tuple[ObjectRef, ...]:
        return self.touched(command)[:1] if self.changed is None else self.changed(command)


def _of_team(
    command: type[Any],
    decide: Callable[[State, Any, Context], Decision],
    answer: Callable[[dict[str, Any]], dict[str, Any]] = team_contract.row,
) -> Operation:
    return Operation(
        object_type=teams.OBJECT_TYPE,
        command=command,
        touched=teams.touched,
        check=teams.check_change,
        decide=decide,
        answer=answer,
    )


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
        named=models.named,
    ),
    "model.update": Operation(
        object_type=models.OBJECT_TYPE,
        command=models.UpdateModel,
        touched=models.touched,
        check=models.check_change,
        decide=renames.update,
        answer=model_contract.row,
        needed=models.needed,
        named=models.named,
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
        decide=renames.rollback,
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
        named=_nobody,
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
        needed=webhooks.needed,
        named=webhooks.named,
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
    "key.create": Operation(
        object_type=keys.OBJECT_TYPE,
        command=keys.CreateKey,
        touched=keys.touched,
        check=key_changes.check_create,
        decide=key_changes.create,
        answer=key_contract.row,
        needed=keys.needed,
        named=keys.named,
    ),
    "key.update": Operation(
        object_type=keys.OBJECT_TYPE,
        command=keys.UpdateKey,
        touched=keys.touched,
        check=key_changes.check_change,
        decide=key_changes.update,
        answer=key_contract.row,
        needed=keys.needed,
        named=keys.named,
    ),
    "key.regenerate": Operation(
        object_type=keys.OBJECT_TYPE,
        command=keys.RegenerateKey,
        touched=keys.touched,
        check=key_changes.check_change,
        decide=key_changes.regenerate,
        answer=key_contract.row,
        needed=keys.needed,
        named=keys.named,
        changed=keys.changed,
    ),
    "key.block": Operation(
        object_type=keys.OBJECT_TYPE,
        command=keys.BlockKey,
        touched=keys.touched,
        check=key_changes.check_change,
        decide=key_changes.block,
        answer=key_contract.row,
    ),
    "key.unblock": Operation(
        object_type=keys.OBJECT_TYPE,
        command=keys.UnblockKey,
        touched=keys.touched,
        check=key_changes.check_change,
        decide=key_changes.unblock,
        answer=key_contract.row,
    ),
    "key.delete": Operation(
        object_type=keys.OBJECT_TYPE,
        command=keys.DeleteKeys,
        touched=keys.touched,
        check=key_changes.check_delete,
        decide=key_changes.delete,
        answer=key_contract.deletion,
        needed=keys.needed,
        changed=keys.changed,
    ),
    "team.create": Operation(
        object_type=teams.OBJECT_TYPE,
        command=teams.CreateTeam,
        touched=teams.touched,
        check=teams.check_create,
        decide=teams.create,
        answer=team_contract.row,
        named=_nobody,
    ),
    "team.update": _of_team(teams.UpdateTeam, teams.update, team_contract.updated),
    "team.block": _of_team(teams.BlockTeam, teams.block),
    "team.unblock": _of_team(teams.UnblockTeam, teams.unblock),
    "team.member_add": _of_team(teams.AddMembers, teams.add_members, team_contract.members_added),
    "team.member_update": _of_team(teams.UpdateMember, teams.update_member, team_contract.member_updated),
    "team.member_delete": _of_team(teams.DeleteMember, teams.remove_member, team_contract.member_deleted),
    "team.model_add": _of_team(teams.AddTeamModels, teams.add_models),
    "team.model_delete": _of_team(teams.DeleteTeamModels, teams.delete_models),
    "team.delete": Operation(
        object_type=teams.OBJECT_TYPE,
        command=teams.DeleteTeams,
        touched=teams.touched_by_deletion,
        needed=teams.needed_by_deletion,
        changed=teams.changed_by_deletion,
        check=teams.check_delete,
        decide=teams.delete,
        answer=team_contract.deletion,
    ),
    "user.create": Operation(
        object_type=users.OBJECT_TYPE,
        command=users.CreateUser,
        touched=users.touched,
        check=user_changes.check_create,
        decide=user_changes.create,
        answer=user_contract.created,
        needed=users.needed,
        named=users.named,
        changed=users.changed,
    ),
    "user.update": Operation(
        object_type=users.OBJECT_TYPE,
        command=users.UpdateUser,
        touched=users.touched,
        check=user_changes.check_update,
        decide=user_changes.update,
        answer=user_contract.changed,
    ),
    "user.delete": Operation(
        object_type=users.OBJECT_TYPE,
        command=users.DeleteUsers,
        touched=users.touched,
        check=user_changes.check_delete,
        decide=user_changes.delete,
        answer=user_contract.deletion,
        needed=users.needed,
        changed=users.changed,
    ),
}


def command_from(operation: str, stored: Any) -> Command:
    """The command of a task row. Raises msgspec.ValidationError."""
    return msgspec.convert(stored, OPERATIONS[operation].command)


def refuse_what_is_off(name: str, command: Any, installation: Installation) -> None:
    """Before anything else is looked at, rights included (contract 9.34). Raises TeamModelsOff."""
    names_team = OPERATIONS[name].object_type == models.OBJECT_TYPE and getattr(command, "team_id", None) is not None
    if names_team and not installation.has_team_models:
        raise TeamModelsOff


def check(name: str, command: Any, lines: Lines, context: Context) -> None:
    """Rights and rules, as far as they are known when accepting. Raises Refusal."""
    operation = OPERATIONS[name]
    if access.is_unlimited(context.principal, name):
        operation.check(command, lines, context)
        return
    judgement = access.judge(
        context.principal,
        name,
        access.Asked(
            changed={
                ref: lines[ref].will_belong() for ref in _existing(name, command) if lines.get(ref, ABSENT).will_exist()
            },
            needed={ref: lines[ref].will_belong() for ref in operation.needed(command) if ref in lines},
            named=operation.named(command),
        ),
    )
    operation.check(command, access.seen(judgement, lines, ABSENT), context)
    access.refuse_what_was_seen_through(context.principal, name, judgement)


def decide(name: str, command: Any, state: State, context: Context) -> Decision:
    """Rights and rules on what is there when it is applied. Raises Refusal."""
    refuse_what_is_off(name, command, context.installation)
    operation = OPERATIONS[name]
    if access.is_unlimited(context.principal, name):
        return operation.decide(state, command, context)
    judgement = access.judge(
        context.principal,
        name,
        access.Asked(
            changed=_owned(state, _existing(name, command)),
            needed=_owned(state, operation.needed(command)),
            named=operation.named(command),
        ),
    )
    decision = operation.decide(access.seen(judgement, state, None), command, context)
    access.refuse_what_was_seen_through(context.principal, name, judgement)
    return decision


def _existing(name: str, command: Any) -> tuple[ObjectRef, ...]:
    """What is changed, but for what is created: that its id is taken is no secret, or there could be no 409."""
    changed = OPERATIONS[name].changes(command)
    return changed[1:] if name.endswith(".create") else changed


def _owned(state: State, refs: tuple[ObjectRef, ...]) -> dict[ObjectRef, Ownership]:
    return {ref: OWNERSHIP[ref.object_type](state[ref]) for ref in refs if state.get(ref) is not None}
