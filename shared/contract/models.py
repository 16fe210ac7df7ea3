"""Models as LiteLLM's clients write and read them (contract 1.2 to 1.4)."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from shared.contract.decoding import decode, may_be_unstorable, unstorable
from shared.contract.parameters import (
    check_provider_model,
    checked_info,
    checked_params,
    for_admins,
    masked_values,
    typed,
)
from shared.domain.models import CREDENTIAL_PARAM, CreateModel, UpdateModel
from shared.domain.problems import FieldError, InvalidRequest

Name = Annotated[str, Meta(min_length=1, max_length=500)]
Document = dict[str, Any]

# What the server says of a model; a client that sends it back does not change it.
_SERVER_OWNED = (
    "id",
    "db_model",
    "created_at",
    "created_by",
    "updated_at",
    "updated_by",
    "blocked",
    "team_public_model_name",
)


class NewModel(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /model/new``. Further top-level keys are accepted and dropped, as LiteLLM does."""

    model_name: Name
    litellm_params: Annotated[
        Document,
        Meta(description="`model` is required; any further key is kept.", extra_json_schema={"required": ["model"]}),
    ]
    model_info: Annotated[Document | None, Meta(description="`id` is optional; custom keys are kept and echoed.")] = (
        None
    )
    blocked: bool | None = None


_new_model = msgspec.json.Decoder(NewModel)


def decode_new_model(body: bytes) -> NewModel:
    """Raises InvalidRequest."""
    return normalised(decode(_new_model, body), may_be_unfit=may_be_unstorable(body))


def normalised(request: NewModel, *, may_be_unfit: bool = True) -> NewModel:
    """In one form: numeric strings are numbers, an id of ``""`` is absent, 77 is ``"77"``.

    ``may_be_unfit`` is false where it is known that all of it can be stored.

    Raises:
        InvalidRequest: names every field that is wrong.
    """
    errors: list[FieldError] = []
    params = checked_params(request.litellm_params, errors)
    info = checked_info(request.model_info or {}, errors)
    if may_be_unfit:
        errors.extend(unstorable(request.model_name, "model_name"))
        errors.extend(unstorable(params, "litellm_params"))
        errors.extend(unstorable(info, "model_info"))
    _refuse_any(errors)
    _refuse_any(list(masked_values(params)))
    return NewModel(
        model_name=request.model_name, litellm_params=params, model_info=info, blocked=bool(request.blocked)
    )


def to_command(request: NewModel, new_id: str) -> CreateModel:
    """``new_id`` is taken where the request names none."""
    info = dict(request.model_info or {})
    model_id = info.get("id", new_id)
    team_id = info.pop("team_id", None)
    return CreateModel(
        model_id=model_id,
        model_name=request.model_name,
        litellm_params=request.litellm_params,
        model_info=_own(info),
        team_id=team_id,
        credential_name=request.litellm_params.get(CREDENTIAL_PARAM),
        blocked=bool(request.blocked),
        admin_only=for_admins(request.litellm_params),
    )


