"""Sends what the outbox holds: at least once, on each delivery's own schedule.

An attempt is leased and counted in one commit, made without any transaction, and recorded in another. A sender that
dies in between leaves a lease that runs out; the receiver then sees the same ``webhook-id`` again.
"""

from collections.abc import Callable
from datetime import datetime

import msgspec
import structlog
from sqlalchemy import Connection, Engine

from shared.encryption.keyring import Keyring, Unreadable
from shared.encryption.sealing import Binding, open_text, seal_text
from shared.outbox import schedule, slack
from shared.outbox.webhook import new_secret
from shared.runtime.failpoints import reach
from shared.runtime.settings import Secret
from shared.store import outbox
from shared.store.outbox import Attempt, DueDelivery
from shared.store.rows import fields_of
from worker.senders import slack as slack_sender
from worker.senders import webhook as webhook_sender
from worker.senders.connector import Connector
from worker.senders.outcome import Outcome
from worker.senders.webhook import Message

# Longer than any attempt can take, so that a lease that ran out means that its holder is gone.
LEASE_S = 60.0

_log = structlog.get_logger(__name__)


class Deliverer:
    """Makes attempts, one at a time; run it in as many threads as there may be attempts at a time."""

    def __init__(
        self,
        *,
        engine: Engine,
        keyring: Keyring,
        connector: Connector,
        slack_url: Secret | None,
        waits_s: tuple[float, ...],
        clock: Callable[[], datetime],
        jitter: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._keyring = keyring
        self._connector = connector
        self._slack_url = slack_url
        self._waits_s = waits_s
        self._clock = clock
        self._jitter = jitter

    def deliver_next(self) -> str | None:
        """Attempt the delivery that is due the longest; its id, or ``None`` if nothing is due."""
        with self._engine.begin() as connection:
            due = _lease(connection)
            reach("deliver.before_lease")
        if due is None:
            return None
        reach("deliver.after_lease")
        started_at = self._clock()
        outcome = self._attempt(due, started_at)
        reach("deliver.after_send")
        with self._engine.begin() as connection:
            self._record(connection, due, started_at, outcome)
            reach("deliver.before_record")
        reach("deliver.after_record")
        return due.delivery_id

    def is_anything_due(self) -> bool:
        with self._engine.begin() as connection:
            return connection.execute(outbox.any_due()).first() is not None

    def _attempt(self, due: DueDelivery, started_at: datetime) -> Outcome:
        try:
            return self._send_to_slack(due) if due.destination == "slack" else self._call_back(due, started_at)
        except Unreadable as unreadable:
            return _impossible(str(unreadable))

    def _call_back(self, due: DueDelivery, started_at: datetime) -> Outcome:
        if due.webhook_url is None or due.submitted_by is None or due.task_id is None:
            return _impossible("the task and its Webhook-Url are gone")
        message = Message(
            url=open_text(self._keyring, Binding("task", due.task_id), due.webhook_url, "webhook_url"),
            secrets=[self._signing_secret(due.submitted_by)],
            event_id=due.event_id,
            event_type=due.type,
            occurred_at=due.occurred_at,
            data=due.data,
        )
        return webhook_sender.send(message, started_at, self._connector)

    def _send_to_slack(self, due: DueDelivery) -> Outcome:
        if self._slack_url is None:
            return _impossible("POINTSMAN_SLACK_WEBHOOK_URL is not set any more")
        return slack_sender.send(self._slack_url.reveal(), slack.message(due.type, due.data))

    def _signing_secret(self, user_id: str) -> str:
        binding = Binding("signing_secret", user_id)
        with self._engine.begin() as connection:
            row = connection.execute(outbox.signing_secret_of(user_id)).first()
            if row is None:
                sealed = seal_text(self._keyring, binding, new_secret(), "secret")
                connection.execute(outbox.add_signing_secret(user_id, sealed))
                row = connection.execute(outbox.signing_secret_of(user_id)).one()
        return open_text(self._keyring, binding, row.secret, "secret")

    def _record(self, connection: Connection, due: DueDelivery, started_at: datetime, outcome: Outcome) -> None:
        attempt = Attempt(
            delivery_id=due.delivery_id,
            number=due.attempt,
            attempted_at=started_at,
            status_code=outcome.status,
            error=outcome.error,
            latency_ms=outcome.latency_ms,
            excerpt=outcome.excerpt,
        )
        connection.execute(outbox.log_attempt(), msgspec.structs.asdict(attempt))
        now = self._clock()
        again_at = self._again_at(due, outcome, now)
        if outcome.ok:
            connection.execute(outbox.finish(due.delivery_id, due.attempt, "succeeded", now))
        elif again_at is None:
            connection.execute(outbox.finish(due.delivery_id, due.attempt, "failed", now))
        else:
            connection.execute(outbox.retry_at(due.delivery_id, due.attempt, again_at))
        _log.info(
            "delivery.attempted",
            delivery_id=due.delivery_id,
            destination=due.destination,
            event_type=due.type,
            attempt=due.attempt,
            status_code=outcome.status,
            ok=outcome.ok,
            error=outcome.error,
        )

    def _again_at(self, due: DueDelivery, outcome: Outcome, now: datetime) -> datetime | None:
        if outcome.ok or outcome.permanent or outcome.gone:
            return None
        return schedule.next_attempt(due.attempt, self._waits_s, now, self._jitter(), outcome.retry_after_s)


def _lease(connection: Connection) -> DueDelivery | None:
    leased = [row.delivery_id for row in connection.execute(outbox.lease_due(1, LEASE_S))]
    if not leased:
        return None
    return msgspec.convert(fields_of(connection.execute(outbox.to_send(leased)).one()), DueDelivery)


def _impossible(reason: str) -> Outcome:
    return Outcome(ok=False, status=None, error=reason, excerpt="", latency_ms=0, permanent=True)
