from typing import Any, get_args

import pytest

from shared.domain.problems import NotPermitted
from shared.domain.rights import (
    MASTER,
    OPEN,
    RIGHTS,
    Ownership,
    Principal,
    Relation,
    Role,
    authorise,
    is_allowed,
    may_ever,
    relations,
    scope,
)

ROLES: tuple[Role, ...] = get_args(Role)
RELATIONS: tuple[Relation, ...] = get_args(Relation)


def a_principal(role: Role = "internal_user", **fields: Any) -> Principal:
    given: dict[str, Any] = {"admin_of": frozenset(("led",)), "member_of": frozenset(("led", "joined"))}
    return Principal(user_id="u-1", role=role, key_id="k-1", **(given | fields))


OBJECTS: dict[str, Ownership] = {
    "own": Ownership(user_id="u-1"),
    "led": Ownership(team_id="led"),
    "joined": Ownership(team_id="joined"),
    "own within joined": Ownership(team_id="joined", user_id="u-1"),
    "own within left": Ownership(team_id="left", user_id="u-1"),
    "open": OPEN,
    "another user's": Ownership(user_id="u-2"),
    "another team's": Ownership(team_id="other"),
}
OF_TEAMS_LED = {"led"}
OF_OWN_TEAMS = {"led", "joined", "own within joined"}
OWN_OR_LED = {"own", "own within joined", "led"}

OF_INTERNAL_USERS: dict[str, set[str]] = {
    "model.create": OF_TEAMS_LED,
    "model.update": OF_TEAMS_LED,
    "model.delete": OF_TEAMS_LED,
    "model.read": {*OF_OWN_TEAMS, "open"},
    "team.update": OF_TEAMS_LED,
    "team.member_add": OF_TEAMS_LED,
    "team.member_update": OF_TEAMS_LED,
    "team.member_delete": OF_TEAMS_LED,
    "team.model_add": OF_TEAMS_LED,
    "team.model_delete": OF_TEAMS_LED,
    "team.read": OF_OWN_TEAMS,
    "user.read": {"own"},
    "key.create": OWN_OR_LED,
    "key.update": OWN_OR_LED,
    "key.delete": OWN_OR_LED,
    "key.regenerate": OWN_OR_LED,
    "key.block": OF_TEAMS_LED,
    "key.unblock": OF_TEAMS_LED,
    "key.read": OWN_OR_LED,
    "task.read": {"own"},
    "task.cancel": {"own"},
    "task.retry": {"own"},
    "webhook_secret.read": {"own"},
    **{
        f"webhook.{verb}": OF_TEAMS_LED
        for verb in ("create", "read", "update", "delete", "rotate_secret", "enable", "disable", "test", "replay")
    },
    "delivery.read": OF_TEAMS_LED,
}
"""Which objects they may do it to; with nothing else, and to nothing else."""
WITHIN_A_TEAM = {"own within joined"}


@pytest.mark.parametrize("operation", RIGHTS)
def test_internal_users_may_this_and_nothing_else(operation: str) -> None:
    allowed = {name for name, owner in OBJECTS.items() if is_allowed(a_principal(), operation, owner)}
    expected = OF_INTERNAL_USERS.get(operation, set[str]())
    # An object of a user within a team is a thing for keys only.
    assert allowed - WITHIN_A_TEAM == expected - WITHIN_A_TEAM
    assert allowed >= expected


@pytest.mark.parametrize("operation", RIGHTS)
def test_admins_may_everything_and_viewers_read_it(operation: str) -> None:
    objects = {"own"} if operation == "webhook_secret.read" else set(OBJECTS)
    for role, may in (("proxy_admin", True), ("proxy_admin_viewer", operation.endswith(".read"))):
        allowed = {name for name, owner in OBJECTS.items() if is_allowed(a_principal(role), operation, owner)}
        viewer_has_no_secret = role == "proxy_admin_viewer" and operation in ("webhook_secret.read", "delivery.read")
        assert allowed - WITHIN_A_TEAM == ((objects if may and not viewer_has_no_secret else set()) - WITHIN_A_TEAM)


@pytest.mark.parametrize("role", [role for role in ROLES if role.endswith("viewer")])
def test_who_may_only_look_changes_nothing(role: Role) -> None:
    assert not [operation for operation in RIGHTS if not operation.endswith(".read") and RIGHTS[operation].get(role)]


@pytest.mark.parametrize(
    ("owner", "expected"),
    [
        ("own", {"own"}),
        ("led", {"team_admin"}),
        ("joined", {"team_member"}),
        ("own within joined", {"team_member", "own"}),
        ("own within left", {"other"}),
        ("open", {"open"}),
        ("another user's", {"other"}),
        ("another team's", {"other"}),
    ],
)
def test_what_an_object_is_to_a_principal(owner: str, expected: set[Relation]) -> None:
    assert relations(a_principal(), OBJECTS[owner]) == expected


def test_the_key_of_a_team_is_a_member_and_never_an_admin() -> None:
    key = Principal(user_id="key:abc", role="internal_user", key_id="abc", team_id="t")
    assert relations(key, Ownership(team_id="t")) == {"team_member"}
    assert not key.is_user


@pytest.mark.parametrize("operation", [name for name in RIGHTS if "internal_user" in RIGHTS[name]])
def test_a_list_shows_what_may_be_read_one_by_one(operation: str) -> None:
    principal = a_principal()
    shown = scope(principal, operation)
    assert not shown.is_all
    for owner in OBJECTS.values():
        in_list = (
            owner.team_id in shown.team_ids
            or (owner == OPEN and shown.is_open)
            or (
                owner.user_id is not None
                and owner.user_id == shown.user_id
                and (owner.team_id is None or owner.team_id in shown.within)
            )
        )
        assert in_list == is_allowed(principal, operation, owner), owner


def test_admins_are_shown_all() -> None:
    assert scope(MASTER, "model.read").is_all
    assert scope(a_principal("proxy_admin_viewer"), "key.read").is_all
    with pytest.raises(NotPermitted):
        scope(a_principal(), "audit.read")


def test_a_refusal_names_role_and_operation() -> None:
    with pytest.raises(NotPermitted, match=r"permission for model\.create\. Your role=internal_user\."):
        authorise(a_principal(), "model.create", Ownership(team_id="joined"))


def test_all_owners_must_allow_it() -> None:
    authorise(a_principal(), "model.update", Ownership(team_id="led"), Ownership(team_id="led"))
    with pytest.raises(NotPermitted):
        authorise(a_principal(), "model.update", Ownership(team_id="led"), Ownership(team_id="joined"))


def test_without_an_object_it_is_asked_whether_there_could_be_one() -> None:
    assert may_ever(a_principal(), "model.create")
    assert not may_ever(a_principal(), "team.create")
    authorise(a_principal(admin_of=frozenset(), member_of=frozenset()), "model.create")


def test_the_master_key_may_do_everything_of_its_own() -> None:
    for operation in RIGHTS:
        authorise(MASTER, operation, Ownership(user_id=MASTER.user_id))


def test_an_operation_without_a_row_is_a_bug_and_no_permission() -> None:
    with pytest.raises(KeyError):
        authorise(MASTER, "model.unheard_of")


def test_a_task_row_keeps_no_rights() -> None:
    assert a_principal(team_id="led").identity() == Principal(user_id="u-1", role="internal_user", key_id="k-1")
