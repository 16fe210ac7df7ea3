"""What changes to a model mean."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from shared.domain import credentials, team_models
from shared.domain.decision import (
    Change,
    Context,
    Decision,
    Document,
    Event,
    Installation,
    ObjectRef,
    State,
    version_tag,
)
from shared.domain.destinations import holds_secret, new_destination
from shared.domain.model_lists import group_ref
from shared.domain.preconditions import check_expected, require_expected
from shared.domain.problems import (
    AdminOnly,
    FieldError,
    InvalidRequest,
    ModelExists,
    ModelInConfig,
    ModelNotFound,
    ModelStorageOff,
    SecretNeeded,
    UnknownCredential,
    UnknownTeam,
    VersionNotFound,
)
from shared.domain.rights import Ownership
from shared.domain.tasks import Lines

OBJECT_TYPE = "model"
REVISION_TYPE = "model_revision"

# Restored by a rollback, as is the name that people know; ids, team, version and times stay what they are.
_RESTORED = ("litellm_params", "model_info", "credential_name", "blocked")

CREDENTIAL_PARAM = "litellm_credential_name"


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment. Every string under ``litellm_params`` is sealed; ``version`` counts its changes from 1.

    A team's model is known to the team by its ``public_name``; its ``model_name`` is internal.
    """

    model_id: str
    model_name: str
    litellm_params: Document
    model_info: Document
    team_id: str | None = None
    public_name: str | None = None
    credential_name: str | None = None
    blocked: bool
    version: int
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str

    @property
    def shown_name(self) -> str:
        return self.public_name or self.model_name


class CreateModel(msgspec.Struct, frozen=True, kw_only=True, tag="model.create", tag_field="operation"):
    """Add one deployment. Its id was drawn, or taken from the request, when it was accepted."""

    schema: int = 1
    model_id: str
    model_name: str
    litellm_params: Document
    model_info: Document
    team_id: str | None = None
    credential_name: str | None = None
    blocked: bool = False
    admin_only: tuple[str, ...] = ()
    """Fields that only a proxy admin may set, or set to this; what they say is sealed."""


class UpdateModel(msgspec.Struct, frozen=True, kw_only=True, tag="model.update", tag_field="operation"):
    """Change what is named and nothing else; what is named to be removed goes, the rest stays as it is stored."""

    schema: int = 1
    model_id: str
    model_name: str | None = None
    set_params: Document = {}
    remove_params: tuple[str, ...] = ()
    set_info: Document = {}
    remove_info: tuple[str, ...] = ()
    team_id: str | None = None
    credential_name: str | None = None
    """``litellm_params.litellm_credential_name`` in clear, if the update sets it."""
    blocked: bool | None = None
    admin_only: tuple[str, ...] = ()
    """Fields that only a proxy admin may set, or set to this; what they say is sealed."""
    if_match: str | None = None


class DeleteModel(msgspec.Struct, frozen=True, kw_only=True, tag="model.delete", tag_field="operation"):
    schema: int = 1
    model_id: str
    if_match: str | None = None


class BlockModel(msgspec.Struct, frozen=True, kw_only=True, tag="model.block", tag_field="operation"):
    schema: int = 1
    model_id: str
    if_match: str | None = None


class UnblockModel(msgspec.Struct, frozen=True, kw_only=True, tag="model.unblock", tag_field="operation"):
    schema: int = 1
    model_id: str
    if_match: str | None = None


class RollbackModel(msgspec.Struct, frozen=True, kw_only=True, tag="model.rollback", tag_field="operation"):
    """Make the model what it was in an earlier version; that is a new version."""

    schema: int = 1
    model_id: str
    to_version: int
    if_match: str | None = None


ChangeOfOne = UpdateModel | DeleteModel | BlockModel | UnblockModel | RollbackModel


def ref(model_id: str) -> ObjectRef:
    return ObjectRef(OBJECT_TYPE, model_id)


def revision_ref(model_id: str, version: int) -> ObjectRef:
    return ObjectRef(REVISION_TYPE, f"{version}@{model_id}")


def touched(command: CreateModel | ChangeOfOne) -> tuple[ObjectRef, ...]:
    """The model first, then what is only read."""
    read: tuple[ObjectRef, ...] = ()
    if isinstance(command, RollbackModel):
        read = (revision_ref(command.model_id, command.to_version), group_ref(command.model_id, None))
    elif isinstance(command, UpdateModel) and command.model_name:
        read = (group_ref(command.model_id, command.model_name),)
    return (ref(command.model_id), *needed(command), *read)


