"""Objects as the next task will find them: what is stored, and what waits in their lines."""

from collections.abc import Awaitable, Callable

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.domain.access import OWNERSHIP
from shared.domain.decision import ObjectRef, version_tag
from shared.domain.rights import Ownership
from shared.domain.tasks import ABSENT, Line, OpenTask
from shared.store import credentials, keys, models, tasks, teams, users, webhooks
from shared.store.rows import AnyRow, fields_of


async def lines_of(connection: AsyncConnection, refs: list[ObjectRef]) -> dict[ObjectRef, Line]:
    """The lines of these objects. They are locked for whoever accepts for them."""
    waiting: dict[ObjectRef, list[OpenTask]] = {ref: [] for ref in refs}
    for row in await connection.execute(tasks.waiting_on(refs)):
        for line in (f"{row.object_type}/{row.object_id}", *_ended_together(row)):
            if (ref := ObjectRef(*line.split("/", 1))) in waiting:
                waiting[ref].append(_waiting(row))
    stored: dict[ObjectRef, Line] = {}
    for object_type, read in _STORED.items():
        object_ids = [ref.object_id for ref in refs if ref.object_type == object_type]
        if object_ids:
            found = await read(connection, object_ids)
            stored |= {ObjectRef(object_type, object_id): line for object_id, line in found.items()}
    return {ref: msgspec.structs.replace(stored.get(ref, ABSENT), waiting=tuple(waiting[ref])) for ref in refs}


def _ended_together(row: AnyRow) -> list[str]:
    """The lines of the further objects that a deletion of several ends."""
    is_of_several = row.operation.removesuffix(".delete") in tasks.DELETED_TOGETHER
    return row.needs or [] if is_of_several else []


def _waiting(row: AnyRow) -> OpenTask:
    return OpenTask(
        task_id=row.task_id,
        operation=row.operation,
        digest=row.digest,
        submitted_by=row.submitted_by,
        ownership=Ownership(team_id=row.team_id, user_id=row.user_id),
    )


async def _stored_models(connection: AsyncConnection, model_ids: list[str]) -> dict[str, Line]:
    """With the tasks that created them, as far as those are kept."""
    found = await connection.execute(models.with_creation(), {"model_ids": model_ids})
    return {
        row.model_id: Line(
            is_stored=True,
            etag=version_tag(fields_of(row)),
            created_by=_creation(row, "model.create"),
            ownership=OWNERSHIP["model"](row),
        )
        for row in found
    }


def _creation(row: AnyRow, operation: str) -> OpenTask | None:
    if row.task_id is None:
        return None
    return OpenTask(task_id=row.task_id, operation=operation, digest=row.digest, submitted_by=row.submitted_by)


async def _stored_teams(connection: AsyncConnection, team_ids: list[str]) -> dict[str, Line]:
    """With the tasks that created them, as far as those are kept."""
    found = await connection.execute(teams.with_creation(team_ids))
    return {
        row.team_id: Line(
            is_stored=True,
            etag=version_tag(fields_of(row)),
            created_by=_creation(row, "team.create"),
            ownership=OWNERSHIP["team"](row),
        )
        for row in found
    }


async def _stored_credentials(connection: AsyncConnection, names: list[str]) -> dict[str, Line]:
    found = await connection.execute(credentials.known_names(names))
    return {row.credential_name: Line(is_stored=True, etag=version_tag(fields_of(row))) for row in found}


async def _stored_keys(connection: AsyncConnection, tokens: list[str]) -> dict[str, Line]:
    found = await connection.execute(keys.known_tokens(tokens))
    return {
        row.token: Line(is_stored=True, etag=version_tag(fields_of(row)), ownership=OWNERSHIP["key"](row))
        for row in found
    }


async def _stored_users(connection: AsyncConnection, user_ids: list[str]) -> dict[str, Line]:
    found = await connection.execute(users.known_ids(user_ids))
    return {
        row.user_id: Line(is_stored=True, etag=version_tag(fields_of(row)), ownership=OWNERSHIP["user"](row))
        for row in found
    }


async def _stored_webhooks(connection: AsyncConnection, webhook_ids: list[str]) -> dict[str, Line]:
    found = await connection.execute(webhooks.known_ids(webhook_ids))
    return {
        row.webhook_id: Line(is_stored=True, etag=version_tag(fields_of(row)), ownership=OWNERSHIP["webhook"](row))
        for row in found
    }


# A row for each type of object that has lines: what is stored of these ids.
_STORED: dict[str, Callable[[AsyncConnection, list[str]], Awaitable[dict[str, Line]]]] = {
    "model": _stored_models,
    "credential": _stored_credentials,
    "key": _stored_keys,
    "user": _stored_users,
    "team": _stored_teams,
    "webhook": _stored_webhooks,
}
