"""The task: one accepted command from queued to its end. docs/concepts.md draws these transitions."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from shared.domain.decision import ObjectRef
from shared.domain.rights import OPEN as OF_NOBODY
from shared.domain.rights import Ownership

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]

OPEN: tuple[Status, ...] = ("queued", "running")
ENDED: tuple[Status, ...] = ("succeeded", "failed", "cancelled")

NO_PROGRESS = "no progress on due work"
"""What readiness says of workers while tasks are due and none has ended for long."""

# Operations whose tasks are long: the drain leaves them alone, and they are carried out chunk by chunk.
# With the line of each, by which the open ones are found.
CHORES: dict[str, str] = {"encryption.rotate": "encryption/keyring"}

# A running task goes back to queued when an attempt breaks off; an end state never changes.
TRANSITIONS: dict[Status, frozenset[Status]] = {
    "queued": frozenset(("running", "succeeded", "failed", "cancelled")),
    "running": frozenset(("queued", "succeeded", "failed", "cancelled")),
    "succeeded": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}


class OpenTask(msgspec.Struct, frozen=True, kw_only=True):
    """What is known when accepting about a task that waits in an object's line, or that made it."""

    task_id: str
    operation: str
    digest: str
    submitted_by: str
    ownership: Ownership = OF_NOBODY
    """To whom the object will belong, if the task creates it."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """An object as its next task will find it: what is stored, and what waits, oldest first."""

    is_stored: bool
    etag: str | None = None
    """The entity tag of what is stored, for objects that have one."""
    created_by: OpenTask | None = None
    """The task that made the object, if nothing has changed it since."""
    ownership: Ownership = OF_NOBODY
    """To whom what is stored belongs."""
    waiting: tuple[OpenTask, ...] = ()

    def will_exist(self) -> bool:
        """Whether the object exists once everything that waits has been applied (read your writes)."""
        for task in reversed(self.waiting):
            verb = task.operation.rpartition(".")[2]
            if verb in ("create", "delete"):
                return verb == "create"
        return self.is_stored

    def will_belong(self) -> Ownership:
        """To whom the object belongs once everything that waits has been applied, as far as it is known by now."""
        created = (task.ownership for task in reversed(self.waiting) if task.operation.endswith(".create"))
        return next(created, self.ownership)


ABSENT = Line(is_stored=False)

Lines = Mapping[ObjectRef, Line]
"""The lines of the object that a command changes and of those that it needs."""
