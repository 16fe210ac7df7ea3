"""What a command may do to the objects it names, and which of them it may not even see. One judgement for both sides.

What a principal may not read is answered exactly like what does not exist: the check, or the decision, is handed a view
in which the object is absent, and so refuses in its own words. What may be read but not changed is refused as such.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from shared.domain.decision import ObjectRef
from shared.domain.problems import NotPermitted
from shared.domain.rights import EVERY_RELATION, OPEN, RIGHTS, Ownership, Principal, authorise, is_allowed

T = TypeVar("T")


def _of_nobody(_document: Any) -> Ownership:
    return OPEN


# object type -> to whom such an object belongs; objects of other types are looked up, and never judged.
OWNERSHIP: dict[str, Callable[[Any], Ownership]] = {
    "model": lambda model: Ownership(team_id=model.team_id),
    "credential": _of_nobody,
    "team": lambda team: Ownership(team_id=team.team_id),
    "user": lambda user: Ownership(user_id=user.user_id),
    "webhook": lambda webhook: Ownership(team_id=webhook.team_id),
    "encryption": _of_nobody,
    "key": lambda key: Ownership(team_id=key.team_id, user_id=key.user_id),
}

# A user id says nothing of a team; whom a team admin may name is judged by the team's members.
_NEVER_HIDDEN = "user"
_NOBODY = ""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a command is about.

    ``changed`` are the objects that it changes, ``needed`` those that must be there; both with their owners, as far as
    they exist and, for what it creates, without. ``named`` are the owners that the command itself names.
    """

    changed: Mapping[ObjectRef, Ownership]
    needed: Mapping[ObjectRef, Ownership]
    named: Iterable[Ownership]


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """``hidden`` must look absent; if ``is_refused``, whoever looks must come to a refusal of its own."""

    hidden: frozenset[ObjectRef] = frozenset()
    is_refused: bool = False


def is_unlimited(principal: Principal, operation: str) -> bool:
    """Whether there is nothing to judge: such principals see and may change all."""
    return RIGHTS[operation].get(principal.role) == EVERY_RELATION


def judge(principal: Principal, operation: str, asked: Asked) -> Judgement:
    """Raises NotPermitted for what the principal may see and not do, and for what the role may never do."""
    authorise(principal, operation)
    refused = {ref: owner for ref, owner in asked.changed.items() if not is_allowed(principal, operation, owner)}
    refused |= {_named(owner): owner for owner in asked.named if not is_allowed(principal, operation, owner)}
    if any(_is_readable(principal, ref, owner) for ref, owner in refused.items()):
        raise NotPermitted(role=principal.role, operation=operation)
    unseen = {
        ref
        for ref, owner in asked.needed.items()
        if ref.object_type != _NEVER_HIDDEN and not _is_readable(principal, ref, owner)
    }
    return Judgement(hidden=frozenset(unseen.union(refused)), is_refused=bool(refused))


def seen(judgement: Judgement, objects: Mapping[ObjectRef, T], absent: T) -> Mapping[ObjectRef, T]:
    """The view for the check or the decision."""
    if not judgement.hidden:
        return objects
    return {**objects, **{ref: absent for ref in judgement.hidden if ref in objects}}


def refuse_what_was_seen_through(principal: Principal, operation: str, judgement: Judgement) -> None:
    """For a check or a decision that went well although it should have missed what it could not see."""
    if judgement.is_refused:
        raise NotPermitted(role=principal.role, operation=operation)


def _named(owner: Ownership) -> ObjectRef:
    """The team, or the user, that a command names as an owner: an object that may itself be out of sight."""
    if owner.team_id is not None:
        return ObjectRef("team", owner.team_id)
    return ObjectRef("user", owner.user_id or _NOBODY)


def _is_readable(principal: Principal, ref: ObjectRef, owner: Ownership) -> bool:
    return ref.object_id == _NOBODY or is_allowed(principal, f"{ref.object_type}.read", owner)
