"""Whether a submission becomes a task of its own, is one that was accepted before, or is refused."""

from collections.abc import Callable

import msgspec

from shared.domain.decision import ObjectRef
from shared.domain.problems import IdempotencyKeyReused
from shared.domain.tasks import ABSENT, Line, Lines, OpenTask

Key = tuple[str, str]
"""A principal's user id and its idempotency key."""


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """What accepting has to know of a request. ``is_same`` compares a stored digest with this request's body."""

    task: OpenTask
    ref: ObjectRef
    needs: tuple[ObjectRef, ...] = ()
    idempotency_key: str | None
    check: Callable[[Lines], None]
    is_same: Callable[[str], bool]

    @property
    def key(self) -> Key | None:
        return None if self.idempotency_key is None else (self.task.submitted_by, self.idempotency_key)


class Known:
    """What was accepted before, as far as the submissions of one group commit are concerned."""

    def __init__(self, keys: dict[Key, tuple[str, str]], lines: dict[ObjectRef, Line]) -> None:
        self._keys = keys
        self._lines = lines

    def accept(self, submission: Submission) -> str:
        """The id of the task that stands for this submission: its own, or that of the task it repeats.

        Raises:
            Refusal: the idempotency key names another request, or what is asked for is already known to be impossible.
        """
        earlier = self._repeated(submission)
        if earlier is not None:
            return earlier
        lines = {ref: self._lines.get(ref, ABSENT) for ref in (submission.ref, *submission.needs)}
        submission.check(lines)
        self._remember(submission, lines[submission.ref])
        return submission.task.task_id

    def _repeated(self, submission: Submission) -> str | None:
        if submission.key is not None and submission.key in self._keys:
            task_id, digest = self._keys[submission.key]
            if not submission.is_same(digest):
                raise IdempotencyKeyReused
            return task_id
        line = self._lines.get(submission.ref, ABSENT)
        last = line.waiting[-1] if line.waiting else line.created_by
        if last is None or not last.operation.endswith(".create") or last.submitted_by != submission.task.submitted_by:
            return None
        return last.task_id if submission.is_same(last.digest) else None

    def _remember(self, submission: Submission, line: Line) -> None:
        self._lines[submission.ref] = msgspec.structs.replace(line, waiting=(*line.waiting, submission.task))
        if submission.key is not None:
            self._keys[submission.key] = (submission.task.task_id, submission.task.digest)
