"""How a URL that may carry a token is shown: enough to know it again, nothing to use it with."""

from typing import Final
from urllib.parse import parse_qsl, urlsplit

from shared.encryption.sensitivity import looks_like_secret

HIDDEN: Final = "***"
_LONGEST_SEGMENT: Final = 24
_MOST_DIGITS: Final = 6


def shown_url(url: str) -> str:
    """Scheme, host and path; ``***`` stands for the values of a query and for parts of the path that may be tokens."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return HIDDEN
    path = "/".join(_segment(segment) for segment in parts.path.split("/"))
    names = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    query = "&".join(f"{_segment(name)}={HIDDEN}" for name in names)
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{path}"
    return f"{shown}?{query or HIDDEN}" if parts.query else shown


def _segment(text: str) -> str:
    """Words are shown; what is long, or mixes letters with many digits, may be a token."""
    digits = sum(char.isdigit() for char in text)
    is_mixed = digits >= _MOST_DIGITS and digits < len(text)
    return HIDDEN if len(text) > _LONGEST_SEGMENT or is_mixed or looks_like_secret(text) else text
