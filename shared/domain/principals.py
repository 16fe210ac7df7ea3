"""What a virtual key stands for: from what is stored of the key, its user and its teams to a principal."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from shared.domain.decision import ObjectRef, State
from shared.domain.problems import KeyBlocked, KeyExpired, UnknownKey
from shared.domain.rights import MASTER_USER_ID, USERLESS_PREFIX, Principal, Role

ROLE_WITHOUT_USER: Role = "internal_user"
TRUST_FLAG = "allow_litellm_changed_by_header"
"""In the metadata of a key or of its team: it may say for whom it acts (contract 3.3). Only proxy admins set it."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored of one key and of whom it stands for.

    ``token`` is the one that was asked for: that of the key, or, until ``revoke_at``, the one before the last
    regeneration. ``role`` is None where no user is stored under ``user_id``.
    """

    token: str
    current_token: str
    user_id: str | None = None
    team_id: str | None = None
    role: Role | None = None
    blocked: bool = False
    is_team_blocked: bool = False
    expires: datetime | None = None
    revoke_at: datetime | None = None
    allowed_routes: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    memberships: Mapping[str, bool] = {}
    """The teams of the user, and whether the user is an admin there."""
    default_wait_s: float | None = None
    """How long the writes of this key wait if they say nothing themselves."""
    is_trusted: bool = False
    """Whether the metadata of the key, or of its team, lets it say for whom it acts."""


def principal_of(standing: Standing | None, now: datetime) -> Principal:
    """Raises UnknownKey, KeyBlocked, KeyExpired."""
    if standing is None or _is_replaced(standing, now):
        raise UnknownKey
    if standing.blocked:
        raise KeyBlocked("Key")
    if standing.is_team_blocked:
        raise KeyBlocked("Team")
    if standing.expires is not None and standing.expires <= now:
        raise KeyExpired
    is_user = standing.user_id not in (None, MASTER_USER_ID)
    teams: Mapping[str, bool] = standing.memberships if is_user else {}
    if standing.team_id is not None:
        teams = {team_id: is_admin for team_id, is_admin in teams.items() if team_id == standing.team_id}
    return Principal(
        user_id=standing.user_id if standing.user_id and is_user else USERLESS_PREFIX + standing.current_token,
        role=standing.role if standing.role and is_user else ROLE_WITHOUT_USER,
        key_id=standing.current_token,
        team_id=standing.team_id,
        admin_of=frozenset(team_id for team_id, is_admin in teams.items() if is_admin),
        member_of=frozenset(teams),
        allowed_routes=standing.allowed_routes,
        models=standing.models,
    )


def _is_replaced(standing: Standing, now: datetime) -> bool:
    """A token from before the last regeneration, whose time is over."""
    return standing.token != standing.current_token and (standing.revoke_at is None or standing.revoke_at <= now)


TYPES = frozenset(("key", "user", "team"))
"""The objects on which a principal rests."""


def amended(standing: Standing | None, token: str, state: State) -> Standing | None:
    """What became of it in a batch of changes: the objects of the batch, of these types, go before what is stored.

    A key is known there by ``user_id team_id blocked expires previous_token revoke_at allowed_routes models``, a user
    by ``role``, a team by ``blocked`` and by ``members`` with ``user_id`` and ``role``.
    """
    standing = _with_key(standing, token, state)
    if standing is None:
        return None
    if standing.user_id is not None and (user := ObjectRef("user", standing.user_id)) in state:
        standing = msgspec.structs.replace(standing, role=state[user].role if state[user] is not None else None)
    teams = {ref.object_id: team for ref, team in state.items() if ref.object_type == "team"}
    if not teams:
        return standing
    memberships = {team_id: is_admin for team_id, is_admin in standing.memberships.items() if team_id not in teams}
    for team_id, team in teams.items():
        roles = {member.role for member in team.members if member.user_id == standing.user_id} if team else set[str]()
        if roles:
            memberships[team_id] = "admin" in roles
    own = teams.get(standing.team_id) if standing.team_id else None
    return msgspec.structs.replace(
        standing,
        memberships=memberships,
        is_team_blocked=standing.is_team_blocked if own is None else bool(own.blocked),
    )


def _with_key(standing: Standing | None, token: str, state: State) -> Standing | None:
    keys = {ref.object_id: key for ref, key in state.items() if ref.object_type == "key"}
    for current, key in keys.items():
        if key is not None and token in (current, key.previous_token):
            return _of_key(standing, token, current, key)
    known = (token, token if standing is None else standing.current_token)
    return None if any(name in keys for name in known) else standing


def _of_key(standing: Standing | None, token: str, current: str, key: Any) -> Standing:
    # Of another user than the one it was loaded with nothing is known, so the key has no rights of his.
    of_user = standing if standing is not None and standing.user_id == key.user_id else None
    return Standing(
        token=token,
        current_token=current,
        user_id=key.user_id,
        team_id=key.team_id,
        role=None if of_user is None else of_user.role,
        blocked=key.blocked,
        is_team_blocked=standing is not None and standing.is_team_blocked,
        expires=key.expires,
        revoke_at=key.revoke_at,
        allowed_routes=tuple(key.allowed_routes),
        models=tuple(key.models),
        memberships={} if of_user is None else of_user.memberships,
    )
