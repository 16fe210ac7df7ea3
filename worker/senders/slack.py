"""Sends one message to a Slack incoming webhook.

Not with slack_sdk's WebhookClient (3.47): it obeys proxies from the environment even when told none, follows redirects,
reads an answer of any size and has no total deadline. No retry inside a call: the outbox has the schedule.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from shared.outbox.addresses import Allowlist
from worker.senders import transport
from worker.senders.connector import Connector, Undelivered
from worker.senders.outcome import Outcome

DEADLINE_S: Final = 10.0

_HEADERS: Final = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "Pointsman-Slack/1.0"}
_PASSES_BY_ITSELF: Final = (408, 429)
# The URL is the operator's own setting: a relay inside the network is as good as Slack itself.
_ANYWHERE: Final = Connector(allow=Allowlist.parse("0.0.0.0/0,::/0"))


def send(
    url: str, message: Mapping[str, Any], connector: Connector = _ANYWHERE, deadline_s: float = DEADLINE_S
) -> Outcome:
    """One attempt. The URL is a secret and is in no outcome."""
    try:
        answer = transport.post(url, msgspec.json.encode(message), _HEADERS, connector=connector, deadline_s=deadline_s)
    except Undelivered as undelivered:
        return Outcome.without_answer(undelivered)
    return Outcome.of(answer, permanent=_is_permanent(answer.status))


def _is_permanent(status: int) -> bool:
    """Slack says 4xx about the message or the URL, which stay what they are."""
    return 400 <= status < 500 and status not in _PASSES_BY_ITSELF
