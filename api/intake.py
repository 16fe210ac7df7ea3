"""Group commit: the submissions that arrive while one commit runs share the next, and one ring.

There is no timer: a request alone is committed at once, a thousand at a time share a few commits.
"""

import asyncio
import hashlib
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import structlog
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from api.lines import lines_of
from api.reads import or_on_a_new_connection, single_statements, translated
from shared.domain.acceptance import Key, Known, Submission
from shared.domain.decision import ObjectRef
from shared.domain.problems import Refusal
from shared.runtime.failpoints import reach
from shared.store import tasks
from shared.store.engines import is_transient
from shared.store.rows import packed
from shared.store.tasks import NewTask

MAX_GROUP = 200

_log = structlog.get_logger(__name__)


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One submission on its way in. ``is_contested`` says that others may name the same object or idempotency key."""

    submission: Submission
    row: NewTask
    is_contested: bool


class Intake:
    """Accepts submissions durably and in order, for one process."""

    def __init__(self, engine: AsyncEngine, ring: Callable[[list[str]], None]) -> None:
        self._engine = engine
        self._single_statements = single_statements(engine)
        self._ring = ring
        self._pending: list[tuple[Request, asyncio.Future[str]]] = []
        self._flusher: asyncio.Task[None] | None = None

    async def accept(self, request: Request) -> str:
        """Returns, after the commit, the id of the task that stands for the request: its own, or the one it repeats.

        Raises:
            Refusal: nothing was accepted. ``Unavailable`` if the database cannot be reached.
        """
        outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._pending.append((request, outcome))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush_all())
        return await outcome

    async def _flush_all(self) -> None:
        while self._pending:
            group, self._pending = self._pending[:MAX_GROUP], self._pending[MAX_GROUP:]
            await self._flush(group)

    async def _flush(self, group: list[tuple[Request, asyncio.Future[str]]]) -> None:
        try:
            await self._settle(group)
        except Exception as error:  # noqa: BLE001  (a bug, which must not leave anybody waiting for an answer)
            _log.error("intake.broke_off", error=type(error).__name__, submissions=len(group))
            _tell(group, [error] * len(group))

    async def _settle(self, group: list[tuple[Request, asyncio.Future[str]]]) -> None:
        requests, tries = [request for request, _ in group], itertools.count()
        try:
            outcomes = await or_on_a_new_connection(lambda: self._commit(requests, is_repeated=next(tries) > 0))
        except (SQLAlchemyError, OSError) as error:
            if isinstance(error, DBAPIError) and not is_transient(error) and len(group) > 1:
                # One row that the database refuses must not take the others with it.
                for single in group:
                    await self._flush([single])
                return
            _log.warning("intake.failed", error=type(error).__name__, submissions=len(group))
            outcomes = [translated(error)] * len(group)
        reach("intake.after_commit")
        self._ring_for(group, outcomes)
        reach("intake.after_ring")
        _tell(group, outcomes)

    def _ring_for(self, group: Sequence[tuple[Request, Any]], outcomes: Sequence[str | Exception]) -> None:
        own = [
            request.row.task_id
            for (request, _), outcome in zip(group, outcomes, strict=True)
            if outcome == request.row.task_id
        ]
        if own:
            self._ring(own)

    async def _commit(self, requests: list[Request], *, is_repeated: bool) -> list[str | Exception]:
        """May be repeated: rows that were committed unheard are recognised by their ids."""
        contested = [request for request in requests if request.is_contested]
        if not contested:
            async with self._single_statements.connect() as connection:
                return await _insert(connection, requests, Known({}, {}))
        async with self._engine.begin() as connection:
            known = await _known(connection, contested)
            # By now their lines are locked, so what was sent to be committed is committed, or never will be.
            unheard = await _committed(connection, requests) if is_repeated else frozenset[str]()
            outcomes = await _insert(connection, requests, known, unheard)
            reach("intake.before_commit")
        return outcomes


def _tell(group: Sequence[tuple[Request, asyncio.Future[str]]], outcomes: Sequence[str | Exception]) -> None:
    """Answers whoever still waits."""
    for (_, future), outcome in zip(group, outcomes, strict=True):
        if future.done():
            continue
        if isinstance(outcome, str):
            future.set_result(outcome)
        else:
            future.set_exception(outcome)


async def _committed(connection: AsyncConnection, requests: list[Request]) -> frozenset[str]:
    found = await connection.execute(tasks.versions(), {"task_ids": [request.row.task_id for request in requests]})
    return frozenset(row.task_id for row in found)


async def _insert(
    connection: AsyncConnection, requests: list[Request], known: Known, unheard: frozenset[str] = frozenset()
) -> list[str | Exception]:
    """``unheard`` are accepted already; judged again, a deletion would find its object gone through itself."""
    outcomes = [one.row.task_id if one.row.task_id in unheard else _outcome(known, one) for one in requests]
    rows = [request.row for request, outcome in zip(requests, outcomes, strict=True) if outcome == request.row.task_id]
    if rows:
        reach("intake.before_insert")
        await connection.execute(tasks.insert_tasks(), packed(rows))
    return outcomes


def _outcome(known: Known, request: Request) -> str | Exception:
    try:
        return known.accept(request.submission)
    except Refusal as refusal:
        return refusal


async def _known(connection: AsyncConnection, requests: list[Request]) -> Known:
    """Locks the lines and keys that these requests name, then reads what was accepted for them before."""
    submissions = [request.submission for request in requests]
    await connection.execute(tasks.lock_lines(), {"keys": _lock_keys(submissions)})
    return Known(await _accepted_keys(connection, submissions), await lines_of(connection, _refs(submissions)))


async def _accepted_keys(connection: AsyncConnection, submissions: list[Submission]) -> dict[Key, tuple[str, str]]:
    keys = [submission.key for submission in submissions if submission.key is not None]
    if not keys:
        return {}
    found = await connection.execute(tasks.accepted_with_keys([user for user, _ in keys], [key for _, key in keys]))
    return {(row.submitted_by, row.idempotency_key): (row.task_id, row.digest) for row in found}


def _refs(submissions: list[Submission]) -> list[ObjectRef]:
    return list({ref for submission in submissions for ref in (submission.ref, *submission.needs)})


def _lock_keys(submissions: list[Submission]) -> list[int]:
    names = {ref.line for ref in _refs(submissions)}
    names |= {"idempotency/" + "/".join(s.key) for s in submissions if s.key is not None}
    return [
        int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True) for name in names
    ]
