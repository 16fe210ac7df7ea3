"""Sends one event to one webhook."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from shared.outbox import webhook
from worker.senders import transport
from worker.senders.connector import Connector, Undelivered
from worker.senders.outcome import Outcome

GONE: Final = 410

_HEADERS: Final = {"Content-Type": "application/json", "User-Agent": "Pointsman-Webhooks/1.0"}


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """An event on its way to one URL; ``secrets`` are the opened ``whsec_…``, more than one while they rotate."""

    url: str
    secrets: Sequence[str]
    event_id: str
    event_type: str
    occurred_at: datetime
    data: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"Message(event_id={self.event_id!r}, event_type={self.event_type!r})"


def send(
    message: Message, sent_at: datetime, connector: Connector, deadline_s: float = transport.DEADLINE_S
) -> Outcome:
    """One attempt, signed for its own time. Raises ``UnusableSecretError`` only: the rest is in the outcome."""
    body = webhook.body(message.event_type, message.occurred_at, message.data)
    headers = _HEADERS | webhook.sign(message.secrets, message.event_id, sent_at, body)
    try:
        answer = transport.post(message.url, body, headers, connector=connector, deadline_s=deadline_s)
    except Undelivered as undelivered:
        return Outcome.without_answer(undelivered)
    is_gone = answer.status == GONE
    return Outcome.of(answer, gone=is_gone, permanent=is_gone)
