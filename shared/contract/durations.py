"""Spans of time as LiteLLM's clients write them: ``45s``, ``30m``, ``1h``, ``30d``, ``2w``, ``1mo``."""

import re
from typing import Final

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "mo": 30 * 86400}
_SPAN: Final = re.compile(rf"([0-9]{{1,10}})({'|'.join(_SECONDS)})")
_LONGEST_S: Final = 100 * 365 * 86400


def duration_s(text: str) -> int | None:
    """In seconds, a month being 30 days; None for what is no span, or none between a second and a century."""
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        return None
    seconds = int(found[1]) * _SECONDS[found[2]]
    return seconds if 0 < seconds <= _LONGEST_S else None
