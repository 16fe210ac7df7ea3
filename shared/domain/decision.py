"""The values that all decisions share."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from shared.domain.rights import Principal

Document = dict[str, Any]


class ObjectRef(msgspec.Struct, frozen=True, order=True):
    """Names one object. Sorted, it gives the order in which locks are taken."""

    object_type: str
    object_id: str

    @property
    def line(self) -> str:
        """The name of the object's line of tasks."""
        return f"{self.object_type}/{self.object_id}"


def version_tag(fields: Mapping[str, Any]) -> str:
    """A strong entity tag (RFC 9110): changes with every change, also when an object is deleted and made anew."""
    updated_at = msgspec.convert(fields["updated_at"], datetime)
    return f'"{fields["version"]}-{int(updated_at.timestamp() * 1_000_000):x}"'


State = Mapping[ObjectRef, Any]
"""The objects that a command touches, ``None`` where there is none."""


class Installation(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator decided: which models are of the configuration file, whether others, and teams', are stored."""

    config_model_ids: frozenset[str] = frozenset()
    stores_models: bool = True
    has_team_models: bool = True


def _is_any_name(_name: str) -> bool:
    return True


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """Who asked, when it is applied, and where. No two changes of one batch have the same ``now``."""

    now: datetime
    principal: Principal
    task_id: str
    installation: Installation = Installation()
    is_secret_name: Callable[[str], bool] = _is_any_name
    """Whether a secret stands under such a name: the values are sealed, so names are all there is to go by."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What the audit log says happened to one object. Documents carry sealed values; the audit room masks them."""

    action: str
    object_type: str
    object_id: str
    before: Document | None
    after: Document | None


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What others are told. ``data`` is thin and holds no secret, sealed or not.

    ``only_to`` names the one webhook endpoint that is told, whatever it listens to.
    """

    type: str
    object_type: str
    object_id: str
    data: Document
    only_to: str | None = None


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """Deliveries of one endpoint that are to be sent again: one of them, or those that failed since a time."""

    webhook_id: str
    delivery_id: str | None = None
    since: datetime | None = None


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """The meaning of one command.

    ``objects`` holds the new state of each object that changes (``None`` deletes it), ``result`` is what the task
    answers with: a document of the object with sealed values.
    """

    objects: State
    changes: tuple[Change, ...]
    events: tuple[Event, ...]
    result: Document
    replays: tuple[Replay, ...] = ()

    @property
    def is_change(self) -> bool:
        """False for what was so already: nothing is written and nobody is told."""
        return bool(self.objects)


def together(decisions: Iterable[Decision], result: Document) -> Decision:
    """Several meanings of one command, each decided on the state that the one before left."""
    decisions = list(decisions)
    return Decision(
        objects={ref: state for one in decisions for ref, state in one.objects.items()},
        changes=tuple(change for one in decisions for change in one.changes),
        events=tuple(event for one in decisions for event in one.events),
        result=result,
    )
