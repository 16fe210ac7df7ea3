"""Makes one attempt: opens what is sealed, picks the form and the sender, and says how it went."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec
import structlog
from sqlalchemy import Engine

from shared.domain.webhooks import OBJECT_TYPE
from shared.encryption.keyring import Keyring
from shared.encryption.sealing import Binding, UnreadableField, open_text, seal_text
from shared.outbox import slack
from shared.outbox.webhook import UnusableSecretError, new_secret
from shared.runtime.settings import Secret
from shared.store import outbox
from shared.store.destinations import UNSORTED, Leased
from worker.senders import slack as slack_sender
from worker.senders import webhook as webhook_sender
from worker.senders.connector import Connector
from worker.senders.outcome import Outcome
from worker.senders.webhook import Message

SLACK: Final = "slack:"

_log = structlog.get_logger(__name__)


class Attempted(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt and how it went. One that could not even begin does not count against the destination."""

    due: Leased
    started_at: datetime
    ended_at: datetime
    outcome: Outcome
    counts: bool = True
    unreadable: UnreadableField | None = None


class _Impossible(Exception):
    """What is needed to make the attempt is not there any more."""


class Sending:
    """Shared by threads."""

    def __init__(
        self,
        *,
        engine: Engine,
        keyring: Keyring,
        connector: Connector,
        slack_urls: Mapping[str, Secret],
        clock: Callable[[], datetime],
    ) -> None:
        self._engine = engine
        self._keyring = keyring
        self._connector = connector
        self._slack_urls = slack_urls
        self._clock = clock

    def send(self, due: Leased) -> Attempted:
        """One event to one URL."""
        if due.destination == "slack":
            return self.send_digest([due])[0]
        return self._made([due], lambda started_at: self._call(due, started_at))[0]

    def send_digest(self, due: Sequence[Leased]) -> list[Attempted]:
        """One message about all of these to one Slack channel."""
        return self._made(due, lambda _: self._tell_slack(due))

    def _made(self, due: Sequence[Leased], attempt: Callable[[datetime], Outcome]) -> list[Attempted]:
        started_at = self._clock()
        counts, unreadable = True, None
        try:
            outcome = attempt(started_at)
        except _Impossible as reason:
            counts, outcome = False, _failed(str(reason), permanent=True)
        except UnreadableField as problem:
            unreadable, outcome = problem, _failed(str(problem), permanent=False)
        except UnusableSecretError as problem:
            outcome = _failed(str(problem), permanent=True)
        except Exception as error:  # noqa: BLE001  (outermost loop of a thread: a bug is an attempt that failed)
            _log.error("delivery.broke_off", delivery_id=due[0].delivery_id, exc_info=error)
            outcome = _failed("the attempt broke off inside Pointsman", permanent=False)
        ended_at = self._clock()
        return [
            Attempted(
                due=one,
                started_at=started_at,
                ended_at=ended_at,
                outcome=outcome,
                counts=counts,
                unreadable=unreadable,
            )
            for one in due
        ]

    def _call(self, due: Leased, started_at: datetime) -> Outcome:
        url, secrets = self._callback(due) if due.destination == "callback" else self._endpoint(due, started_at)
        message = Message(
            url=url,
            secrets=secrets,
            event_id=due.event_id,
            event_type=due.type,
            occurred_at=due.occurred_at,
            data=due.data,
        )
        return webhook_sender.send(message, started_at, self._connector)

    def _endpoint(self, due: Leased, now: datetime) -> tuple[str, list[str]]:
        if due.webhook_id is None or due.endpoint_url is None or due.secret is None:
            raise _Impossible("the endpoint was deleted")
        if not due.endpoint_enabled and due.type != "webhook.test":
            raise _Impossible("the endpoint is disabled")
        binding = Binding(OBJECT_TYPE, due.webhook_id)
        sealed = [due.secret]
        if due.previous_secret is not None and due.overlap_until is not None and now < due.overlap_until:
            sealed.append(due.previous_secret)
        url = open_text(self._keyring, binding, due.endpoint_url, "url")
        return url, [open_text(self._keyring, binding, secret, "secret") for secret in sealed]

    def _callback(self, due: Leased) -> tuple[str, list[str]]:
        if due.callback_url is None or due.submitted_by is None or due.task_id is None:
            raise _Impossible("the task and its Webhook-Url are gone")
        url = open_text(self._keyring, Binding("task", due.task_id), due.callback_url, "webhook_url")
        binding = Binding("signing_secret", due.submitted_by)
        sealed = due.signing_secret or self._new_signing_secret(due.submitted_by, binding)
        return url, [open_text(self._keyring, binding, sealed, "secret")]

    def _new_signing_secret(self, user_id: str, binding: Binding) -> str:
        """Of several that are made at the same time, the first one stays."""
        sealed = seal_text(self._keyring, binding, new_secret(), "secret")
        with self._engine.begin() as connection:
            connection.execute(outbox.add_signing_secret(user_id, sealed))
            return connection.execute(outbox.signing_secret_of(user_id)).scalar_one()

    def _tell_slack(self, due: Sequence[Leased]) -> Outcome:
        destination_id = due[0].destination_id
        url = self._slack_urls.get("" if destination_id == UNSORTED else destination_id.removeprefix(SLACK))
        if url is None:
            raise _Impossible("this Slack channel is not configured any more")
        return slack_sender.send(url.reveal(), slack.digest([(one.type, one.data) for one in due]))


def _failed(reason: str, *, permanent: bool) -> Outcome:
    return Outcome(ok=False, status=None, error=reason, excerpt="", latency_ms=0, permanent=permanent)
