"""``litellm_params`` and ``model_info``: brought into LiteLLM's types, or refused by name (contract 1.2)."""

import math
import re
from collections.abc import Iterator
from typing import Any, cast

from shared.domain.models import CREDENTIAL_PARAM
from shared.domain.problems import FieldError

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
# What reaches for secrets, or identities, of the gateway itself.
_REFERENCES = ("os.environ/", "oidc/")
_FOR_ADMINS = frozenset(("aws_session_tags",))
# Forms in which a secret is shown: LiteLLM's stars, this product's fingerprints (alone, or behind what is shown of a
# URL or a long text) and sealed texts.
_MASKED = re.compile(
    r"\S*\*{4,}\S*|(?:.* \()?fp:[A-Za-z0-9_-]{1,32}:[0-9a-f]{16}\)?|pm1:[A-Za-z0-9_-]{1,32}:.*", re.DOTALL
)


def masked_values(value: Any, at: str = "litellm_params") -> Iterator[FieldError]:
    """Values that are the mask of a secret and not the secret: stored, they would replace it."""
    if isinstance(value, str):
        if _MASKED.fullmatch(value):
            yield FieldError(at, "is a masked value; send the real one, or leave it out to keep it")
    elif isinstance(value, dict):
        for name, item in cast("Document", value).items():
            yield from masked_values(item, f"{at}.{name}")
    elif isinstance(value, list):
        for position, item in enumerate(cast("list[Any]", value)):
            yield from masked_values(item, f"{at}[{position}]")


def for_admins(params: Document) -> tuple[str, ...]:
    """The parameters that only proxy admins may set, by their paths, in order."""
    named = {f"litellm_params.{name}" for name, value in params.items() if name in _FOR_ADMINS and value is not None}
    if "://" in str(params.get("model", "")):
        # Some providers call a URL that stands where the name of a model should.
        named.add("litellm_params.model")
    return tuple(sorted({*named, *_references(params, "litellm_params")}))


def _references(value: Any, at: str) -> Iterator[str]:
    if isinstance(value, str):
        if value.startswith(_REFERENCES):
            yield at
    elif isinstance(value, dict):
        for name, item in cast("Document", value).items():
            yield from _references(item, f"{at}.{name}")
    elif isinstance(value, list):
        for position, item in enumerate(cast("list[Any]", value)):
            yield from _references(item, f"{at}[{position}]")


def check_provider_model(params: Document, errors: list[FieldError]) -> None:
    if not isinstance(params["model"], str) or not params["model"].strip():
        errors.append(FieldError("litellm_params.model", "must be a text that is not empty"))


def checked_params(params: Document, errors: list[FieldError]) -> Document:
    """Of a new model."""
    if params.get("model") is None:
        errors.append(FieldError("litellm_params.model", "is required"))
    else:
        check_provider_model(params, errors)
    return {name: typed(name, value, errors) for name, value in params.items()}


def typed(name: str, value: Any, errors: list[FieldError]) -> Any:
    if name == CREDENTIAL_PARAM and value is not None and (not isinstance(value, str) or not value):
        errors.append(FieldError(f"litellm_params.{name}", "must be the name of a credential"))
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


def checked_info(info: Document, errors: list[FieldError]) -> Document:
    """Without ids that are null or empty."""
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
    elif not isinstance(info["team_id"], str) or len(info["team_id"]) > 255:
        errors.append(FieldError("model_info.team_id", "must be a text of at most 255 characters"))
    if info.get("tier") is not None and info["tier"] not in _TIERS:
        errors.append(FieldError("model_info.tier", "must be free or paid"))
    return info
