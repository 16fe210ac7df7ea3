from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from shared.domain.decision import ObjectRef
from shared.domain.principals import Standing, amended, principal_of
from shared.domain.problems import KeyBlocked, KeyExpired, UnknownKey
from shared.domain.rights import MASTER_USER_ID

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
SOON, JUST_NOW = NOW + timedelta(seconds=1), NOW - timedelta(seconds=1)


def a_standing(token: str = "k", **fields: Any) -> Standing:
    given: dict[str, Any] = {"token": token, "current_token": "k", "user_id": "ann", "role": "internal_user"}
    return Standing(**(given | fields))


def a_key(**fields: Any) -> SimpleNamespace:
    given = {"user_id": "ann", "team_id": None, "blocked": False, "expires": None, "allowed_routes": [], "models": []}
    return SimpleNamespace(**(given | {"previous_token": None, "revoke_at": None} | fields))


def a_team(*members: tuple[str, str], blocked: bool = False) -> SimpleNamespace:
    entries = [SimpleNamespace(user_id=user_id, role=role) for user_id, role in members]
    return SimpleNamespace(members=entries, blocked=blocked)


def test_a_key_stands_for_its_user_in_all_his_teams() -> None:
    principal = principal_of(a_standing(memberships={"led": True, "joined": False}), NOW)
    assert (principal.user_id, principal.role, principal.key_id) == ("ann", "internal_user", "k")
    assert (principal.admin_of, principal.member_of) == ({"led"}, {"led", "joined"})


def test_a_key_of_a_team_acts_in_that_team_only() -> None:
    principal = principal_of(a_standing(team_id="joined", memberships={"led": True, "joined": False}), NOW)
    assert (principal.team_id, principal.admin_of, principal.member_of) == ("joined", frozenset(), {"joined"})


@pytest.mark.parametrize("user_id", [None, MASTER_USER_ID])
def test_a_key_without_a_user_is_nobody_and_never_the_master(user_id: str | None) -> None:
    standing = a_standing(user_id=user_id, role="proxy_admin", team_id="t", memberships={"t": True})
    principal = principal_of(standing, NOW)
    assert (principal.user_id, principal.role, principal.is_user) == ("key:k", "internal_user", False)
    assert (principal.team_id, principal.admin_of) == ("t", frozenset())


def test_a_user_that_is_not_stored_has_the_smallest_role() -> None:
    assert principal_of(a_standing(role=None), NOW).role == "internal_user"


@pytest.mark.parametrize(
    ("standing", "refusal"),
    [
        (None, UnknownKey),
        (a_standing(blocked=True), KeyBlocked),
        (a_standing(team_id="t", is_team_blocked=True), KeyBlocked),
        (a_standing(expires=NOW), KeyExpired),
        (a_standing("before"), UnknownKey),
        (a_standing("before", revoke_at=NOW), UnknownKey),
    ],
)
def test_a_key_that_holds_no_more_is_refused(standing: Standing | None, refusal: type[Exception]) -> None:
    with pytest.raises(refusal):
        principal_of(standing, NOW)


def test_the_key_before_a_regeneration_holds_until_its_time_is_over() -> None:
    assert principal_of(a_standing("before", revoke_at=SOON), NOW).key_id == "k"


TEAM, USER, KEY = ObjectRef("team", "t"), ObjectRef("user", "ann"), ObjectRef("key", "k")


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({}, {}),
        ({TEAM: a_team(("bob", "admin"))}, {"memberships": {"untouched": False}}),
        ({TEAM: None}, {"memberships": {"untouched": False}}),
        ({TEAM: a_team(("ann", "user"))}, {"memberships": {"t": False, "untouched": False}}),
        ({USER: SimpleNamespace(role="proxy_admin")}, {"role": "proxy_admin"}),
        ({USER: None}, {"role": None}),
        ({KEY: a_key(blocked=True)}, {"blocked": True}),
        ({KEY: a_key(user_id="bob")}, {"user_id": "bob", "role": None, "memberships": {}}),
    ],
)
def test_within_a_batch_rights_follow_its_changes(state: dict[ObjectRef, Any], expected: dict[str, Any]) -> None:
    standing = a_standing(memberships={"t": True, "untouched": False})
    assert amended(standing, "k", state) == msgspec.structs.replace(standing, **expected)


def test_within_a_batch_a_key_can_go() -> None:
    assert amended(a_standing(), "k", {KEY: None}) is None


def test_within_a_batch_the_team_of_a_key_can_be_blocked() -> None:
    standing = amended(a_standing(team_id="t"), "k", {ObjectRef("team", "t"): a_team(blocked=True)})
    with pytest.raises(KeyBlocked):
        principal_of(standing, NOW)


def test_within_a_batch_a_regenerated_key_is_known_by_both_tokens() -> None:
    state = {ObjectRef("key", "k"): None, ObjectRef("key", "new"): a_key(previous_token="k", revoke_at=SOON)}
    for token in ("k", "new"):
        assert principal_of(amended(a_standing(), token, state), NOW).key_id == "new"
    at_once = {ObjectRef("key", "k"): None, ObjectRef("key", "new"): a_key(previous_token="k", revoke_at=JUST_NOW)}
    with pytest.raises(UnknownKey):
        principal_of(amended(a_standing(), "k", at_once), NOW)
