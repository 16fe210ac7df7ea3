"""Objects in and out of PostgreSQL, a statement or two for each type whatever the size of the batch."""

from collections.abc import Iterable

import msgspec
from sqlalchemy import Connection

from shared.domain import webhooks as webhook_domain
from shared.domain.decision import ObjectRef
from shared.domain.models import OBJECT_TYPE, REVISION_TYPE, Model, revision_ref
from shared.store import destinations, models, webhooks
from shared.store.rows import packed
from worker.batch import Batch, Objects


def load(connection: Connection, refs: Iterable[ObjectRef]) -> Objects:
    """Every object, locked in one order; ``None`` where there is none yet."""
    objects: Objects = dict.fromkeys(sorted(refs))
    model_ids = [ref.object_id for ref in objects if ref.object_type == OBJECT_TYPE]
    for row in connection.execute(models.by_ids_locked(model_ids)):
        objects[ObjectRef(OBJECT_TYPE, row.model_id)] = models.from_row(row)
    versions = [_version_and_id(ref) for ref in objects if ref.object_type == REVISION_TYPE]
    if versions:
        for row in connection.execute(
            models.last_with_versions([(model_id, version) for version, model_id in versions])
        ):
            objects[revision_ref(row.model_id, row.version)] = (
                None if row.state is None else msgspec.convert(row.state, Model)
            )
    webhook_ids = [ref.object_id for ref in objects if ref.object_type == webhook_domain.OBJECT_TYPE]
    if webhook_ids:
        for row in connection.execute(webhooks.by_ids_locked(webhook_ids)):
            objects[webhook_domain.ref(row.webhook_id)] = webhooks.from_row(row)
    return objects


def save(connection: Connection, batch: Batch, head_revision: int) -> None:
    """The last state of every object that changed, and each version that it went through."""
    changed = {ref: order for ref, order in batch.changed.items() if ref.object_type == OBJECT_TYPE}
    kept = [
        models.at_revision(batch.state_of(ref), head_revision + order)
        for ref, order in changed.items()
        if batch.state_of(ref) is not None
    ]
    removed = [ref.object_id for ref in changed if batch.state_of(ref) is None]
    if kept:
        connection.execute(models.save(), packed(kept))
    if removed:
        connection.execute(models.remove(removed))
    if batch.revisions:
        rows = [
            msgspec.structs.replace(revision, revision=head_revision + revision.revision)
            for revision in batch.revisions
        ]
        connection.execute(models.keep_revisions(), packed(rows))
    _save_webhooks(connection, batch)


def _save_webhooks(connection: Connection, batch: Batch) -> None:
    """The last state of every endpoint that changed. One that now leads elsewhere, or is on again, starts afresh."""
    changed = [ref for ref in batch.changed if ref.object_type == webhook_domain.OBJECT_TYPE]
    states: list[tuple[webhook_domain.Webhook | None, webhook_domain.Webhook]] = [
        (batch.before(ref), batch.state_of(ref)) for ref in changed if batch.state_of(ref) is not None
    ]
    removed = [ref.object_id for ref in changed if batch.state_of(ref) is None]
    if states:
        connection.execute(webhooks.save(), packed([after for _, after in states]))
    if removed:
        connection.execute(webhooks.remove(removed))
    afresh = [f"webhook:{after.webhook_id}" for before, after in states if before and _is_afresh(before, after)]
    if afresh:
        connection.execute(destinations.forget_failures(afresh))


def _is_afresh(before: webhook_domain.Webhook, after: webhook_domain.Webhook) -> bool:
    return before.url != after.url or (after.enabled and not before.enabled)


def _version_and_id(ref: ObjectRef) -> tuple[int, str]:
    version, _, model_id = ref.object_id.partition("@")
    return int(version), model_id
