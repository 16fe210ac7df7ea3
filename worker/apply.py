"""Applies due tasks: claim, load, decide, save, in one transaction."""

from collections.abc import Callable
from datetime import datetime

import msgspec
from sqlalchemy import Connection, Engine

from shared.audit.chain import Head, continued
from shared.domain.decision import Installation, ObjectRef
from shared.encryption.keyring import Keyring
from shared.operations import OPERATIONS, Command, command_from
from shared.outbox.routing import Routes
from shared.runtime.failpoints import reach
from shared.store import audit, destinations, outbox, tasks
from shared.store.rows import AnyRow, fields_of, packed
from shared.store.tasks import Claimed
from worker import announcing, objects, principals
from worker.announcing import GIVE_UP_AFTER
from worker.batch import Batch, Objects
from worker.principals import Principals


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """What one commit did, for those who are told afterwards."""

    task_ids: list[str]
    delivery_ids: list[str]


class Applier:
    """One transaction at a time, which holds the locks of its tasks from claim to commit: it cannot commit late."""

    def __init__(
        self,
        engine: Engine,
        keyring: Keyring,
        routes: Routes,
        batch_size: int,
        clock: Callable[[], datetime],
        installation: Callable[[], Installation],
    ) -> None:
        self._engine = engine
        self._keyring = keyring
        self._routes = routes
        self._batch_size = batch_size
        self._clock = clock
        self._installation = installation

    def apply_due(self) -> Applied:
        """Apply what is due, oldest first, up to the batch size; an empty result says that nothing was free."""
        with self._engine.begin() as connection:
            applied = self._apply(connection, _claim(connection, self._batch_size))
        _reached_after_commit(applied)
        return applied

    def apply_one(self, task_id: str) -> Applied:
        """Apply this task, if it is due, first in its line and nobody holds it."""
        with self._engine.begin() as connection:
            applied = self._apply(connection, _heads(connection, 1, [task_id]))
        _reached_after_commit(applied)
        return applied

    def claim_one(self, connection: Connection, task_id: str) -> Claimed | None:
        """Lock this task in the caller's transaction, if it is due, first in its line and nobody holds it."""
        return next(iter(_heads(connection, 1, [task_id])), None)

    def end(self, connection: Connection, task: Claimed, end: Callable[[Batch, Claimed], None]) -> Applied:
        """End a claimed task in the caller's transaction: one that is given up, or that was done in chunks."""
        batch = self._batch({})
        end(batch, task)
        return _save(connection, batch)

    def _apply(self, connection: Connection, claimed: list[Claimed]) -> Applied:
        if not claimed:
            return Applied(task_ids=[], delivery_ids=[])
        reach("apply.after_claim")
        commands = {
            task.task_id: command_from(task.operation, task.command) for task in claimed if not task.is_cancelled
        }
        loaded = _load(connection, claimed, commands)
        reach("apply.after_load")
        batch = self._batch(loaded, principals.load(connection, claimed))
        batch.decide(claimed, commands)
        return _save(connection, batch)

    def _batch(self, loaded: Objects, principals: Principals | None = None) -> Batch:
        return Batch(loaded, self._clock(), self._keyring, self._routes, self._installation(), principals)


def _load(connection: Connection, claimed: list[Claimed], commands: dict[str, Command]) -> Objects:
    to_change: list[ObjectRef] = []
    touched: list[ObjectRef] = []
    for task in claimed:
        if task.is_cancelled:
            touched.append(_ref(task))
        else:
            to_change += OPERATIONS[task.operation].changes(commands[task.task_id])
            touched += OPERATIONS[task.operation].touched(commands[task.task_id])
    return objects.load(connection, to_change, touched)


def _reached_after_commit(applied: Applied) -> None:
    if applied.task_ids:
        reach("apply.after_commit")


def _claim(connection: Connection, limit: int) -> list[Claimed]:
    """Heads of lines, and behind each the unbroken run of what is due, in the order of acceptance."""
    heads = _heads(connection, limit)
    lines = [_ref(head) for head in heads if head.has_followers]
    if not lines or len(heads) >= limit:
        return heads
    claimed = {head.task_id: head for head in heads}
    broken: set[ObjectRef] = set()
    for row in connection.execute(tasks.claim_followers(lines, limit)):
        task = _claimed(row)
        if not row.is_free and task.task_id not in claimed:
            broken.add(_ref(task))
        if _ref(task) not in broken:
            claimed[task.task_id] = task
    return sorted(claimed.values(), key=lambda task: task.seq)[:limit]


def _heads(connection: Connection, limit: int, task_ids: list[str] | None = None) -> list[Claimed]:
    if task_ids is None:
        rows = connection.execute(tasks.claim_heads(), {"limit": limit})
    else:
        rows = connection.execute(tasks.claim_heads(of_these=True), {"limit": limit, "task_ids": task_ids})
    return [_claimed(row) for row in rows]


def _claimed(row: AnyRow) -> Claimed:
    return msgspec.convert(fields_of(row), Claimed)


def _ref(task: Claimed) -> ObjectRef:
    return ObjectRef(task.object_type, task.object_id)


def _save(connection: Connection, batch: Batch) -> Applied:
    """Everything that the batch came to. The head row, which all workers share, is locked last."""
    outgoing = batch.routed(announcing.listening(connection, batch.events))
    announcing.save(connection, outgoing)
    _replay(connection, batch)
    connection.execute(tasks.end_tasks(), packed(batch.endings))
    reach("apply.before_head")
    if batch.entries:
        _record(connection, batch)
    reach("apply.before_commit")
    return Applied(
        task_ids=[ending.task_id for ending in batch.endings],
        delivery_ids=[delivery.delivery_id for delivery in outgoing.deliveries]
        + [replay.webhook_id for replay in batch.replays],
    )


def _replay(connection: Connection, batch: Batch) -> None:
    """Whoever asks for a replay says that the endpoint is well again."""
    if not batch.replays:
        return
    places = [{"destination_id": f"webhook:{replay.webhook_id}"} for replay in batch.replays]
    connection.execute(destinations.add(), packed(places))
    connection.execute(destinations.forget_failures([place["destination_id"] for place in places]))
    for replay in batch.replays:
        give_up_at = batch.now + GIVE_UP_AFTER
        if replay.delivery_id is not None:
            connection.execute(outbox.replay_one(replay.webhook_id, replay.delivery_id, give_up_at))
        elif replay.since is not None:
            connection.execute(outbox.replay_failed(replay.webhook_id, replay.since, give_up_at))


def _record(connection: Connection, batch: Batch) -> None:
    """The changed objects and the audit entries, numbered from the head on."""
    head = connection.execute(audit.lock_head()).one()
    objects.save(connection, batch, head.revision)
    entries = continued(Head(head.position, head.hash), batch.entries)
    connection.execute(audit.append(), packed(entries))
    connection.execute(
        audit.move_head(),
        {
            "new_position": entries[-1].position,
            "new_hash": entries[-1].hash,
            "new_revision": head.revision + batch.change_count,
            "new_model_count": head.model_count + batch.models_added,
        },
    )
