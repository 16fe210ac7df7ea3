"""What attempts come to, as rows: the attempt log, the deliveries' next times, how destinations fare."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import Connection

from shared.domain.rights import SYSTEM
from shared.domain.webhooks import OBJECT_TYPE, DisableWebhook, Reason
from shared.outbox import breaker, schedule
from shared.runtime.clock import new_id
from shared.store import destinations, outbox, tasks, unreadable
from shared.store.destinations import Fared
from shared.store.outbox import Attempt, Move
from shared.store.rows import packed
from shared.store.tasks import NewTask, Origin
from shared.store.unreadable import Place
from worker.lanes import Burst
from worker.sending import Attempted

SLACK_LONGEST_S: Final = 3 * 3600.0
"""An alert that comes a day late helps nobody."""


class Recording:
    """Set-based: some few statements for however many attempts."""

    def __init__(
        self,
        *,
        waits_s: Sequence[float],
        slack_window_s: float,
        disable_after_s: float,
        clock: Callable[[], datetime],
        jitter: Callable[[], float],
    ) -> None:
        self._waits_s = waits_s
        self._slack_waits_s = schedule.within(waits_s, SLACK_LONGEST_S)
        self._slack_window_s = slack_window_s
        self._disable_after_s = disable_after_s
        self._clock = clock
        self._jitter = jitter

    def save(self, connection: Connection, attempted: Sequence[Attempted], ended: Sequence[Burst]) -> list[str]:
        """In the caller's transaction. Returns the ids of the tasks that it accepted on the system's own behalf."""
        if attempted:
            connection.execute(outbox.log_attempts(), packed([_logged(one) for one in attempted]))
            connection.execute(outbox.move(), packed([self._move(one) for one in attempted]))
        if not ended:
            return []
        unsent = [due for burst in ended for due in burst.unsent]
        if unsent:
            given = [{"delivery_id": due.delivery_id, "attempt": due.attempt} for due in unsent]
            connection.execute(outbox.hand_back(), packed(given))
        return self._end_turns(connection, ended)

    def _end_turns(self, connection: Connection, ended: Sequence[Burst]) -> list[str]:
        now = self._clock()
        fared = [self._fared(burst, now) for burst in ended]
        connection.execute(destinations.end_turns(), packed(sorted(fared, key=lambda one: one.destination_id)))
        failing = [one.destination_id for one in fared if one.consecutive_failures]
        if failing:
            connection.execute(outbox.give_up(failing))
        unread = {Place.of(problem) for burst in ended for problem in burst.unreadable}
        if unread:
            connection.execute(unreadable.note(), packed(list(unread)))
        return self._disable(connection, list(zip(ended, fared, strict=True)), now)

    def _move(self, attempted: Attempted) -> Move:
        due, now = attempted.due, self._clock()
        again_at = self._again_at(attempted, now)
        status = "succeeded" if attempted.outcome.ok else "failed" if again_at is None else "pending"
        return Move(
            delivery_id=due.delivery_id,
            attempt=due.attempt,
            status=status,
            next_attempt_at=again_at or now,
            finished_at=None if status == "pending" else now,
        )

    def _again_at(self, attempted: Attempted, now: datetime) -> datetime | None:
        due, outcome = attempted.due, attempted.outcome
        if outcome.ok or outcome.permanent or outcome.gone:
            return None
        waits_s = self._slack_waits_s if due.destination == "slack" else self._waits_s
        number = max(1, due.attempt - due.schedule_from)
        return schedule.next_attempt(number, waits_s, now, self._jitter(), outcome.retry_after_s)

    def _fared(self, burst: Burst, now: datetime) -> Fared:
        health = breaker.after(burst.turn, burst.results, now, self._jitter())
        paused_until = health.paused_until
        if burst.is_digest and burst.results:
            window_ends_at = now + timedelta(seconds=self._slack_window_s)
            paused_until = max(paused_until or now, window_ends_at) if burst.results[-1].ok else paused_until
            paused_until = max(paused_until or now, now + timedelta(seconds=1))
        fields: dict[str, Any] = {name: getattr(health, name) for name in breaker.Health.__struct_fields__}
        fields["paused_until"] = paused_until
        return Fared(destination_id=burst.turn.destination_id, lease_id=burst.lease_id, **fields)

    def _disable(self, connection: Connection, ended: Sequence[tuple[Burst, Fared]], now: datetime) -> list[str]:
        """A task like any other: in order, audited, announced. One for each state of an endpoint, whoever finds out."""
        found: list[NewTask] = []
        for burst, fared in ended:
            reason = self._reason(burst, fared, now)
            if reason is not None and burst.endpoint.webhook_id is not None and burst.endpoint.endpoint_enabled:
                found.append(_disabling(burst.endpoint.webhook_id, burst.endpoint.endpoint_version, reason, now))
        if found:
            connection.execute(tasks.insert_unless_known(), packed(found))
        return [task.task_id for task in found]

    def _reason(self, burst: Burst, fared: Fared, now: datetime) -> Reason | None:
        if burst.is_gone:
            return "gone"
        is_failing = bool(burst.results) and not burst.results[-1].ok
        return "failing" if is_failing and breaker.is_given_up(fared, now, self._disable_after_s) else None


def _logged(attempted: Attempted) -> Attempt:
    return Attempt(
        delivery_id=attempted.due.delivery_id,
        number=attempted.due.attempt,
        attempted_at=attempted.started_at,
        status_code=attempted.outcome.status,
        error=attempted.outcome.error,
        latency_ms=attempted.outcome.latency_ms,
        excerpt=attempted.outcome.excerpt,
    )


def _disabling(webhook_id: str, version: int | None, reason: Reason, now: datetime) -> NewTask:
    task_id = new_id()
    command = DisableWebhook(webhook_id=webhook_id, reason=reason, seen_version=version)
    return NewTask(
        task_id=task_id,
        operation="webhook.disable",
        object_type=OBJECT_TYPE,
        object_id=webhook_id,
        command=msgspec.Raw(msgspec.json.encode(command)),
        digest="",
        principal=SYSTEM,
        submitted_by=SYSTEM.user_id,
        origin=Origin(request_id=task_id),
        idempotency_key=f"{reason}-{webhook_id}-{version}",
        webhook_url=None,
        submitted_at=now,
    )
