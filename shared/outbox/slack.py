"""The form of a Slack message: Block Kit with a plain fallback.

Every value is text: it is escaped, kept on one line, cut, and put into ``plain_text`` objects, so that a model named
``<!channel>`` is read and calls nobody. Only the values listed here are shown, whatever else an event carries.
"""

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

MAX_MESSAGE_CHARS: Final = 8_000
"""Slack refuses a message for its size with 400, and from about 13,200 characters without saying so anywhere."""

MAX_VALUE_CHARS: Final = 255
MAX_KINDS: Final = 10
MAX_NAMES: Final = 5
MAX_FIELDS: Final = 10
"""Slack's limit for a section."""

_NAME_CHARS: Final = 60
# Unicode's categories: control, format, unassigned, private and surrogate; line and paragraph separators.
_UNREADABLE: Final = ("C", "Zl", "Zp")
_ESCAPES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_TITLES: Final = {
    "model.created": "Model added",
    "model.updated": "Model changed",
    "model.deleted": "Model deleted",
    "model.blocked": "Model blocked",
    "model.unblocked": "Model unblocked",
    "task.failed": "Task failed",
    "task.poisoned": "Task given up",
    "webhook.disabled": "Webhook disabled",
    "secret.unreadable": "Secret unreadable",
}
_LABELS: Final = {
    "model_name": "Model",
    "public_name": "Public name",
    "provider_model": "Provider model",
    "team_id": "Team",
    "operation": "Operation",
    "model_id": "Model ID",
    "object_id": "Object",
    "version": "Version",
    "changed_by": "Changed by",
    "endpoint_id": "Webhook",
    "description": "Description",
    "reason": "Reason",
    "field": "Field",
    "task_id": "Task",
}
_NAMES: Final = ("public_name", "model_name", "description", "endpoint_id", "object_id", "model_id", "task_id")

Announcement = tuple[str, Mapping[str, Any]]
"""The type of an event and its data."""


def message(event_type: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """What an incoming webhook takes, for one event."""
    title, name = _title(event_type), _name(data, MAX_VALUE_CHARS)
    shown = [_plain(f"{label}: {_shown(data[key])}") for key, label in _LABELS.items() if data.get(key) is not None]
    fields = shown[:MAX_FIELDS]
    blocks: list[dict[str, Any]] = [_header(title)]
    if fields:
        blocks.append({"type": "section", "fields": fields})
    if data.get("problem"):
        blocks.append(_section(f"Problem: {_shown(_problem(data['problem']))}"))
    return _framed(f"{title}: {name}" if name else title, blocks)


def digest(announcements: Sequence[Announcement]) -> dict[str, Any]:
    """One message for many events: how many of each kind, the most frequent first, and the first few names.

    The counts shown add up to the number of events. A single event is shown as itself.
    """
    if len(announcements) == 1:
        return message(*announcements[0])
    counts = Counter(event_type for event_type, _ in announcements).most_common()
    lines = [_line(event_type, count, announcements) for event_type, count in counts[:MAX_KINDS]]
    others = sum(count for _, count in counts[MAX_KINDS:])
    if others:
        lines.append(f"{others} × other")
    title = f"{len(announcements)} events"
    summary = ", ".join(f"{count} × {_title(event_type)}" for event_type, count in counts[:MAX_KINDS])
    return _framed(f"{title}: {summary}", [_header(title), *(_section(line) for line in lines)])


def _line(event_type: str, count: int, announcements: Sequence[Announcement]) -> str:
    found = (_name(data, _NAME_CHARS) for kind, data in announcements if kind == event_type)
    names = list(dict.fromkeys(filter(None, found)))
    more = ["…"] if len(names) > MAX_NAMES else []
    line = f"{count} × {_title(event_type)}"
    return f"{line}: {', '.join(names[:MAX_NAMES] + more)}" if names else line


def _title(event_type: str) -> str:
    return _TITLES.get(event_type) or _shown(event_type, _NAME_CHARS)


def _name(data: Mapping[str, Any], limit: int) -> str:
    return next((_shown(data[key], limit) for key in _NAMES if data.get(key)), "")


def _problem(problem: Mapping[str, Any]) -> object:
    return problem.get("message") or problem.get("code")


def _shown(value: object, limit: int = MAX_VALUE_CHARS) -> str:
    """The value as harmless text of at most this many characters, escapes counted and never cut through."""
    shown: list[str] = []
    room = limit - 1
    for char in str(value):
        piece = _ESCAPES.get(char) or (" " if unicodedata.category(char).startswith(_UNREADABLE) else char)
        room -= len(piece)
        if room < 0:
            return "".join(shown) + "…"
        shown.append(piece)
    return "".join(shown)


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text, "emoji": False}


def _header(text: str) -> dict[str, Any]:
    return {"type": "header", "text": _plain(text)}


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _plain(text)}


def _framed(text: str, blocks: list[dict[str, Any]]) -> dict[str, Any]:
    """The fallback is for notifications; neither form is markup, and no name becomes a mention or a preview."""
    return {
        "text": text,
        "blocks": blocks,
        "mrkdwn": False,
        "link_names": False,
        "unfurl_links": False,
        "unfurl_media": False,
    }
