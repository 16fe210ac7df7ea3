"""Which routes a key may call: its ``allowed_routes``, as LiteLLM reads them."""

import re

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
        if (is_reading or not is_for_reading) and any(_matches(pattern, path) for pattern in patterns):
            return True
    return False


def _matches(pattern: str, path: str) -> bool:
    """In one pass, whatever is in the pattern: whoever makes a key writes it. A name stands for one whole segment."""
    is_open = pattern.endswith("*")
    wanted = pattern.removesuffix("*").split("/")
    given = path.split("/", len(wanted) - 1 if is_open else -1)
    if len(given) != len(wanted):
        return False
    if is_open and not given.pop().startswith(wanted.pop()):
        return False
    return all(part == there or (there != "" and _is_name(part)) for part, there in zip(wanted, given, strict=True))


def _is_name(part: str) -> bool:
    return len(part) > 2 and part.startswith("{") and part.endswith("}")
