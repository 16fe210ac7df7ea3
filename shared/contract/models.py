"""Models as LiteLLM's clients write and read them (contract 1.2 to 1.4)."""

import math
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from shared.contract.decoding import decode, may_be_unstorable, unstorable
from shared.domain.models import CreateModel
from shared.domain.problems import FieldError, InvalidRequest

Name = Annotated[str, Meta(min_length=1, max_length=500)]
Document = dict[str, Any]

# Parameters that LiteLLM declares as numbers or switches; its command line sends every value as a string.
_INTEGERS = frozenset(("rpm", "tpm", "tpd", "max_retries", "max_parallel_requests", "order", "weight"))
_NUMBERS = frozenset(("max_budget", "timeout", "stream_timeout"))
_SWITCHES = frozenset(
    ("use_in_pass_through", "use_litellm_proxy", "merge_reasoning_content_in_choices", "drop_params", "stream")
)
# LiteLLM lets these hold a number or a text that it interprets itself.
_NUMBER_OR_TEXT = frozenset(("timeout", "stream_timeout"))
_TIERS = ("free", "paid")
# What the server says of a model; a client that sends it back does not change it.
_SERVER_OWNED = ("id", "db_model", "created_at", "created_by", "updated_at", "updated_by", "blocked")


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
    """Decode, check and bring into one form: numeric strings are numbers, an id of ``""`` is absent, 77 is ``"77"``.

    Raises:
        InvalidRequest: names every field that is wrong.
    """
    request = decode(_new_model, body)
    errors: list[FieldError] = []
    params = _params(request.litellm_params, errors)
    info = _info(request.model_info or {}, errors)
    if may_be_unstorable(body):
        errors.extend(unstorable(request.model_name, "model_name"))
        errors.extend(unstorable(params, "litellm_params"))
        errors.extend(unstorable(info, "model_info"))
    if errors:
        raise InvalidRequest(*errors)
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
        model_info={key: value for key, value in info.items() if key not in _SERVER_OWNED},
        team_id=team_id,
        blocked=bool(request.blocked),
    )


def row(document: Mapping[str, Any]) -> Document:
    """The stored row, as a write answers it. The document is opened and free of secrets."""
    return {
        "model_id": document["model_id"],
        "model_name": document["model_name"],
        "litellm_params": document["litellm_params"],
        "model_info": {**document["model_info"], "id": document["model_id"], "db_model": True},
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
        "model_name": document["public_name"] or document["model_name"],
        "litellm_params": document["litellm_params"],
        "model_info": {
            **document["model_info"],
            "id": document["model_id"],
            "db_model": True,
            "blocked": document["blocked"],
            "created_at": document["created_at"],
            "created_by": document["created_by"],
            "updated_at": document["updated_at"],
            "updated_by": document["updated_by"],
        },
    }


def _params(params: Document, errors: list[FieldError]) -> Document:
    if "model" not in params:
        errors.append(FieldError("litellm_params.model", "is required"))
    elif not isinstance(params["model"], str) or not params["model"].strip():
        errors.append(FieldError("litellm_params.model", "must be a text that is not empty"))
    return {name: _typed(name, value, errors) for name, value in params.items()}


def _typed(name: str, value: Any, errors: list[FieldError]) -> Any:
    if not isinstance(value, str) or value.startswith("os.environ/"):
        if _is_number(name) and (isinstance(value, bool) or not isinstance(value, int | float | str | None)):
            errors.append(FieldError(f"litellm_params.{name}", "must be a number"))
        return value
    if name in _SWITCHES and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not _is_number(name):
        return value
    number = _number(value, whole=name in _INTEGERS)
    if number is None and name not in _NUMBER_OR_TEXT:
        errors.append(FieldError(f"litellm_params.{name}", "must be a number"))
    return value if number is None else number


def _is_number(name: str) -> bool:
    return name in _INTEGERS or name in _NUMBERS or "cost_per_" in name


def _number(text: str, *, whole: bool) -> int | float | None:
    try:
        number = int(text) if whole else float(text)
        return number if math.isfinite(number) else None
    except (ValueError, OverflowError):  # the second for a whole number that no float can hold
        return None


def _info(info: Document, errors: list[FieldError]) -> Document:
    info = dict(info)
    model_id = info.get("id")
    if isinstance(model_id, int) and not isinstance(model_id, bool):
        info["id"] = model_id = str(model_id)
    if model_id in ("", None):
        info.pop("id", None)
    elif not isinstance(model_id, str) or len(model_id) > 255:
        errors.append(FieldError("model_info.id", "must be a text of at most 255 characters"))
    if info.get("team_id") in ("", None):
        info.pop("team_id", None)
    elif not isinstance(info["team_id"], str):
        errors.append(FieldError("model_info.team_id", "must be a text"))
    if info.get("tier") is not None and info["tier"] not in _TIERS:
        errors.append(FieldError("model_info.tier", "must be free or paid"))
    return info
