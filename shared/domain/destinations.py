"""Where a model's calls go, and what goes with them: whoever changes the one must know the other."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, cast

from shared.domain.decision import Document

_URL: Final = re.compile(r"(?:.*_)?(?:base|url|uri|endpoint|host|proxy)")
# What providers' libraries put into a host name, as in `bedrock-runtime.{region}.amazonaws.com`.
_PART_OF_A_HOST: Final = re.compile(r"(?:.*_)?(?:region|region_name|location|account|account_id)")
_HOST: Final = re.compile(r"(?:.*_)?domain")
# The second lets whoever calls the gateway say where to.
_OTHERS: Final = frozenset(("custom_llm_provider", "configurable_clientside_auth_params"))

IsSecretName = Callable[[str], bool]


def is_url(name: str) -> bool:
    """Whether a parameter of this name holds a URL."""
    return _URL.fullmatch(name) is not None


def is_host(name: str) -> bool:
    """Whether a parameter of this name holds the name of a host, without a scheme."""
    return _HOST.fullmatch(name) is not None


def is_part_of_a_host(name: str) -> bool:
    return _PART_OF_A_HOST.fullmatch(name) is not None


def is_destination(name: str) -> bool:
    """Whether a parameter of this name decides where calls are sent."""
    return is_url(name) or is_host(name) or is_part_of_a_host(name) or name in _OTHERS


def destinations_in(params: Any, at: str = "") -> Iterator[tuple[str, str, Any]]:
    """Path, name and value of every parameter that decides where calls are sent, however deep it stands."""
    if isinstance(params, list):
        for position, item in enumerate(cast("list[Any]", params)):
            yield from destinations_in(item, f"{at}[{position}]")
    elif isinstance(params, dict):
        for name, value in cast("Document", params).items():
            path = f"{at}.{name}" if at else name
            if is_destination(name):
                yield path, name, value
            else:
                yield from destinations_in(value, path)


def new_destination(set_params: Document, removed: Iterable[str]) -> str | None:
    """The path of a parameter that decides where calls are sent, and that is set or removed."""
    taken_off = (name for name in removed if is_destination(name))
    return min((*taken_off, *(path for path, _, _ in destinations_in(set_params))), default=None)


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
