"""Who is in a team, and as what."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec

from shared.domain.problems import AlreadyMember, MemberNotFound

MemberRole = Literal["admin", "user"]


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a team's list. Only an entry with a ``user_id`` gives rights; an e-mail address is a note."""

    user_id: str | None = None
    user_email: str | None = None
    role: MemberRole = "user"
    limits: dict[str, Any] = {}
    """Budget and limits of this member in this team, by LiteLLM's names."""


def is_meant(member: Member, user_id: str | None, user_email: str | None) -> bool:
    """By user id where both have one, else by e-mail address."""
    if member.user_id is not None and user_id is not None:
        return member.user_id == user_id
    if member.user_email is None or user_email is None:
        return False
    return member.user_email.casefold() == user_email.casefold()


def added(members: Sequence[Member], new: Iterable[Member]) -> tuple[Member, ...]:
    """Those of the new ones that are not in yet, each once.

    Raises:
        AlreadyMember: all of them are in.
    """
    joining: list[Member] = []
    refused = ""
    for member in new:
        if any(is_meant(known, member.user_id, member.user_email) for known in (*members, *joining)):
            refused = refused or _who(member.user_id, member.user_email)
        else:
            joining.append(member)
    if not joining:
        raise AlreadyMember(refused)
    return tuple(joining)


def found(members: Sequence[Member], user_id: str | None, user_email: str | None) -> Member:
    """Raises MemberNotFound."""
    for member in members:
        if is_meant(member, user_id, user_email):
            return member
    raise MemberNotFound(_who(user_id, user_email))


def replaced(members: Sequence[Member], before: Member, after: Member | None) -> tuple[Member, ...]:
    """With another entry in this one's place, or none."""
    entries = (after if known is before else known for known in members)
    return tuple(entry for entry in entries if entry is not None)


def without_users(members: Sequence[Member], user_ids: Iterable[str]) -> tuple[Member, ...]:
    gone = frozenset(user_ids)
    return tuple(member for member in members if member.user_id not in gone)


def user_ids(members: Iterable[Member], role: MemberRole | None = None) -> list[str]:
    """The users among them, or those in this role."""
    return [member.user_id for member in members if member.user_id is not None and role in (None, member.role)]


def _who(user_id: str | None, user_email: str | None) -> str:
    return f"user_id={user_id}, user_email={user_email}"
