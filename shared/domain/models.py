"""What changes to a model mean."""

from datetime import datetime
from typing import Any

import msgspec

from shared.domain.decision import Change, Context, Decision, Document, Event, ObjectRef, State
from shared.domain.problems import ModelExists, TeamNotFound
from shared.domain.tasks import Line

OBJECT_TYPE = "model"


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment. Every string under ``litellm_params`` is sealed; ``version`` counts its changes from 1."""

    model_id: str
    model_name: str
    litellm_params: Document
    model_info: Document
    team_id: str | None = None
    public_name: str | None = None
    blocked: bool
    version: int
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str


class CreateModel(msgspec.Struct, frozen=True, kw_only=True, tag="model.create", tag_field="operation"):
    """Add one deployment. Its id was drawn, or taken from the request, when it was accepted."""

    schema: int = 1
    model_id: str
    model_name: str
    litellm_params: Document
    model_info: Document
    team_id: str | None = None
    blocked: bool = False


def ref(model_id: str) -> ObjectRef:
    return ObjectRef(OBJECT_TYPE, model_id)


def touched_by_create(command: CreateModel) -> tuple[ObjectRef, ...]:
    return (ref(command.model_id),)


def check_create(command: CreateModel, line: Line) -> None:
    """What can be known to be impossible when accepting. Raises ModelExists, TeamNotFound."""
    if command.team_id is not None:
        raise TeamNotFound(command.team_id)
    if line.will_exist():
        raise ModelExists(command.model_id)


def create(state: State, command: CreateModel, context: Context) -> Decision:
    """Raises ModelExists."""
    where = ref(command.model_id)
    if state[where] is not None:
        raise ModelExists(command.model_id)
    model = Model(
        model_id=command.model_id,
        model_name=command.model_name,
        litellm_params=command.litellm_params,
        model_info=command.model_info,
        team_id=command.team_id,
        blocked=command.blocked,
        version=1,
        created_at=context.now,
        created_by=context.principal.user_id,
        updated_at=context.now,
        updated_by=context.principal.user_id,
    )
    return Decision(
        objects={where: model},
        changes=(
            Change(
                action="created", object_type=OBJECT_TYPE, object_id=model.model_id, before=None, after=document(model)
            ),
        ),
        events=(_event("model.created", model, context),),
        result=document(model),
    )


def document(model: Model) -> Document:
    """The model as JSON would carry it, values still sealed."""
    return msgspec.to_builtins(model)


def _event(event_type: str, model: Model, context: Context) -> Event:
    data: dict[str, Any] = {
        "model_id": model.model_id,
        "model_name": model.public_name or model.model_name,
        "version": model.version,
        "task_id": context.task_id,
        "changed_by": context.principal.user_id,
    }
    if model.team_id is not None:
        data["team_id"] = model.team_id
    return Event(type=event_type, object_type=OBJECT_TYPE, object_id=model.model_id, data=data)
