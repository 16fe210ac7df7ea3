"""Nobody makes a key that can do more than the one in use."""

import pytest

from shared.domain.principals import TRUST_FLAG
from shared.domain.problems import BeyondOwnRights, NotPermitted
from shared.domain.reach import (
    check_disowning,
    check_owner,
    check_reach,
    check_regeneration,
    check_team,
    check_trust,
    check_unblocking,
)
from shared.domain.rights import MASTER, Ownership, Principal

ANN = Principal(
    user_id="ann", role="internal_user", key_id="k", admin_of=frozenset(("t-1",)), member_of=frozenset(("t-1",))
)


def using(routes: tuple[str, ...] = (), models: tuple[str, ...] = ()) -> Principal:
    """Ann with a key that is limited like this."""
    return Principal(user_id="ann", role="internal_user", key_id="k", allowed_routes=routes, models=models)


@pytest.mark.parametrize(
    ("granted", "wanted"),
    [
        ((), ()),
        ((), ("/key/generate",)),
        (("/key/generate", "/key/info"), ("/key/info",)),
        (("/key/*",), ("/key/info", "/key/generate")),
        (("/key/*",), ("/key/*",)),
        (("info_routes",), ("info_routes",)),
    ],
)
def test_as_many_routes_or_fewer_can_be_given(granted: tuple[str, ...], wanted: tuple[str, ...]) -> None:
    check_reach(using(routes=granted), wanted, ())


@pytest.mark.parametrize(
    ("granted", "wanted"),
    [
        (("/key/info",), ()),
        (("/key/info",), ("/key/info", "/key/generate")),
        (("/key/info",), ("/key/*",)),
        (("/key/*",), ("/*",)),
        (("info_routes",), ("management_routes",)),
    ],
)
def test_more_routes_cannot(granted: tuple[str, ...], wanted: tuple[str, ...]) -> None:
    with pytest.raises(BeyondOwnRights, match="allowed_routes"):
        check_reach(using(routes=granted), wanted, ())


@pytest.mark.parametrize(
    ("granted", "wanted"),
    [((), ("gpt-4o",)), (("gpt-4o",), ("gpt-4o",)), (("gpt-4o",), ("no-default-models",)), (("all-proxy-models",), ())],
)
def test_as_many_models_or_fewer_can_be_given(granted: tuple[str, ...], wanted: tuple[str, ...]) -> None:
    check_reach(using(models=granted), (), wanted)


@pytest.mark.parametrize(
    ("granted", "wanted"),
    [(("gpt-4o",), ()), (("gpt-4o",), ("gpt-4o", "o3")), (("gpt-4o",), ("all-proxy-models",)), (("gpt-4o",), ("*",))],
)
def test_more_models_cannot(granted: tuple[str, ...], wanted: tuple[str, ...]) -> None:
    with pytest.raises(BeyondOwnRights, match="models"):
        check_reach(using(models=granted), (), wanted)


def test_a_limited_key_of_a_proxy_admin_makes_limited_keys() -> None:
    with pytest.raises(BeyondOwnRights):
        check_reach(
            Principal(user_id="root", role="proxy_admin", key_id="k", allowed_routes=("/key/generate",)), (), ()
        )


def test_a_key_of_a_team_has_no_say_beyond_that_team() -> None:
    in_team = Principal(user_id="ann", role="internal_user", key_id="k", team_id="t-1")
    check_team(in_team, "t-1")
    check_team(ANN, None)
    check_team(MASTER, "t-1")
    for team_id in (None, "t-2"):
        with pytest.raises(BeyondOwnRights):
            check_team(in_team, team_id)


def test_only_proxy_admins_make_keys_for_others() -> None:
    check_owner(MASTER, "bob")
    check_owner(ANN, "ann")
    check_owner(ANN, None)
    with pytest.raises(BeyondOwnRights):
        check_owner(ANN, "bob")


def test_only_proxy_admins_replace_keys_of_others() -> None:
    check_regeneration(MASTER, "bob")
    with pytest.raises(BeyondOwnRights):
        check_regeneration(ANN, "bob")


def test_a_key_is_given_to_its_team_by_the_admins_of_that_team() -> None:
    check_disowning(MASTER, None)
    check_disowning(ANN, "t-1")
    for team_id in ("t-2", None):
        with pytest.raises(BeyondOwnRights):
            check_disowning(ANN, team_id)


def test_only_proxy_admins_let_a_key_speak_for_others() -> None:
    check_trust(MASTER, {}, {TRUST_FLAG: True})
    check_trust(ANN, {TRUST_FLAG: True}, {TRUST_FLAG: True, "a": 1})
    check_trust(ANN, {TRUST_FLAG: True}, {})
    with pytest.raises(BeyondOwnRights):
        check_trust(ANN, {}, {TRUST_FLAG: True})


def test_nobody_unblocks_his_own_key() -> None:
    check_unblocking(ANN, Ownership(team_id="t-1", user_id="bob"))
    with pytest.raises(NotPermitted):
        check_unblocking(ANN, Ownership(user_id="ann"))
