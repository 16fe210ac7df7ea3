"""What a batch of claimed tasks comes to: every decision in order, as values to be saved. No I/O."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec

from shared.audit.entries import REFUSED, AuditEntry, describe
from shared.domain import models
from shared.domain.decision import Change, Context, Decision, Event, Installation, ObjectRef, Replay, State
from shared.domain.principals import TYPES as ACCESS_TYPES
from shared.domain.problems import Problem, Refusal
from shared.encryption.keyring import Keyring, Unreadable
from shared.encryption.masking import without_secrets
from shared.encryption.sealing import Binding, open_text
from shared.encryption.sensitivity import is_sensitive_name
from shared.operations import Command, decide
from shared.outbox.routing import Endpoint, Routes, targets, task_event
from shared.runtime.clock import new_id
from shared.store.models import ModelRevision
from shared.store.tasks import Claimed, Ending
from worker.announcing import Outgoing
from worker.principals import Principals

Objects = dict[ObjectRef, Any]

CANCELLED = "cancelled"


class Batch:
    """Decides claimed tasks one after the other, each on the state that the one before left."""

    def __init__(
        self,
        objects: Objects,
        now: datetime,
        keyring: Keyring,
        routes: Routes,
        installation: Installation,
        principals: Principals | None = None,
    ) -> None:
        self._before = objects
        self._objects = dict(objects)
        # The keys, users and teams among them, on which principals rest.
        self._rested_on = _of_access(objects)
        self._principals = principals or Principals({})
        self._installation = installation
        self.now = now
        self._keyring = keyring
        self._routes = routes
        # Each object that changed, and how many of the batch's changes had been made with its last one.
        self._changed: dict[ObjectRef, int] = {}
        self.revisions: list[ModelRevision] = []
        """The versions that models went through; ``revision`` counts from the head's."""
        self.entries: list[AuditEntry] = []
        self.replays: list[Replay] = []
        self.endings: list[Ending] = []
        self._announced: list[tuple[Claimed, Event]] = []
        self._change_count = 0

    def decide(self, tasks: Iterable[Claimed], commands: Mapping[str, Command]) -> None:
        """``commands`` by task id; a cancelled task needs none."""
        for task in tasks:
            if task.is_cancelled:
                self.cancel(task)
                continue
            try:
                decision = self._decision(task, commands[task.task_id])
            except Refusal as refusal:
                self.fail(task, refusal.problem())
            else:
                self._succeed(task, decision)

    def fail(self, task: Claimed, problem: Problem) -> None:
        """Ends a task with its problem, and has the audit log say so."""
        refused = Change(
            action=REFUSED, object_type=task.object_type, object_id=task.object_id, before=None, after=None
        )
        self._log(task, refused, problem)
        self._end(task, "failed", problem=problem)

    def succeed(self, task: Claimed, decision: Decision) -> None:
        """Ends a task whose meaning was found elsewhere."""
        self._succeed(task, decision)

    def cancel(self, task: Claimed) -> None:
        """Ends a task without (further) effect, and has the audit log say who wanted it so."""
        cancelled = Change(
            action=CANCELLED, object_type=task.object_type, object_id=task.object_id, before=None, after=None
        )
        self._log(_as_called_off(task), cancelled, None)
        self._end(task, "cancelled")

    @property
    def change_count(self) -> int:
        return self._change_count

    @property
    def models_added(self) -> int:
        """By how many the stored models become more, or, negative, less."""
        of_models = [ref for ref in self._changed if ref.object_type == models.OBJECT_TYPE]
        before = sum(self._before[ref] is not None for ref in of_models)
        return sum(self._objects[ref] is not None for ref in of_models) - before

    @property
    def events(self) -> list[Event]:
        return [event for _, event in self._announced]

    def changed_of(self, object_type: str) -> dict[str, tuple[Any, int]]:
        """Objects of one type that changed: id -> last state and the order of its last change."""
        return {
            ref.object_id: (self._objects[ref], order)
            for ref, order in self._changed.items()
            if ref.object_type == object_type
        }

    def before(self, ref: ObjectRef) -> Any:
        return self._before[ref]

    def announce(self, task: Claimed, event: Event) -> None:
        self._announced.append((task, event))

    def routed(self, endpoints: Sequence[Endpoint]) -> Outgoing:
        """What goes into the outbox, with these endpoints beside the operator's own destinations."""
        outgoing = Outgoing([], [])
        for task, event in self._announced:
            callback_id = None if task.webhook_url is None else self._callback_id(task, task.webhook_url)
            outgoing.add(event, targets(event, self._routes, endpoints, callback_id), self.now, task.task_id)
        return outgoing

    def _callback_id(self, task: Claimed, sealed_url: str) -> str:
        """One for each user and host: a host that is down holds up nobody else's callbacks, nor this user's others."""
        try:
            url = urlsplit(open_text(self._keyring, Binding("task", task.task_id), sealed_url, "webhook_url"))
            where = f"{task.submitted_by} {url.scheme}://{url.netloc.lower()}"
        except Unreadable:
            where = task.submitted_by
        return "callback:" + hashlib.sha256(self._keyring.digest(where.encode(), "destination").encode()).hexdigest()

    def _decision(self, task: Claimed, command: Command) -> Decision:
        """Raises Refusal. Rights are judged again: they may have been taken away since the task was accepted."""
        principal = self._principals.of(task.principal, self._rested_on, self.now)
        context = Context(
            # Entity tags, and telling a model from a deleted one with its id, rely on distinct times.
            now=self.now + timedelta(microseconds=self._change_count),
            principal=principal,
            task_id=task.task_id,
            installation=self._installation,
            is_secret_name=is_sensitive_name,
        )
        return decide(task.operation, command, self._objects, context)

    def _succeed(self, task: Claimed, decision: Decision) -> None:
        if decision.is_change:
            self._change_count += 1
            self._changed.update(dict.fromkeys(decision.objects, self._change_count))
            self._keep_revisions(task, decision)
            self._objects.update(decision.objects)
            self._rested_on.update(_of_access(decision.objects))
        for change in decision.changes:
            self._log(task, change, None)
        for event in decision.events:
            self.announce(task, event)
        self.replays.extend(decision.replays)
        self._end(task, "succeeded", result=_without_named_secrets(decision.result))

    def _keep_revisions(self, task: Claimed, decision: Decision) -> None:
        for ref, model in decision.objects.items():
            if ref.object_type != models.OBJECT_TYPE:
                continue
            version = self._objects[ref].version + 1 if model is None else model.version
            self._objects[models.revision_ref(ref.object_id, version)] = model
            self.revisions.append(
                ModelRevision(
                    model_id=ref.object_id,
                    revision=self._change_count,
                    version=version,
                    operation=task.operation,
                    changed_at=self.now,
                    changed_by=task.submitted_by,
                    task_id=task.task_id,
                    state=None if model is None else models.document(model),
                )
            )

    def _end(
        self, task: Claimed, status: Any, *, result: dict[str, Any] | None = None, problem: Problem | None = None
    ) -> None:
        self.endings.append(
            Ending(
                task_id=task.task_id,
                status=status,
                started_at=self.now,
                finished_at=self.now,
                result=result,
                problem=None if problem is None else msgspec.to_builtins(problem),
            )
        )
        self.announce(
            task,
            task_event(
                task_id=task.task_id,
                operation=task.operation,
                status=status,
                object_type=task.object_type,
                object_id=task.object_id,
                team_id=self._team_of(task),
                problem=problem,
            ),
        )

    def _team_of(self, task: Claimed) -> str | None:
        """That of the object, or, where there is none, the one that was asked for."""
        ref = ObjectRef(task.object_type, task.object_id)
        known = self._objects.get(ref) or self._before.get(ref)
        command = cast("dict[str, Any]", task.command if isinstance(task.command, dict) else {})
        return getattr(known, "team_id", command.get("team_id"))

    def _log(self, task: Claimed, change: Change, problem: Problem | None) -> None:
        before, after = describe(self._keyring, change)
        self.entries.append(
            AuditEntry(
                position=0,
                entry_id=new_id(),
                recorded_at=self.now,
                actor=task.submitted_by,
                actor_key=str(task.principal.get("key_id", "")),
                changed_by=_text(task.origin.get("changed_by")),
                source_address=_text(task.origin.get("source_address")),
                request_id=str(task.origin.get("request_id", "")),
                task_id=task.task_id,
                operation=task.operation,
                action=change.action,
                object_type=change.object_type,
                object_id=change.object_id,
                before=before,
                after=after,
                problem=None if problem is None else msgspec.to_builtins(problem),
            )
        )


def _as_called_off(task: Claimed) -> Claimed:
    """As if whoever called it off had submitted it; an earlier release did not note who it was."""
    by = task.cancelled_by
    if by is None:
        return task
    who = by["principal"]
    return msgspec.structs.replace(task, submitted_by=who["user_id"], principal=who, origin=by["origin"])


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _of_access(objects: State) -> Objects:
    return {ref: state for ref, state in objects.items() if ref.object_type in ACCESS_TYPES}


def _without_named_secrets(document: dict[str, Any]) -> dict[str, Any]:
    """A result is kept longer than its command: what is named like a secret is not kept at all, not even sealed."""
    if "litellm_params" not in document:
        return document
    return {**document, "litellm_params": without_secrets(document["litellm_params"])}