def needed(command: CreateModel | ChangeOfOne) -> tuple[ObjectRef, ...]:
    """Objects that must be there, so whatever was accepted for them earlier comes first."""
    if not isinstance(command, CreateModel | UpdateModel):
        return ()
    team = () if command.team_id is None else (team_models.team_ref(command.team_id),)
    return team if command.credential_name is None else (*team, credentials.ref(command.credential_name))


def named(command: CreateModel | UpdateModel) -> tuple[Ownership, ...]:
    """The team to which the model will belong, as far as the command says so; a new one without belongs to nobody."""
    if isinstance(command, UpdateModel) and command.team_id is None:
        return ()
    return (Ownership(team_id=command.team_id),)


def etag(model: Model | Mapping[str, Any]) -> str:
    return version_tag(msgspec.to_builtins(model) if isinstance(model, Model) else model)


# --- known to be impossible when accepting ---


def check_create(command: CreateModel, lines: Lines, context: Context) -> None:
    """Raises ModelStorageOff, UnknownTeam, AdminOnly, ModelExists, UnknownCredential."""
    _require_storage(context.installation)
    _check_team(command.team_id, lines)
    _refuse_what_is_for_admins(command, context)
    if lines[ref(command.model_id)].will_exist() or command.model_id in context.installation.config_model_ids:
        raise ModelExists(command.model_id)
    _check_credential(command.credential_name, lines)


def check_change(command: ChangeOfOne, lines: Lines, context: Context) -> None:
    """Raises ModelStorageOff, ModelInConfig, ModelNotFound, PreconditionFailed, UnknownTeam, UnknownCredential."""
    _require_editable(command.model_id, context.installation)
    line = lines[ref(command.model_id)]
    if not line.will_exist():
        raise ModelNotFound(command.model_id)
    check_expected(command, line)
    if isinstance(command, UpdateModel):
        _check_team(command.team_id, lines)
        _refuse_what_is_for_admins(command, context)
        if context.principal.role == "proxy_admin":
            # Others see no credentials, and may only name the one that the model has.
            _check_credential(command.credential_name, lines)


# --- what they mean ---


def create(state: State, command: CreateModel, context: Context) -> Decision:
    """Raises ModelStorageOff, UnknownTeam, AdminOnly, ModelExists, UnknownCredential."""
    _require_storage(context.installation)
    _require_team(command.team_id, state)
    _refuse_what_is_for_admins(command, context)
    if state[ref(command.model_id)] is not None or command.model_id in context.installation.config_model_ids:
        raise ModelExists(command.model_id)
    _require_credential(command.credential_name, state)
    model_name, public_name = team_models.names(command.model_name, command.team_id)
    model = Model(
        model_id=command.model_id,
        model_name=model_name,
        litellm_params=command.litellm_params,
        model_info=command.model_info,
        team_id=command.team_id,
        public_name=public_name,
        credential_name=command.credential_name,
        blocked=command.blocked,
        version=1,
        created_at=context.now,
        created_by=context.principal.user_id,
        updated_at=context.now,
        updated_by=context.principal.user_id,
    )
    return _decided("created", None, model, state, context)


def update(state: State, command: UpdateModel, context: Context) -> Decision:
    """Raises ModelInConfig, ModelNotFound, PreconditionFailed, UnknownTeam, AdminOnly, SecretNeeded."""
    before = _existing(state, command, context)
    _require_team(command.team_id, state)
    _refuse_what_is_for_admins(command, context)
    if context.principal.role != "proxy_admin":
        _refuse_part_of_admins(before, command)
        _refuse_new_destination(before, command, context)
    if command.credential_name != before.credential_name:
        _require_credential(command.credential_name, state)
    fields = _names_after(before, command)
    if CREDENTIAL_PARAM in command.set_params or CREDENTIAL_PARAM in command.remove_params:
        fields["credential_name"] = command.credential_name
    if command.set_params or _has_any(before.litellm_params, command.remove_params):
        fields["litellm_params"] = _merged(before.litellm_params, command.set_params, command.remove_params)
    info = _merged(before.model_info, command.set_info, command.remove_info)
    if info != before.model_info:
        fields["model_info"] = info
    if command.blocked not in (None, before.blocked):
        fields["blocked"] = command.blocked
    return _changed("updated", before, fields, state, context)


def block(state: State, command: BlockModel, context: Context) -> Decision:
    """Raises ModelInConfig, ModelNotFound, PreconditionFailed."""
    before = _existing(state, command, context)
    return _changed("blocked", before, {} if before.blocked else {"blocked": True}, state, context)


def unblock(state: State, command: UnblockModel, context: Context) -> Decision:
    """Raises ModelInConfig, ModelNotFound, PreconditionFailed."""
    before = _existing(state, command, context)
    return _changed("unblocked", before, {"blocked": False} if before.blocked else {}, state, context)


