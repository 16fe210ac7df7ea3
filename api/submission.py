"""The one way in for every change: headers, rights, sealing, accept, then answer 202 or wait."""

from collections.abc import Callable
from typing import Any

import msgspec
import structlog
from litestar import Request, Response

from api import intake
from api.auth import Bearer
from api.errors import answer
from api.headers import Preference, expecting, idempotency_key, origin, preference
from api.presentation import instant, result_etag, task_result, task_view
from api.reads import Reads
from api.refusals import asks_for
from api.responses import JsonAnswer
from api.shown_once import REPLAYED
from api.waiting import Waiting
from shared.contract.tasks import TaskView, WebhookView
from shared.domain.acceptance import Submission
from shared.domain.decision import Context, Installation
from shared.domain.problems import PreconditionRequired, Problem, TaskNotFound, WebhookRefused
from shared.domain.rights import Ownership, Principal, authorise
from shared.domain.tasks import OpenTask
from shared.encryption.keyring import Keyring
from shared.encryption.sealing import Binding, seal_text
from shared.encryption.sensitivity import is_sensitive_name
from shared.operations import OPERATIONS, Command, check, refuse_what_is_off
from shared.outbox.addresses import Allowlist, RefusedTarget, check_url
from shared.runtime.clock import new_id, now
from shared.store import tasks
from shared.store.rows import AnyRow
from shared.store.tasks import NewTask

RETRY_AFTER_S = 1
_DIGEST_PURPOSE = "idempotency"

_log = structlog.get_logger(__name__)
_encoder = msgspec.json.Encoder(order="deterministic")


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A decoded request: the command with its secrets sealed, and the plain body by which it is recognised again.

    ``names_object`` says that the client chose the object, so that others may be asking for the same one.
    """

    operation: str
    command: Command
    body: Any
    names_object: bool
    retry_of: str | None = None
    own_key: str | None = None
    """An idempotency key that goes before the client's, which can send none that begins with a space."""
    webhook_url: str | None = None
    """Where the submission itself names none: that of the task that is tried again."""


