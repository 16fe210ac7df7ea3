"""A change that is refused at once never becomes a task, and has its audit entry all the same.

The answer waits for the entry's commit. Refusals that come at the same time share one, and after each commit there is a
pause of some times its length: the head of the chain belongs to the workers, and a flood takes a small share of it.
"""

import asyncio
import time
from collections import deque
from contextlib import suppress
from typing import Any, Final, cast

import msgspec
import structlog
from litestar import Request
from litestar.types import Scope
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from api.headers import origin
from shared.audit.chain import Head, continued
from shared.audit.entries import REFUSED, AuditEntry
from shared.domain.decision import ObjectRef
from shared.domain.problems import NotAuthenticated, Refusal, TooManyWaiters, Unavailable
from shared.domain.rights import Principal
from shared.encryption.keyring import Keyring
from shared.encryption.masking import masked
from shared.runtime.clock import new_id, now
from shared.store import audit
from shared.store.engines import is_transient
from shared.store.rows import packed

MAX_GROUP: Final = 200
PAUSE_FOR_EACH_S: Final = 4.0
# Nobody waits longer than this to hear that they were refused; the entry follows.
ANSWER_WITHIN_S: Final = 2.0
RETRY_AFTER_S: Final = 1.0
MOST_PENDING: Final = 10_000

# Nobody was known yet, or nothing was refused for good.
_NOT_RECORDED: Final = (NotAuthenticated, TooManyWaiters, Unavailable)
_ASKED: Final = "asked"

_log = structlog.get_logger(__name__)

Asked = tuple[str, ObjectRef]
"""An operation, and the object that it is to change."""

_Pending = tuple[AuditEntry, asyncio.Future[None]]


def asks_for(request: Request[Any, Any, Any], operation: str, ref: ObjectRef) -> None:
    """Notes what a request turned out to ask for, should it be refused."""
    request.scope["state"][_ASKED] = (operation, ref)


class RefusalLog:
    """Of one process. What it has not written when it is killed, it has answered to nobody."""

    def __init__(self, engine: AsyncEngine, keyring: Keyring) -> None:
        self._engine = engine
        self._keyring = keyring
        self._pending: deque[_Pending] = deque()
        self._writer: asyncio.Task[None] | None = None

    async def on_exception(self, error: Exception, scope: Scope) -> None:
        """For Litestar's ``after_exception``, which is called before the refusal is answered."""
        if isinstance(error, Refusal) and scope["type"] == "http" and scope.get("user") is not None:
            await self.record(Request(scope), error)

    async def record(self, request: Request[Any, Any, Any], refusal: Refusal, asked: Asked | None = None) -> None:
        """Nothing for routes that change nothing. Returns when the entry is committed, or when it takes too long.

        ``asked`` is for one of many things that were asked for at once.
        """
        of_route: str | None = request.route_handler.opt.get("operation")
        if of_route is None or isinstance(refusal, _NOT_RECORDED):
            return
        if asked is None:
            asked = cast("Asked", request.scope["state"].get(_ASKED, (of_route, _named_in_path(request, of_route))))
        if len(self._pending) >= MOST_PENDING:
            _log.error("refusal.not_recorded", operation=asked[0], code=refusal.code)
            return
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending.append((self._entry(request, asked, refusal), written))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_all())
        with suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_WITHIN_S):
                await asyncio.shield(written)

    async def stop(self) -> None:
        """Writes what is left, if that can be done at once."""
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
        if self._pending:
            with suppress(SQLAlchemyError, OSError):
                await self._commit([entry for entry, _ in self._pending], is_repeated=True)

    def _entry(self, request: Request[Principal, Any, Any], asked: Asked, refusal: Refusal) -> AuditEntry:
        operation, ref = asked
        # What a client sent by mistake may stand in the path, and so in the message: a key for an id.
        problem = msgspec.json.decode(msgspec.json.encode(refusal.problem()))
        shown = masked(
            {"object_id": ref.object_id, "problem": problem}, self._keyring.fingerprint, shown="unless_sensitive"
        )
        of = origin(request)
        return AuditEntry(
            position=0,
            entry_id=new_id(),
            recorded_at=now(),
            actor=request.user.user_id,
            actor_key=request.user.key_id,
            changed_by=of.changed_by,
            source_address=of.source_address,
            request_id=of.request_id,
            operation=operation,
            action=REFUSED,
            object_type=ref.object_type,
            object_id=shown["object_id"],
            problem=shown["problem"],
        )

    async def _write_all(self) -> None:
        while self._pending:
            group = [self._pending.popleft() for _ in range(min(MAX_GROUP, len(self._pending)))]
            started = time.monotonic()
            try:
                await self._write(group, is_repeated=False)
            except asyncio.CancelledError:
                self._pending.extendleft(reversed(group))
                raise
            await asyncio.sleep(PAUSE_FOR_EACH_S * min(time.monotonic() - started, ANSWER_WITHIN_S))

    async def _write(self, group: list[_Pending], *, is_repeated: bool) -> None:
        """Again and again while the database is away. One that it does not take must not take the others with it."""
        while True:
            try:
                await self._commit([entry for entry, _ in group], is_repeated=is_repeated)
            except (SQLAlchemyError, OSError) as error:
                if not is_transient(error) and not (isinstance(error, DBAPIError) and error.connection_invalidated):
                    await self._write_singly(group, error)
                    return
                _log.warning("refusal.not_recorded_yet", error=type(error).__name__, entries=len(group))
                is_repeated = True
                await asyncio.sleep(RETRY_AFTER_S)
                continue
            for _, written in group:
                if not written.done():
                    written.set_result(None)
            return

    async def _write_singly(self, group: list[_Pending], error: Exception) -> None:
        if len(group) > 1:
            for single in group:
                await self._write([single], is_repeated=False)
            return
        ((entry, written),) = group
        _log.error("refusal.not_recorded", operation=entry.operation, error=type(error).__name__)
        if not written.done():
            written.set_result(None)

    async def _commit(self, entries: list[AuditEntry], *, is_repeated: bool) -> None:
        """``is_repeated`` says that an earlier commit of them may have been a success that nobody heard of."""
        async with self._engine.begin() as connection:
            head = (await connection.execute(audit.lock_head())).one()
            if is_repeated:
                ids = [entry.entry_id for entry in entries]
                known = {row.entry_id for row in await connection.execute(audit.known_ids(ids))}
                entries = [entry for entry in entries if entry.entry_id not in known]
            if entries:
                linked = continued(Head(head.position, head.hash), entries)
                await connection.execute(audit.append(), packed(linked))
                await connection.execute(
                    audit.move_head(),
                    {
                        "new_position": linked[-1].position,
                        "new_hash": linked[-1].hash,
                        "new_revision": head.revision,
                        "new_model_count": head.model_count,
                    },
                )


def _named_in_path(request: Request[Any, Any, Any], operation: str) -> ObjectRef:
    """As far as the path names it; a request may be refused before its body was understood."""
    named = request.path_params
    object_id = next(
        (str(named[name]) for name in ("model_id", "credential_name", "task_id", "webhook_id") if name in named), ""
    )
    return ObjectRef(operation.partition(".")[0], object_id)