def rollback(state: State, command: RollbackModel, context: Context) -> Decision:
    """Raises ModelInConfig, ModelNotFound, PreconditionFailed, VersionNotFound."""
    before = _existing(state, command, context)
    earlier: Model | None = state[revision_ref(command.model_id, command.to_version)]
    # Under this number there may be a version of a model that was deleted, and whose id this one took.
    if earlier is None or earlier.created_at != before.created_at:
        raise VersionNotFound(command.model_id, command.to_version)
    _require_credential(earlier.credential_name, state)
    fields = {name: getattr(earlier, name) for name in _RESTORED if getattr(earlier, name) != getattr(before, name)}
    if earlier.shown_name != before.shown_name:
        fields["model_name"], fields["public_name"] = team_models.names(earlier.shown_name, before.team_id)
    return _changed("rolled_back", before, fields, state, context)


def delete(state: State, command: DeleteModel, context: Context) -> Decision:
    """Raises ModelInConfig, ModelNotFound, PreconditionFailed."""
    return removed(_existing(state, command, context), state, context)


def removed(before: Model, state: State, context: Context) -> Decision:
    """The end of a model, by itself or with its team."""
    return Decision(
        objects={ref(before.model_id): None, **_lists_after(before, None, state)},
        changes=(_change("deleted", before, None),),
        events=(_event("model.deleted", before, context),),
        result={"model_id": before.model_id, "message": f"Model: {before.model_id} deleted successfully"},
    )


def document(model: Model) -> Document:
    """The model as JSON would carry it, values still sealed."""
    return msgspec.to_builtins(model)


def _existing(state: State, command: ChangeOfOne, context: Context) -> Model:
    _require_editable(command.model_id, context.installation)
    model: Model | None = state[ref(command.model_id)]
    if model is None:
        raise ModelNotFound(command.model_id)
    require_expected(command, model)
    return model


def _require_storage(installation: Installation) -> None:
    if not installation.stores_models:
        raise ModelStorageOff


def _require_editable(model_id: str, installation: Installation) -> None:
    _require_storage(installation)
    if model_id in installation.config_model_ids:
        raise ModelInConfig(model_id)


def _refuse_new_destination(before: Model, command: UpdateModel, context: Context) -> None:
    """Unless every secret that is stored is given again, or removed. One that a credential holds cannot be."""
    destination = new_destination(command.set_params, command.remove_params)
    if destination is None:
        return
    if before.credential_name is not None:
        raise AdminOnly(f"litellm_params.{destination}")
    named = {*command.set_params, *command.remove_params}
    kept = {name: value for name, value in before.litellm_params.items() if name not in named}
    if holds_secret(kept, context.is_secret_name):
        raise SecretNeeded(f"litellm_params.{destination}")


def _refuse_what_is_for_admins(command: CreateModel | UpdateModel, context: Context) -> None:
    """What can be told from the command alone. Raises InvalidRequest, AdminOnly."""
    if command.team_id is not None and command.model_name in team_models.SPECIAL_NAMES:
        raise InvalidRequest(FieldError("model_name", "means more than one model"))
    if context.principal.role == "proxy_admin":
        return
    if command.admin_only:
        raise AdminOnly(command.admin_only[0])
    if command.blocked:
        raise AdminOnly("blocked")
    if "*" in (command.model_name or ""):
        # Gateways take such a name in a team's list for the right to call all that it matches.
        raise AdminOnly("model_name")
    if isinstance(command, CreateModel) and command.credential_name is not None:
        raise AdminOnly(f"litellm_params.{CREDENTIAL_PARAM}")


def _refuse_part_of_admins(before: Model, command: UpdateModel) -> None:
    """What a proxy admin gave to this team, or took from it."""
    if command.blocked not in (None, before.blocked):
        raise AdminOnly("blocked")
    names_credential = CREDENTIAL_PARAM in command.set_params or CREDENTIAL_PARAM in command.remove_params
    takes_it_along = before.credential_name is not None and command.team_id not in (None, before.team_id)
    if takes_it_along or (names_credential and command.credential_name != before.credential_name):
        raise AdminOnly(f"litellm_params.{CREDENTIAL_PARAM}")


def _names_after(before: Model, command: UpdateModel) -> dict[str, Any]:
    """Whichever team and name the command leads to, and what the model is then called inside."""
    team_id = command.team_id or before.team_id
    name = command.model_name or before.shown_name
    if before.team_id is not None and team_models.is_internal_name(before.team_id, name):
        # A client that read the internal name somewhere sends it back; nobody is to know the model by it.
        name = before.shown_name
    if team_id is not None and name in team_models.SPECIAL_NAMES:
        raise InvalidRequest(FieldError("model_name", "means more than one model"))
    model_name, public_name = team_models.names(name, team_id)
    after = {"model_name": model_name, "public_name": public_name, "team_id": team_id}
    return {field: value for field, value in after.items() if value != getattr(before, field)}


