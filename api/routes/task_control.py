"""``/tasks``: cancelling what has not ended, and trying again what failed."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from litestar import Request, Response, Router, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from api.headers import origin, preference
from api.openapi import Answer, described, submission
from api.presentation import refuse
from api.reads import Reads
from api.refusals import RefusalLog
from api.routes.bodies import json_body
from api.routes.tasks import ownership, row_of, view_of
from api.shapes import ModelRow
from api.submission import Asked, Submitter
from api.waiting import Waiting
from shared.contract.tasks import TaskFilter, TasksCancelled, TasksRetried, TaskView, decode_filter
from shared.domain.problems import Refusal, TaskNotFailed
from shared.domain.rights import Principal, authorise, scope
from shared.encryption.keyring import Keyring
from shared.encryption.sealing import Binding, UnreadableField, open_text
from shared.messaging.rings import Bell
from shared.operations import OPERATIONS, command_from
from shared.runtime.clock import now
from shared.store import tasks
from shared.store.rows import Selection
from shared.store.tasks import Canceller

CANCEL_WAIT_S = 5.0
MAX_BULK = 100

_Request = Request[Principal, Any, Any]
_Reads = NamedDependency[Reads]
_Submitter = NamedDependency[Submitter]


@post(
    "/tasks/{task_id:str}/cancel",
    opt={"operation": "task.cancel"},
    status_code=200,
    operation_class=described(
        {200: Answer(shape=TaskView, text="The task as it is now.")}, problems=("task_not_found", "not_permitted")
    ),
    summary="Cancel a task",
    tags=["tasks"],
)
async def cancel_task(
    request: _Request,
    task_id: FromPath[str],
    reads: _Reads,
    waiting: NamedDependency[Waiting],
    keyring: NamedDependency[Keyring],
    bell: NamedDependency[Bell],
) -> Response[TaskView]:
    """A queued task ends without any effect, a running one at its next step, an ended one stays as it is.

    Waits a moment for it to be so; `cancel_requested_at` says that it was asked for.
    """
    row = await row_of(reads, request.user, task_id)
    authorise(request.user, "task.cancel", ownership(row))
    wait_s = preference(request.headers.get("prefer"), CANCEL_WAIT_S).wait_s
    # Too many who wait are no reason to carry out what is to be called off: then nobody waits here.
    with contextlib.nullcontext() if waiting.is_full else waiting.watch(row.task_id) as watch:
        requested = await reads.write(tasks.request_cancel(now(), _canceller(request)), task_ids=[row.task_id])
        if requested:
            bell.ring([row.task_id])
        if requested and watch is not None:
            await watch.ended(CANCEL_WAIT_S if wait_s is None else wait_s, request.auth.still_holds)
    row = await row_of(reads, request.user, task_id)
    return Response(await view_of(reads, keyring, row), headers={"ETag": f'"{row.version}"'})


@post(
    "/tasks/cancel",
    opt={"operation": "task.cancel"},
    status_code=200,
    operation_class=described(
        {200: Answer(shape=TasksCancelled, text="Those that are asked to end.")},
        problems=("invalid_request", "not_permitted"),
        body=TaskFilter,
    ),
    summary="Cancel tasks by filter",
    tags=["tasks"],
)
async def cancel_tasks(request: _Request, reads: _Reads, bell: NamedDependency[Bell]) -> TasksCancelled:
    """Asks for it; each task says with its status when it is so."""
    task_ids, has_more = await _matching(request, reads, tasks.to_cancel, "task.cancel")
    cancel = tasks.request_cancel(now(), _canceller(request), passes_over_held=True)
    requested = [row.task_id for row in await reads.write(cancel, task_ids=task_ids)]
    if requested:
        bell.ring(requested)
    return TasksCancelled(task_ids=requested, has_more=has_more or len(requested) < len(task_ids))


@post(
    "/tasks/{task_id:str}/retry",
    opt={"operation": "task.retry"},
    status_code=202,
    operation_class=submission(None, ModelRow, ("task_not_found", "task_not_failed")),
    summary="Try a failed task again",
    tags=["tasks"],
)
async def retry_task(request: _Request, task_id: FromPath[str], reads: _Reads, submitter: _Submitter) -> Response[Any]:
    """Submits its command anew, with the rights of whoever asks now; the new task names the old one in `retry_of`.

    Asking again gives the same new task; if that failed too, it is the one to be tried again.
    """
    row = await row_of(reads, request.user, task_id)
    authorise(request.user, "task.retry", ownership(row))
    return await submitter.submit(request, await _asked_again(reads, submitter, row.task_id))


@post(
    "/tasks/retry",
    opt={"operation": "task.retry"},
    status_code=200,
    operation_class=described(
        {200: Answer(shape=TasksRetried, text="Their new tasks.")},
        problems=("invalid_request", "not_permitted"),
        body=TaskFilter,
    ),
    summary="Try failed tasks again by filter",
    tags=["tasks"],
)
async def retry_tasks(
    request: _Request, reads: _Reads, submitter: _Submitter, refusals: NamedDependency[RefusalLog]
) -> TasksRetried:
    """In the order in which they were accepted first. A task that was tried again before is left out."""
    task_ids, has_more = await _matching(request, reads, tasks.failed, "task.retry")
    asked = [await _asked_or_refused(reads, submitter, task_id) for task_id in task_ids]
    # Each hands its row over before it first waits, so the order is kept.
    outcomes = await asyncio.gather(*(_accepted(request, submitter, refusals, one) for one in asked))
    pairs = list(zip(task_ids, outcomes, strict=True))
    return TasksRetried(
        tasks={old: new for old, new in pairs if isinstance(new, str)},
        refused={old: str(refusal) for old, refusal in pairs if isinstance(refusal, Refusal)},
        has_more=has_more,
    )


def _canceller(request: _Request) -> Canceller:
    return Canceller(principal=request.user.identity(), origin=origin(request))


async def _matching(
    request: _Request, reads: Reads, select: Callable[..., Selection], right: str
) -> tuple[list[str], bool]:
    given = decode_filter(await json_body(request)).given()
    submitted_by = given.pop("submitted_by", None)
    if not scope(request.user, right).is_all:
        submitted_by = request.user.user_id
    found = await reads.rows(select(limit=MAX_BULK + 1, submitted_by=submitted_by, **given))
    return [row.task_id for row in found[:MAX_BULK]], len(found) > MAX_BULK


async def _accepted(
    request: _Request, submitter: Submitter, refusals: RefusalLog, asked: Asked | Refusal
) -> str | Refusal:
    if isinstance(asked, Refusal):
        await refusals.record(request, asked)
        return asked
    try:
        return await submitter.accept(request, asked)
    except Refusal as refusal:
        ref = OPERATIONS[asked.operation].touched(asked.command)[0]
        await refusals.record(request, refusal, (asked.operation, ref))
        return refusal


async def _asked_or_refused(reads: Reads, submitter: Submitter, task_id: str) -> Asked | Refusal:
    try:
        return await _asked_again(reads, submitter, task_id)
    except Refusal as refusal:
        return refusal


async def _asked_again(reads: Reads, submitter: Submitter, task_id: str) -> Asked:
    """Raises TaskNotFailed, UnreadableSecret."""
    row = await reads.row(tasks.to_retry(task_id))
    if row is None or row.status not in ("failed", "cancelled") or row.command is None:
        raise TaskNotFailed("unknown" if row is None else row.status)
    url = row.webhook_url
    if url is not None:
        try:
            url = open_text(submitter.keyring, Binding("task", task_id), url, "webhook_url")
        except UnreadableField as unreadable:
            refuse(unreadable)
    return Asked(
        operation=row.operation,
        command=command_from(row.operation, row.command),
        body=("retry", task_id),
        names_object=True,
        retry_of=task_id,
        own_key=f" retry/{task_id}",
        webhook_url=url,
    )


router = Router("/", route_handlers=[cancel_task, cancel_tasks, retry_task, retry_tasks])