class Submitter:
    def __init__(
        self,
        *,
        keyring: Keyring,
        intake: intake.Intake,
        waiting: Waiting,
        reads: Reads,
        allow: Allowlist,
        installation: Callable[[], Installation],
        default_wait_s: float,
        max_wait_s: float,
        requires_if_match: bool,
    ) -> None:
        self.keyring = keyring
        self._intake = intake
        self._waiting = waiting
        self._reads = reads
        self._allow = allow
        self._installation = installation
        self._default_wait_s = default_wait_s
        self._max_wait_s = max_wait_s
        self._requires_if_match = requires_if_match

    async def submit(self, request: Request[Principal, Any, Any], asked: Asked) -> Response[Any]:
        """Accept one command and answer it.

        Raises:
            Refusal: nothing was accepted.
        """
        preferred = preference(request.headers.get("prefer"), self._max_wait_s)
        accepting = self._accepting(request, asked)
        own_id = accepting.row.task_id
        bearer: Bearer = request.auth
        wait_s = self._wait_s(preferred, bearer)
        if wait_s <= 0 or self._waiting.is_full:
            task_id, wait_s = await self._accept(accepting), 0
        else:
            # Watching before accepting: the task may end before this coroutine runs again.
            with self._waiting.watch(own_id) as watch:
                task_id = await self._accept(accepting)
                if task_id == own_id:
                    await watch.ended(wait_s, bearer.still_holds)
        headers = _headers(task_id, preferred)
        if task_id != own_id:
            headers[REPLAYED] = "true"
        elif wait_s <= 0:
            return _accepted(_fresh(accepting.row, request.headers.get("webhook-url")), headers)
        row = await self._stored(accepting, task_id, wait_s, bearer)
        return await self._answer(request, row, headers, is_waited=wait_s > 0)

    async def submit_change(
        self, request: Request[Principal, Any, Any], operation: str, command: Command, objects: int = 1
    ) -> Response[Any]:
        """As ``submit``, for a change of so many objects that are there, whose command holds nothing to be sealed.

        Raises:
            Refusal: nothing was accepted. ``InvalidHeader`` for an ``If-Match`` that cannot be meant.
        """
        command = expecting(request, command, objects)
        asked = Asked(operation=operation, command=command, body=command, names_object=True)
        return await self.submit(request, asked)

    async def accept(self, request: Request[Principal, Any, Any], asked: Asked) -> str:
        """Accept one command without waiting for it; the id of its task. Raises as ``submit`` does."""
        return await self._accept(self._accepting(request, asked))

    def _wait_s(self, preferred: Preference, bearer: Bearer) -> float:
        if preferred.wait_s is not None:
            return preferred.wait_s
        of_key = bearer.default_wait_s
        default_wait_s = self._default_wait_s if of_key is None else min(of_key, self._max_wait_s)
        return 0 if preferred.is_async else default_wait_s

    def _accepting(self, request: Request[Principal, Any, Any], asked: Asked) -> intake.Request:
        refuse_what_is_off(asked.operation, asked.command, self._installation())
        operation = OPERATIONS[asked.operation]
        ref, needs = operation.touched(asked.command)[0], operation.needed(asked.command)
        asks_for(request, asked.operation, ref)
        authorise(request.user, asked.operation)
        if self._requires_if_match and getattr(asked.command, "if_match", "*") is None:
            raise PreconditionRequired
        task_id = new_id()
        key = asked.own_key or idempotency_key(request.headers.get("idempotency-key"))
        plain = _encoder.encode((asked.operation, asked.body))
        digest = self.keyring.digest(plain, _DIGEST_PURPOSE)
        user_id = request.user.user_id
        row = NewTask(
            task_id=task_id,
            operation=asked.operation,
            object_type=ref.object_type,
            object_id=ref.object_id,
            needs=[needed.line for needed in needs] or None,
            command=msgspec.Raw(msgspec.json.encode(asked.command)),
            digest=digest,
            principal=request.user.identity(),
            submitted_by=user_id,
            origin=origin(request),
            idempotency_key=key,
            webhook_url=self._sealed_webhook(request.headers.get("webhook-url", asked.webhook_url), task_id),
            retry_of=asked.retry_of,
            submitted_at=now(),
        )
        submission = Submission(
            task=OpenTask(
                task_id=task_id,
                operation=asked.operation,
                digest=digest,
                submitted_by=user_id,
                ownership=_ownership(asked.command),
            ),
            ref=ref,
            needs=needs,
            idempotency_key=key,
            check=lambda lines: check(asked.operation, asked.command, lines, self._context(request.user, row)),
            is_same=lambda earlier: self.keyring.digest_matches(earlier, plain, _DIGEST_PURPOSE),
        )
        return intake.Request(
            submission=submission, row=row, is_contested=asked.names_object or bool(needs) or key is not None
        )

    def _context(self, principal: Principal, row: NewTask) -> Context:
        return Context(
            now=row.submitted_at,
            principal=principal,
            task_id=row.task_id,
            installation=self._installation(),
            is_secret_name=is_sensitive_name,
        )

    def _sealed_webhook(self, url: str | None, task_id: str) -> str | None:
        if url is None:
            return None
        try:
            check_url(url, self._allow)
        except RefusedTarget as refused:
            raise WebhookRefused(str(refused)) from None
        return seal_text(self.keyring, Binding("task", task_id), url, "webhook_url")

    async def _accept(self, accepting: intake.Request) -> str:
        task_id = await self._intake.accept(accepting)
        row = accepting.row
        _log.info(
            "task.accepted" if task_id == row.task_id else "task.recognised",
            task_id=task_id,
            operation=row.operation,
            object_id=row.object_id,
            request_id=row.origin.request_id,
        )
        return task_id

    async def _stored(self, accepting: intake.Request, task_id: str, wait_s: float, bearer: Bearer) -> AnyRow:
        """The task as it is stored; waits here if the request repeats one that has not ended."""
        row = await self._reads.row(tasks.by_ids(), task_ids=[task_id])
        if row is None:
            raise TaskNotFound
        if task_id == accepting.row.task_id or row.finished_at is not None or wait_s <= 0:
            return row
        with self._waiting.watch(task_id) as watch:
            await watch.ended(wait_s, bearer.still_holds)
        return await self._stored(accepting, task_id, 0, bearer)

    async def _answer(
        self, request: Request[Principal, Any, Any], row: AnyRow, headers: dict[str, str], *, is_waited: bool
    ) -> Response[Any]:
        """200 with the finished row, the problem of a failed task, or 202 with the task."""
        if not is_waited or row.finished_at is None:
            return _accepted(task_view(self.keyring, row), headers)
        if row.status == "failed":
            return answer(request, msgspec.convert(row.problem, Problem), headers=headers)
        tag = result_etag(row)
        if tag is not None:
            headers["ETag"] = tag
        return JsonAnswer(task_result(self.keyring, row), status_code=200, headers=headers)


def _ownership(command: Command) -> Ownership:
    """To whom the object will belong, if the command creates it; as ``waiting_on`` reads it from a stored one."""
    return Ownership(team_id=getattr(command, "team_id", None), user_id=getattr(command, "user_id", None))


def _headers(task_id: str, preferred: Preference) -> dict[str, str]:
    headers = {"Location": f"/tasks/{task_id}"}
    if preferred.applied is not None:
        headers["Preference-Applied"] = preferred.applied
    return headers


def _accepted(view: TaskView, headers: dict[str, str]) -> JsonAnswer:
    if not view.has_ended:
        headers = {**headers, "Retry-After": str(RETRY_AFTER_S)}
    return JsonAnswer(view, status_code=202, headers=headers)


def _fresh(row: NewTask, webhook_url: str | None) -> TaskView:
    """What the database would say of a task that was committed a moment ago."""
    return TaskView(
        task_id=row.task_id,
        operation=row.operation,
        status="queued",
        object_type=row.object_type,
        object_id=row.object_id,
        submitted_at=instant(row.submitted_at),
        submitted_by=row.submitted_by,
        webhook=None if webhook_url is None else WebhookView(url=webhook_url, deliveries=[]),
    )
