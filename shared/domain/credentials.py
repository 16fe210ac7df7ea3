"""What changes to a credential mean: a shared provider secret with a name, which models refer to."""

from datetime import datetime
from typing import Any

import msgspec

from shared.domain.decision import Change, Context, Decision, Document, Event, ObjectRef, State
from shared.domain.preconditions import check_expected, require_expected
from shared.domain.problems import CredentialExists, CredentialInUse, CredentialNotFound
from shared.domain.tasks import Lines

OBJECT_TYPE = "credential"
USERS_TYPE = "credential_users"


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """Every string under ``credential_values`` is sealed; ``version`` counts its changes from 1."""

    credential_name: str
    display_name: str | None = None
    credential_values: Document
    credential_info: Document
    version: int
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str


class CreateCredential(msgspec.Struct, frozen=True, kw_only=True, tag="credential.create", tag_field="operation"):
    schema: int = 1
    credential_name: str
    display_name: str | None = None
    credential_values: Document
    credential_info: Document


class UpdateCredential(msgspec.Struct, frozen=True, kw_only=True, tag="credential.update", tag_field="operation"):
    """Merges values and info; what is named to be removed goes."""

    schema: int = 1
    credential_name: str
    display_name: str | None = None
    set_values: Document = {}
    remove_values: tuple[str, ...] = ()
    set_info: Document = {}
    if_match: str | None = None


class DeleteCredential(msgspec.Struct, frozen=True, kw_only=True, tag="credential.delete", tag_field="operation"):
    schema: int = 1
    credential_name: str
    if_match: str | None = None


ChangeOfOne = UpdateCredential | DeleteCredential


def ref(name: str) -> ObjectRef:
    return ObjectRef(OBJECT_TYPE, name)


def users_ref(name: str) -> ObjectRef:
    """The ids of the models that use a credential, as a frozenset."""
    return ObjectRef(USERS_TYPE, name)


def touched(command: CreateCredential | ChangeOfOne) -> tuple[ObjectRef, ...]:
    """The credential first, then what is only read."""
    read = (users_ref(command.credential_name),) if isinstance(command, DeleteCredential) else ()
    return (ref(command.credential_name), *read)


def check_create(command: CreateCredential, lines: Lines, _context: Context) -> None:
    """Raises CredentialExists."""
    if lines[ref(command.credential_name)].will_exist():
        raise CredentialExists(command.credential_name)


def check_change(command: ChangeOfOne, lines: Lines, _context: Context) -> None:
    """Raises CredentialNotFound, PreconditionFailed."""
    line = lines[ref(command.credential_name)]
    if not line.will_exist():
        raise CredentialNotFound(command.credential_name)
    check_expected(command, line)


def create(state: State, command: CreateCredential, context: Context) -> Decision:
    """Raises CredentialExists."""
    if state[ref(command.credential_name)] is not None:
        raise CredentialExists(command.credential_name)
    credential = Credential(
        credential_name=command.credential_name,
        display_name=command.display_name,
        credential_values=command.credential_values,
        credential_info=command.credential_info,
        version=1,
        created_at=context.now,
        created_by=context.principal.user_id,
        updated_at=context.now,
        updated_by=context.principal.user_id,
    )
    return _decided("created", None, credential, context)


def update(state: State, command: UpdateCredential, context: Context) -> Decision:
    """Raises CredentialNotFound, PreconditionFailed."""
    before = _existing(state, command)
    values = {
        name: value
        for name, value in {**before.credential_values, **command.set_values}.items()
        if name not in command.remove_values
    }
    after = msgspec.structs.replace(
        before,
        display_name=before.display_name if command.display_name is None else command.display_name,
        credential_values=values,
        credential_info={**before.credential_info, **command.set_info},
        version=before.version + 1,
        updated_at=context.now,
        updated_by=context.principal.user_id,
    )
    return _decided("updated", before, after, context)


def delete(state: State, command: DeleteCredential, context: Context) -> Decision:
    """Raises CredentialNotFound, PreconditionFailed, CredentialInUse."""
    before = _existing(state, command)
    users: frozenset[str] = state[users_ref(command.credential_name)]
    if users:
        raise CredentialInUse(command.credential_name, users)
    return _decided("deleted", before, None, context)


def _existing(state: State, command: ChangeOfOne) -> Credential:
    credential: Credential | None = state[ref(command.credential_name)]
    if credential is None:
        raise CredentialNotFound(command.credential_name)
    require_expected(command, credential)
    return credential


def _version(credential: Credential | None) -> Document:
    """For the entity tag of the answer."""
    if credential is None:
        return {}
    return {"version": credential.version, "updated_at": msgspec.to_builtins(credential.updated_at)}


def _decided(action: str, before: Credential | None, after: Credential | None, context: Context) -> Decision:
    known = after or before
    name = known.credential_name if known else ""
    data: dict[str, Any] = {
        "credential_name": name,
        "version": known.version if known else 0,
        "task_id": context.task_id,
        "changed_by": context.principal.user_id,
    }
    return Decision(
        objects={ref(name): after},
        changes=(
            Change(
                action=action,
                object_type=OBJECT_TYPE,
                object_id=name,
                before=None if before is None else msgspec.to_builtins(before),
                after=None if after is None else msgspec.to_builtins(after),
            ),
        ),
        events=(Event(type=f"credential.{action}", object_type=OBJECT_TYPE, object_id=name, data=data),),
        result={"credential_name": name, "message": f"Credential {action} successfully", **_version(after)},
    )
