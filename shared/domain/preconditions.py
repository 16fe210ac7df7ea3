"""``If-Match`` (RFC 9110, 13.1.1): a change that is meant for one version of its object, and for no other."""

from datetime import datetime
from typing import Protocol

from shared.domain.decision import version_tag
from shared.domain.problems import PreconditionFailed
from shared.domain.tasks import Line


class Expecting(Protocol):
    """A command that may say of which version it takes its object to be: by an entity tag, or ``*`` for any."""

    @property
    def if_match(self) -> str | None: ...


class Versioned(Protocol):
    @property
    def version(self) -> int: ...

    @property
    def updated_at(self) -> datetime: ...


def check_expected(command: Expecting, line: Line) -> None:
    """When accepting. What waits will give the object a tag that nobody knows yet: then it is for the decision.

    Raises:
        PreconditionFailed: the object has another tag.
    """
    if not line.waiting and command.if_match not in (None, "*", line.etag):
        raise PreconditionFailed


def require_expected(command: Expecting, before: Versioned) -> None:
    """When deciding. Raises PreconditionFailed."""
    tag = version_tag({"version": before.version, "updated_at": before.updated_at})
    if command.if_match not in (None, "*", tag):
        raise PreconditionFailed
