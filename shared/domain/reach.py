"""Nobody makes a key that can do more than the one in use: refused when accepting, and again when applying."""

from typing import Final

from shared.domain.decision import Document
from shared.domain.principals import TRUST_FLAG
from shared.domain.problems import BeyondOwnRights, NotPermitted
from shared.domain.rights import Ownership, Principal, is_allowed

_EVERY_MODEL: Final = "all-proxy-models"
_NO_MODEL: Final = "no-default-models"


def check_reach(principal: Principal, allowed_routes: tuple[str, ...], models: tuple[str, ...]) -> None:
    """Neither list, in which empty means all, may be wider than that of the key in use. Raises BeyondOwnRights."""
    if not _covers(principal.allowed_routes, allowed_routes):
        raise BeyondOwnRights("allowed_routes")
    granted = () if _EVERY_MODEL in principal.models else principal.models
    if not _covers(granted, tuple(name for name in models if name != _NO_MODEL), empty_is_all=not models):
        raise BeyondOwnRights("models")


def check_team(principal: Principal, team_id: str | None) -> None:
    """A key of a team acts in that team only, on other keys of its user neither. Raises BeyondOwnRights."""
    if principal.role != "proxy_admin" and principal.team_id not in (None, team_id):
        raise BeyondOwnRights("team_id")


def check_trust(principal: Principal, before: Document, after: Document) -> None:
    """Only a proxy admin lets a key speak for others. Raises BeyondOwnRights."""
    if principal.role != "proxy_admin" and after.get(TRUST_FLAG) and not before.get(TRUST_FLAG):
        raise BeyondOwnRights(f"metadata.{TRUST_FLAG}")


def check_owner(principal: Principal, user_id: str | None) -> None:
    """A key acts with its user's rights, so only proxy admins make one for somebody else. Raises BeyondOwnRights."""
    if principal.role != "proxy_admin" and user_id not in (None, principal.user_id):
        raise BeyondOwnRights("user_id")


def check_disowning(principal: Principal, team_id: str | None) -> None:
    """A key without a user outlives whoever leaves the team. Raises BeyondOwnRights."""
    if principal.role != "proxy_admin" and team_id not in principal.admin_of:
        raise BeyondOwnRights("user_id")


def check_regeneration(principal: Principal, user_id: str | None) -> None:
    """Whoever regenerates a key holds it afterwards, and has its user's rights. Raises BeyondOwnRights."""
    check_owner(principal, user_id)


def check_unblocking(principal: Principal, ownership: Ownership) -> None:
    """An update is no way around the right to unblock. Raises NotPermitted."""
    if not is_allowed(principal, "key.unblock", ownership):
        raise NotPermitted(role=principal.role, operation="key.unblock")


def _covers(granted: tuple[str, ...], wanted: tuple[str, ...], *, empty_is_all: bool = True) -> bool:
    """Whether everything wanted is granted, by name or by a pattern that ends with ``*``."""
    if not granted:
        return True
    if not wanted:
        return not empty_is_all
    return all(any(_matches(pattern, name) for pattern in granted) for name in wanted)


def _matches(pattern: str, name: str) -> bool:
    return name == pattern or (pattern.endswith("*") and name.startswith(pattern[:-1]))
