"""``/tasks``: how far accepted changes have come."""

import base64
import binascii
import contextlib
import re
from collections.abc import AsyncGenerator
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, Router, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import ServerSentEvent, ServerSentEventMessage

from api.auth import Bearer
from api.openapi import Answer, described
from api.presentation import task_view
from api.reads import Reads
from api.submission import RETRY_AFTER_S
from api.waiting import Waiting
from shared.contract.tasks import TaskPage, TaskView
from shared.domain.problems import InvalidQuery, Refusal, TaskNotFound, TooManyWaiters
from shared.domain.rights import Ownership, Principal, is_allowed, scope
from shared.encryption.keyring import Keyring
from shared.store import outbox, tasks
from shared.store.rows import AnyRow

HEARTBEAT_S = 15.0
MAX_WAIT_S = 60.0
RECONNECT_MS = 1000

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

_VERSION = re.compile("[0-9]{1,10}")

_Request = Request[Principal, Any, Any]
_Limit = Annotated[int, QueryParameter(ge=1, le=200)]
_StatusFilter = Literal["queued", "running", "succeeded", "failed", "cancelled"]


@get(
    "/tasks/{task_id:str}",
    operation_class=described(
        {
            200: Answer(
                shape=TaskView,
                text="The task, in whatever state.",
                headers={
                    "ETag": "Changes with every move of the task.",
                    "Retry-After": "Seconds after which to look again; absent once the task has ended.",
                },
            )
        },
        problems=("task_not_found",),
    ),
    summary="Show a task",
    tags=["tasks"],
)
async def show_task(
    request: _Request,
    task_id: FromPath[str],
    reads: NamedDependency[Reads],
    waiting: NamedDependency[Waiting],
    keyring: NamedDependency[Keyring],
    wait: Annotated[
        float | None, QueryParameter(ge=0, description="Answer when it has ended, or after this many seconds.")
    ] = None,
) -> Response[TaskView]:
    """200 in every state, with `Retry-After` until it has ended. `ETag` changes with every move of the task."""
    row = await row_of(reads, request.user, task_id)
    wait_s = min(wait or 0, MAX_WAIT_S)
    if wait_s > 0 and row.finished_at is None and not waiting.is_full:
        with waiting.watch(row.task_id) as watch:
            row = await row_of(reads, request.user, task_id)
            watch.saw(row.version, row.status)
            await watch.ended(wait_s, request.auth.still_holds)
        row = await row_of(reads, request.user, task_id)
    etag = f'"{row.version}"'
    headers = {"ETag": etag} if row.finished_at else {"ETag": etag, "Retry-After": str(RETRY_AFTER_S)}
    return Response(await view_of(reads, keyring, row), headers=headers)


@get(
    "/tasks",
    operation_class=described(
        {200: Answer(shape=TaskPage, text="A page of tasks; `next_cursor` leads to the next one.")},
    ),
    summary="List tasks, newest first",
    tags=["tasks"],
)
async def list_tasks(
    request: _Request,
    reads: NamedDependency[Reads],
    keyring: NamedDependency[Keyring],
    status: FromQuery[_StatusFilter | None] = None,
    operation: FromQuery[str | None] = None,
    object_type: FromQuery[str | None] = None,
    object_id: FromQuery[str | None] = None,
    submitted_by: FromQuery[str | None] = None,
    limit: _Limit = 50,
    cursor: FromQuery[str | None] = None,
) -> TaskPage:
    filters = {"status": status, "operation": operation, "object_type": object_type, "object_id": object_id}
    mine_only = not scope(request.user, "task.read").is_all
    rows = await reads.rows(
        tasks.page(
            limit=limit + 1,
            before_seq=None if cursor is None else _seq_of(cursor),
            submitted_by=request.user.user_id if mine_only else submitted_by,
            **{name: value for name, value in filters.items() if value is not None},
        )
    )
    next_cursor = _cursor_of(rows[limit - 1].seq) if len(rows) > limit else None
    return TaskPage(data=[task_view(keyring, row) for row in rows[:limit]], next_cursor=next_cursor)


@get(
    "/tasks/{task_id:str}/events",
    operation_class=described(
        {
            200: Answer(
                shape=str,
                text="Events named `task`; the data of each is the task, its id the task's version.",
                media_type="text/event-stream",
            )
        },
        problems=("task_not_found", "too_many_waiters"),
        headers={"Last-Event-ID": "The id of the last event that was seen: older ones are not sent again."},
    ),
    summary="Follow a task (server-sent events)",
    tags=["tasks"],
)
async def follow_task(
    request: _Request,
    task_id: FromPath[str],
    reads: NamedDependency[Reads],
    waiting: NamedDependency[Waiting],
    keyring: NamedDependency[Keyring],
) -> ServerSentEvent:
    """One event for each move of the task, the first at once; `Last-Event-ID` resumes. Closes when it has ended."""
    row = await row_of(reads, request.user, task_id)
    if waiting.is_full:
        raise TooManyWaiters
    seen = request.headers.get("last-event-id", "")
    moves = _moves(request, reads, keyring, waiting, row.task_id, int(seen) if _VERSION.fullmatch(seen) else 0)
    return ServerSentEvent(_until_refused(moves))


async def _until_refused(moves: AsyncGenerator[ServerSentEventMessage]) -> AsyncGenerator[ServerSentEventMessage]:
    """The stream has begun: there is no other way to say that whoever follows has lost the right to."""
    with contextlib.suppress(Refusal):
        async for message in moves:
            yield message


async def _moves(
    request: _Request, reads: Reads, keyring: Keyring, waiting: Waiting, task_id: str, seen: int
) -> AsyncGenerator[ServerSentEventMessage]:
    bearer: Bearer = request.auth
    with waiting.watch(task_id) as watch:
        while True:
            row = await row_of(reads, request.user, task_id)
            watch.saw(row.version, row.status)
            if row.version > seen:
                seen = row.version
                view = await view_of(reads, keyring, row)
                yield ServerSentEventMessage(
                    event="task", id=str(seen), data=msgspec.json.encode(view).decode(), retry=RECONNECT_MS
                )
            if row.finished_at is not None:
                return
            while not await watch.moved_beyond(seen, HEARTBEAT_S, bearer.still_holds):
                yield ServerSentEventMessage(comment="still here")


async def row_of(reads: Reads, principal: Principal, task_id: str) -> AnyRow:
    """Raises TaskNotFound, also where the task is somebody else's."""
    row = await reads.row(tasks.by_ids(), task_ids=[task_id]) if _UUID.fullmatch(task_id) else None
    if row is None or not is_allowed(principal, "task.read", ownership(row)):
        raise TaskNotFound
    return row


def ownership(row: AnyRow) -> Ownership:
    return Ownership(user_id=row.submitted_by)


async def view_of(reads: Reads, keyring: Keyring, row: AnyRow) -> TaskView:
    deliveries = () if row.webhook_url is None else await reads.rows(outbox.of_tasks([row.task_id]))
    return task_view(keyring, row, deliveries)


def _cursor_of(seq: int) -> str:
    return base64.urlsafe_b64encode(str(seq).encode()).decode().rstrip("=")


def _seq_of(cursor: str) -> int:
    """Raises InvalidQuery."""
    try:
        seq = int(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        seq = -1
    if not 0 <= seq < 2**63:
        raise InvalidQuery("cursor", "is not one that a page gave out")
    return seq


router = Router("/", route_handlers=[show_task, list_tasks, follow_task])
