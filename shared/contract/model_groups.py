"""Model groups: what all deployments of one public name add up to (contract 1.6)."""

from collections.abc import Callable, Iterable
from typing import Any

Entry = dict[str, Any]

# LiteLLM answers this constant as the time of creation, whatever the model.
_CREATED = 1677610602
_LIMITS: dict[str, Callable[[Iterable[float]], float]] = {
    "max_input_tokens": max,
    "max_output_tokens": max,
    "input_cost_per_token": max,
    "output_cost_per_token": max,
    "tpm": sum,
    "rpm": sum,
}
_ABILITIES = (
    "supports_vision",
    "supports_function_calling",
    "supports_parallel_function_calling",
    "supports_reasoning",
)


def openai_model(name: str) -> Entry:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "openai"}


def summed_up(entries: Iterable[Entry]) -> list[Entry]:
    """One ``ModelGroupInfo`` for each public name, in the order in which the names first come."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry["model_name"], []).append(entry)
    return [_group(name, members) for name, members in groups.items()]


def _group(name: str, members: list[Entry]) -> Entry:
    return {
        "model_group": name,
        "providers": sorted({_provider(member) for member in members}),
        "mode": next((mode for member in members if (mode := member["model_info"].get("mode"))), None),
        **{limit: _total(limit, add_up, members) for limit, add_up in _LIMITS.items()},
        **{ability: any(member["model_info"].get(ability) is True for member in members) for ability in _ABILITIES},
    }


def _total(limit: str, add_up: Callable[[Iterable[float]], float], members: list[Entry]) -> float | None:
    found = [value for member in members if (value := _number(member, limit)) is not None]
    return add_up(found) if found else None


def _number(member: Entry, name: str) -> float | None:
    for place in ("model_info", "litellm_params"):
        value = member[place].get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value
    return None


def _provider(member: Entry) -> str:
    """As LiteLLM tells it: named, or in front of the slash, or OpenAI."""
    params = member["litellm_params"]
    named = params.get("custom_llm_provider")
    if isinstance(named, str):
        return named
    provider, slash, _ = str(params.get("model", "")).partition("/")
    return provider if slash else "openai"
