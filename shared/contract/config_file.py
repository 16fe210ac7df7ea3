"""The models of a LiteLLM ``config.yaml``: from parsed documents to entries with stable ids."""

import datetime
import hashlib
from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any, cast

import msgspec

from shared.contract.models import NewModel, normalised
from shared.domain.problems import InvalidRequest

Document = dict[str, Any]


class BrokenConfig(ValueError):
    """The file cannot be used; the text says where and why, and shows no value."""


class ConfigModel(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of ``model_list``; its values are in clear, as they are in the file."""

    model_id: str
    model_name: str
    litellm_params: Document
    model_info: Document


def parse(documents: Iterable[Mapping[str, Any]]) -> dict[str, ConfigModel]:
    """The models of a file and what it includes, by id. Raises BrokenConfig."""
    return {model.model_id: model for model in config_models(merged(documents))}


def merged(documents: Iterable[Mapping[str, Any]]) -> Document:
    """A file and what it includes as one: lists are joined, mappings merged, the later one wins (as LiteLLM does)."""
    whole: Document = {}
    for document in documents:
        for name, value in document.items():
            earlier = whole.get(name)
            if isinstance(earlier, list) and isinstance(value, list):
                whole[name] = [*earlier, *value]
            elif isinstance(earlier, dict) and isinstance(value, dict):
                whole[name] = {**earlier, **value}
            else:
                whole[name] = value
    return whole


def config_models(document: Mapping[str, Any]) -> list[ConfigModel]:
    """Raises BrokenConfig."""
    listed: object = document.get("model_list") or []
    if not isinstance(listed, list):
        raise BrokenConfig("model_list: must be a list")
    taken: set[str] = set()
    entries = cast("list[object]", listed)
    return [_model(number, entry, taken) for number, entry in enumerate(entries, start=1)]


def _model(number: int, entry: object, taken: set[str]) -> ConfigModel:
    try:
        request = normalised(msgspec.convert(_as_json(entry), NewModel))
    except (msgspec.ValidationError, BrokenConfig, InvalidRequest) as refusal:
        raise BrokenConfig(f"model_list entry {number}: {refusal}") from None
    info = request.model_info or {}
    model_id = _free(info.get("id") or _stable_id(request), taken)
    taken.add(model_id)
    return ConfigModel(
        model_id=model_id,
        model_name=request.model_name,
        litellm_params=request.litellm_params,
        model_info={name: value for name, value in info.items() if name != "id"},
    )


def _free(model_id: str, taken: set[str]) -> str:
    """The id itself, or, for an entry that repeats an earlier one, the id with a number."""
    if model_id not in taken:
        return model_id
    return next(numbered for n in count(2) if (numbered := f"{model_id}-{n}") not in taken)


def _stable_id(request: NewModel) -> str:
    """The same for the same entry, whatever stands around it in the file."""
    content = msgspec.json.encode((request.model_name, request.litellm_params), order="deterministic")
    return hashlib.sha256(content).hexdigest()


def _as_json(value: object) -> object:
    """YAML knows dates, which JSON writes as text: ``api_version: 2023-05-15``. Raises BrokenConfig."""
    if isinstance(value, dict):
        return {str(name): _as_json(item) for name, item in cast("dict[object, object]", value).items()}
    if isinstance(value, list):
        return [_as_json(item) for item in cast("list[object]", value)]
    if isinstance(value, datetime.date):
        return value.isoformat()
    if value is not None and not isinstance(value, str | int | float | bool):
        raise BrokenConfig(f"a value of the type {type(value).__name__}, which JSON does not have")
    return value