def _check_team(team_id: str | None, lines: Lines) -> None:
    if team_id is not None and not lines[team_models.team_ref(team_id)].will_exist():
        raise UnknownTeam(team_id)


def _require_team(team_id: str | None, state: State) -> None:
    if team_id is not None and state[team_models.team_ref(team_id)] is None:
        raise UnknownTeam(team_id)


def _check_credential(name: str | None, lines: Lines) -> None:
    if name is not None and not lines[credentials.ref(name)].will_exist():
        raise UnknownCredential(name)


def _require_credential(name: str | None, state: State) -> None:
    if name is not None and state[credentials.ref(name)] is None:
        raise UnknownCredential(name)


def _lists_after(before: Model | None, after: Model | None, state: State) -> dict[ObjectRef, Any]:
    """Who uses which credential, and which names a team has, for later decisions of the same batch."""
    return {**_users_after(before, after, state), **_team_names_after(before, after, state)}


def _users_after(before: Model | None, after: Model | None, state: State) -> dict[ObjectRef, Any]:
    users: dict[ObjectRef, Any] = {}
    for model, is_user in ((before, False), (after, True)):
        where = None if model is None or model.credential_name is None else credentials.users_ref(model.credential_name)
        if model is not None and where is not None and state.get(where) is not None:
            known: frozenset[str] = users.get(where, state[where])
            users[where] = known | {model.model_id} if is_user else known - {model.model_id}
    return users


def _team_names_after(before: Model | None, after: Model | None, state: State) -> dict[ObjectRef, Any]:
    named: dict[ObjectRef, Any] = {}
    for model in (before, after):
        where = None if model is None or model.team_id is None else team_models.names_ref(model.team_id)
        if model is None or where is None or state.get(where) is None:
            continue
        known: dict[str, str] = named.get(where, state[where])
        if after is not None and after.team_id == model.team_id:
            named[where] = {**known, after.model_id: after.shown_name}
        else:
            named[where] = {model_id: name for model_id, name in known.items() if model_id != model.model_id}
    return named


def _has_any(document: Document, names: tuple[str, ...]) -> bool:
    return any(name in document for name in names)


def _merged(stored: Document, given: Document, removed: tuple[str, ...]) -> Document:
    return {name: value for name, value in {**stored, **given}.items() if name not in removed}


def _changed(action: str, before: Model, fields: dict[str, Any], state: State, context: Context) -> Decision:
    """A new version with these fields, or, if there are none, the confirmation of what is so already."""
    if not fields:
        return Decision(objects={}, changes=(), events=(), result=document(before))
    after = msgspec.structs.replace(
        before,
        **fields,
        version=before.version + 1,
        updated_at=context.now,
        updated_by=context.principal.user_id,
    )
    return _decided(action, before, after, state, context)


def _decided(action: str, before: Model | None, after: Model, state: State, context: Context) -> Decision:
    return Decision(
        objects={ref(after.model_id): after, **_lists_after(before, after, state)},
        changes=(_change(action, before, after),),
        events=tuple(_event(event_type, after, context) for event_type in _event_types(action, before, after)),
        result=document(after),
    )


_EVENTS = {
    "created": "model.created",
    "updated": "model.updated",
    "rolled_back": "model.updated",
    "blocked": "model.blocked",
    "unblocked": "model.unblocked",
}


def _event_types(action: str, before: Model | None, after: Model) -> list[str]:
    """Whoever hears of blocked models hears of them by whatever change they came to be so."""
    types = [_EVENTS[action]]
    if before is not None and before.blocked != after.blocked:
        types.append("model.blocked" if after.blocked else "model.unblocked")
    return list(dict.fromkeys(types))


def _change(action: str, before: Model | None, after: Model | None) -> Change:
    return Change(
        action=action,
        object_type=OBJECT_TYPE,
        object_id=(after or before).model_id,  # pyright: ignore[reportOptionalMemberAccess]
        before=None if before is None else document(before),
        after=None if after is None else document(after),
    )


def _event(event_type: str, model: Model, context: Context) -> Event:
    data: dict[str, Any] = {
        "model_id": model.model_id,
        "model_name": model.shown_name,
        "version": model.version,
        "task_id": context.task_id,
        "changed_by": context.principal.user_id,
    }
    if model.team_id is not None:
        data["team_id"] = model.team_id
    return Event(type=event_type, object_type=OBJECT_TYPE, object_id=model.model_id, data=data)
