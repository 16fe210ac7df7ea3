"""Which routes a key may call: its ``allowed_routes``, as LiteLLM reads them."""

import re
from functools import cache

_MODEL_NAMES = ("/models", "/models/*", "/v1/models", "/v1/models/*")
_OWN_TASK = re.compile(r"/tasks/[^/]+(?:/events)?")
_READING = frozenset(("GET", "HEAD"))

# LiteLLM's names for groups of routes: what a pattern is, and whether it is for reading only.
_GROUPS: dict[str, tuple[tuple[str, ...], bool]] = {
    "management_routes": (("/*",), False),
    "info_routes": (("/*",), True),
    "llm_api_routes": (_MODEL_NAMES, True),
    "openai_routes": (_MODEL_NAMES, True),
}


def may_call(allowed_routes: tuple[str, ...], method: str, path: str) -> bool:
    """Empty means all. An entry is a path, a path that ends with ``*`` or has ``{names}`` in it, or a group's name.

    The task of an own submission may always be looked at, or a 202 would lead nowhere.
    """
    if not allowed_routes:
        return True
    path = path.rstrip("/") or "/"
    is_reading = method in _READING
    if is_reading and _OWN_TASK.fullmatch(path):
        return True
    for entry in allowed_routes:
        patterns, is_for_reading = _GROUPS.get(entry, ((entry,), False))
        if (is_reading or not is_for_reading) and any(_form(pattern).fullmatch(path) for pattern in patterns):
            return True
    return False


@cache
def _form(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\{[^/{}]+\}|\*$)", pattern)
    return re.compile("".join(_part(part) for part in parts))


def _part(part: str) -> str:
    if part == "*":
        return ".*"
    return "[^/]+" if part.startswith("{") and part.endswith("}") else re.escape(part)