class ModelChange(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``PATCH /model/{model_id}/update`` and ``POST /model/update``: what is not named stays as it is.

    ``null`` removes a parameter or a piece of ``model_info``; an empty or null ``model_name`` changes nothing.
    """

    model_name: Annotated[str, Meta(max_length=500)] | None = None
    litellm_params: Document | None = None
    litellm_params_to_remove: tuple[str, ...] = ()
    model_info: Document | None = None
    blocked: bool | None = None
    id: str | int | None = None


class ModelId(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /model/delete``."""

    id: str | int


class ModelIdToBlock(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /model/block`` and ``/model/unblock``."""

    model_id: str | int


class Rollback(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /model/{model_id}/rollback``."""

    version: Annotated[int, Meta(ge=1)]


_model_change = msgspec.json.Decoder(ModelChange)
_model_id = msgspec.json.Decoder(ModelId)
_model_id_to_block = msgspec.json.Decoder(ModelIdToBlock)
_rollback = msgspec.json.Decoder(Rollback)


def decode_change(body: bytes) -> ModelChange:
    """Decode, check and bring into one form. Raises InvalidRequest, also for a masked value that is sent back."""
    request = decode(_model_change, body)
    errors: list[FieldError] = []
    given = request.litellm_params or {}
    if ("model" in given and given["model"] is None) or "model" in request.litellm_params_to_remove:
        errors.append(FieldError("litellm_params.model", "cannot be removed"))
    elif "model" in given:
        check_provider_model(given, errors)
    given_names = {name for name, value in given.items() if value is not None}
    errors.extend(
        FieldError(f"litellm_params_to_remove.{name}", "is set by the same request")
        for name in sorted(given_names.intersection(request.litellm_params_to_remove))
    )
    params = {name: typed(name, value, errors) for name, value in given.items()}
    info = checked_info(request.model_info or {}, errors)
    info = {**info, **{name: None for name, value in (request.model_info or {}).items() if value is None}}
    model_id = None if request.id in ("", None) else str(request.id)
    errors.extend(unstorable(request.model_name, "model_name"))
    errors.extend(unstorable(request.litellm_params_to_remove, "litellm_params_to_remove"))
    errors.extend(unstorable(info, "model_info"))
    errors.extend(unstorable(params, "litellm_params"))
    _refuse_any(errors)
    _refuse_any(list(masked_values(params)))
    return msgspec.structs.replace(request, litellm_params=params, model_info=info, id=model_id)


def changed_id(request: ModelChange) -> str:
    """The model that ``POST /model/update`` means: ``model_info.id``, or the id at the top level.

    Raises:
        InvalidRequest: it names none.
    """
    model_id = (request.model_info or {}).get("id") or request.id
    if not model_id:
        raise InvalidRequest(FieldError("model_info.id", "is required"))
    return fit_id(str(model_id), "id")


def to_update(request: ModelChange, model_id: str) -> UpdateModel:
    params, info = request.litellm_params or {}, _own(request.model_info or {})
    return UpdateModel(
        model_id=model_id,
        model_name=request.model_name or None,
        set_params={name: value for name, value in params.items() if value is not None},
        remove_params=(*request.litellm_params_to_remove, *(name for name, value in params.items() if value is None)),
        set_info={name: value for name, value in info.items() if value is not None and name != "team_id"},
        remove_info=tuple(name for name, value in info.items() if value is None and name != "team_id"),
        team_id=info.get("team_id"),
        credential_name=params.get(CREDENTIAL_PARAM),
        blocked=request.blocked,
        admin_only=for_admins(params),
    )


def decode_id(body: bytes) -> str:
    """Raises InvalidRequest."""
    return fit_id(str(decode(_model_id, body).id), "id")


def decode_id_to_block(body: bytes) -> str:
    """Raises InvalidRequest."""
    return fit_id(str(decode(_model_id_to_block, body).model_id), "model_id")


def fit_id(model_id: str, field: str = "model_id") -> str:
    """Raises InvalidRequest for what can be no id."""
    _refuse_any(list(unstorable(model_id, field)))
    return model_id


def decode_rollback(body: bytes) -> int:
    """Raises InvalidRequest."""
    return decode(_rollback, body).version


def deletion(document: Mapping[str, Any]) -> Document:
    """What a delete answers."""
    return {"message": document["message"], "model_id": document["model_id"]}


class ModelPage(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of ``/v2/model/info`` (contract 1.5)."""

    data: list[Document]
    total_count: int
    current_page: int
    total_pages: int
    size: int


class FieldChange(msgspec.Struct, frozen=True, kw_only=True):
    """One field that a version changed; absent before or after is null. Secrets are keyed fingerprints."""

    field: str
    before: Any
    after: Any


class VersionView(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    operation: str
    changed_at: str
    changed_by: str
    task_id: str
    is_deletion: bool
    changes: list[FieldChange]


class ModelHistory(msgspec.Struct, frozen=True, kw_only=True):
    """``next_before`` asks for the page after this one; it is null on the last."""

    model_id: str
    data: list[VersionView]
    next_before: int | None


def row(document: Mapping[str, Any]) -> Document:
    """The stored row, as a write answers it. The document is opened and free of secrets."""
    return {
        "model_id": document["model_id"],
        "model_name": shown_name(document),
        "litellm_params": document["litellm_params"],
        "model_info": {**document["model_info"], "id": document["model_id"], "db_model": True, **_team(document)},
        "blocked": document["blocked"],
        "version": document["version"],
        "created_at": document["created_at"],
        "created_by": document["created_by"],
        "updated_at": document["updated_at"],
        "updated_by": document["updated_by"],
    }


def entry(document: Mapping[str, Any]) -> Document:
    """The model as a read shows it. The document is opened and free of secrets."""
    return {
        "model_name": shown_name(document),
        "litellm_params": document["litellm_params"],
        "model_info": {
            **prices(document["litellm_params"]),
            **document["model_info"],
            "id": document["model_id"],
            "db_model": True,
            **_team(document),
            "blocked": document["blocked"],
            "created_at": document["created_at"],
            "created_by": document["created_by"],
            "updated_at": document["updated_at"],
            "updated_by": document["updated_by"],
        },
    }


def shown_name(document: Mapping[str, Any]) -> str:
    """What people call the model: a team's one by its name within the team."""
    return document.get("public_name") or document["model_name"]


def _team(document: Mapping[str, Any]) -> Document:
    if document.get("team_id") is None:
        return {}
    return {"team_id": document["team_id"], "team_public_model_name": document["public_name"]}


def prices(params: Mapping[str, Any]) -> Document:
    """What LiteLLM's readers look for in ``model_info``, wherever it was set."""
    return {name: value for name, value in params.items() if "cost_per_" in name}


def _refuse_any(errors: list[FieldError]) -> None:
    if errors:
        raise InvalidRequest(*errors)


def _own(info: Document) -> Document:
    """What of ``model_info`` is the client's to say."""
    return {name: value for name, value in info.items() if name not in _SERVER_OWNED}
