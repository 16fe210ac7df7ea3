"""Where a model's calls go, and what goes with them: whoever changes the one must know the other."""

import re
from collections.abc import Callable, Iterable
from typing import Any, cast

from shared.domain.decision import Document

_DESTINATION = re.compile(r"custom_llm_provider|(?:.*_)?(?:base|url|uri|endpoint|host|domain|proxy)")

IsSecretName = Callable[[str], bool]


def first_destination(names: Iterable[str]) -> str | None:
    """A parameter among these that decides where calls are sent."""
    return min((name for name in names if _DESTINATION.fullmatch(name)), default=None)


def holds_secret(document: Document, is_secret_name: IsSecretName) -> bool:
    """Whether a text stands under a secret's name, however deep; what it says is sealed."""
    return any(_is_secret(name, value, is_secret_name) for name, value in document.items())


def _is_secret(name: str, value: Any, is_secret_name: IsSecretName) -> bool:
    if isinstance(value, dict):
        inner = cast("Document", value)
        return is_secret_name(name) or holds_secret(inner, is_secret_name)
    if isinstance(value, list):
        return any(_is_secret(name, item, is_secret_name) for item in cast("list[Any]", value))
    return isinstance(value, str) and is_secret_name(name)
