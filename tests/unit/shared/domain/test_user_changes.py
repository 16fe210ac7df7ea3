"""What changes to a user mean."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.domain import user_changes
from shared.domain.decision import Context, ObjectRef, version_tag
from shared.domain.keys import CreateKey, Key, alias_ref, team_ref
from shared.domain.keys import ref as key_ref
from shared.domain.members import Member
from shared.domain.problems import (
    KeyAliasTaken,
    PreconditionFailed,
    UnknownTeam,
    UserEmailTaken,
    UserExists,
    UserNotFound,
)
from shared.domain.rights import MASTER, Ownership
from shared.domain.tasks import ABSENT, Line
from shared.domain.teams import Team
from shared.domain.users import (
    CreateUser,
    DeleteUsers,
    UpdateUser,
    User,
    changed,
    document,
    email_ref,
    named,
    needed,
    ref,
    touched,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
EARLIER = NOW - timedelta(days=1)
BY_MASTER = Context(now=NOW, principal=MASTER, task_id="t")
STAMPS: dict[str, Any] = {
    "version": 3,
    "created_at": EARLIER,
    "created_by": "root",
    "updated_at": EARLIER,
    "updated_by": "root",
}
FIRST_KEY = CreateKey(token="k-1", key_name="sk-...abcd", key_alias="first", user_id="ann")


def a_user(user_id: str = "ann", **fields: Any) -> User:
    return User(**{"user_id": user_id, "role": "internal_user", **STAMPS, **fields})


def a_team(team_id: str, *user_ids: str) -> Team:
    return Team(team_id=team_id, members=tuple(Member(user_id=user_id) for user_id in user_ids), **STAMPS)


def a_key(token: str, **fields: Any) -> Key:
    return Key(token=token, key_name="sk-...abcd", **STAMPS, **fields)


def a_state(*users: User, **more: Any) -> dict[ObjectRef, Any]:
    """These users, and room for Ann, her address, her first key and two teams."""
    addresses = [user.user_email.lower() for user in users if user.user_email]
    state: dict[ObjectRef, Any] = {ref("ann"): None, key_ref("k-1"): None, alias_ref("first"): frozenset()}
    state |= {team_ref("t-1"): a_team("t-1"), team_ref("t-2"): a_team("t-2", "ann")}
    state[email_ref("Ann@example.com")] = frozenset()
    state |= {email_ref(address): frozenset(user.user_id for user in users) for address in addresses}
    return state | {ref(user.user_id): user for user in users}


def test_user_key_and_memberships_are_made_together() -> None:
    command = CreateUser(
        user_id="ann",
        role="internal_user",
        user_email="Ann@example.com",
        settings={"max_budget": 5, "rpm": None},
        team_ids=("t-1", "t-2"),
        key=FIRST_KEY,
    )
    decision = user_changes.create(a_state(), command, BY_MASTER)
    user = decision.objects[ref("ann")]
    assert (user.role, user.settings, user.version) == ("internal_user", {"max_budget": 5}, 1)
    assert decision.objects[key_ref("k-1")].user_id == "ann"
    assert [member.user_id for member in decision.objects[team_ref("t-1")].members] == ["ann"]
    assert team_ref("t-2") not in decision.objects
    assert decision.objects[email_ref("ann@example.com")] == {"ann"}
    assert [change.object_type for change in decision.changes] == ["user", "key", "team"]
    assert [event.type for event in decision.events] == ["user.created", "key.created", "team.member_added"]
    assert (decision.result["teams"], decision.result["key"]["token"]) == (["t-1", "t-2"], "k-1")


@pytest.mark.parametrize(
    ("state", "refusal"),
    [
        (a_state(a_user()), UserExists),
        (a_state() | {email_ref("ann@example.com"): frozenset(("bob",))}, UserEmailTaken),
        (a_state() | {team_ref("t-1"): None}, UnknownTeam),
        (a_state() | {alias_ref("first"): frozenset(("k-9",))}, KeyAliasTaken),
    ],
)
def test_if_one_of_them_cannot_be_made_none_is(state: dict[ObjectRef, Any], refusal: type[Exception]) -> None:
    command = CreateUser(
        user_id="ann", role="internal_user", user_email="ann@EXAMPLE.com", team_ids=("t-1",), key=FIRST_KEY
    )
    with pytest.raises(refusal):
        user_changes.create(state, command, BY_MASTER)


def test_what_is_known_to_be_impossible_is_refused_when_accepting() -> None:
    command = CreateUser(user_id="ann", role="internal_user", team_ids=("t-1",))
    with pytest.raises(UserExists):
        user_changes.check_create(command, {ref("ann"): Line(is_stored=True), team_ref("t-1"): ABSENT}, BY_MASTER)
    with pytest.raises(UnknownTeam):
        user_changes.check_create(command, {ref("ann"): ABSENT, team_ref("t-1"): ABSENT}, BY_MASTER)
    with pytest.raises(UserNotFound):
        user_changes.check_update(UpdateUser(user_id="ann"), {ref("ann"): ABSENT}, BY_MASTER)
    with pytest.raises(PreconditionFailed):
        user_changes.check_update(
            UpdateUser(user_id="ann", if_match='"1-0"'), {ref("ann"): Line(is_stored=True, etag='"2-0"')}, BY_MASTER
        )
    with pytest.raises(UserNotFound):
        user_changes.check_delete(
            DeleteUsers(user_ids=("bob", "ann")), {ref("bob"): Line(is_stored=True), ref("ann"): ABSENT}, BY_MASTER
        )


def test_an_update_changes_what_it_names() -> None:
    before = a_user(user_email="ann@example.com", models=("gpt-4o",), settings={"a": 1, "b": 2})
    command = UpdateUser(user_id="ann", role="proxy_admin", settings={"a": None, "c": 3})
    after = user_changes.update(a_state(before), command, BY_MASTER).objects[ref("ann")]
    assert (after.role, after.user_email, after.models) == ("proxy_admin", "ann@example.com", ("gpt-4o",))
    assert (after.settings, after.version, after.updated_by) == ({"b": 2, "c": 3}, 4, "default_user_id")


def test_an_update_that_changes_nothing_writes_nothing() -> None:
    decision = user_changes.update(a_state(a_user()), UpdateUser(user_id="ann", role="internal_user"), BY_MASTER)
    assert not decision.is_change
    assert decision.result["user_id"] == "ann"


def test_an_address_of_another_user_is_not_taken_over() -> None:
    state = a_state(a_user()) | {email_ref("bob@example.com"): frozenset(("bob",))}
    with pytest.raises(UserEmailTaken):
        user_changes.update(state, UpdateUser(user_id="ann", user_email="Bob@example.com"), BY_MASTER)


def test_an_address_can_be_given_up_or_spelled_otherwise() -> None:
    before = a_user(user_email="ann@example.com")
    gone = user_changes.update(a_state(before), UpdateUser(user_id="ann", user_email=None), BY_MASTER)
    assert gone.objects[email_ref("ann@example.com")] == frozenset()
    spelled = user_changes.update(a_state(before), UpdateUser(user_id="ann", user_email="Ann@example.com"), BY_MASTER)
    assert spelled.objects[email_ref("ann@example.com")] == {"ann"}


def test_a_change_can_say_which_version_it_means() -> None:
    before = a_user()
    for tag in ("*", version_tag(document(before))):
        command = UpdateUser(user_id="ann", user_alias="Ann", if_match=tag)
        assert user_changes.update(a_state(before), command, BY_MASTER).is_change
    with pytest.raises(PreconditionFailed):
        user_changes.update(a_state(before), UpdateUser(user_id="ann", if_match='"1-0"'), BY_MASTER)


def test_keys_and_memberships_go_with_their_users() -> None:
    state = a_state(a_user(), a_user("bob")) | {
        team_ref("t-1"): a_team("t-1", "ann", "bob", "cleo"),
        team_ref("t-3"): a_team("t-3", "cleo"),
        key_ref("k-1"): a_key("k-1", user_id="ann", key_alias="first"),
        key_ref("k-2"): a_key("k-2", user_id="bob", team_id="t-1"),
        key_ref("k-3"): a_key("k-3", user_id="cleo"),
        key_ref("k-4"): a_key("k-4", team_id="t-1"),
    }
    decision = user_changes.delete(state, DeleteUsers(user_ids=("ann", "bob")), BY_MASTER)
    gone = {at for at, value in decision.objects.items() if value is None}
    assert gone == {ref("ann"), ref("bob"), key_ref("k-1"), key_ref("k-2")}
    team = decision.objects[team_ref("t-1")]
    assert ([member.user_id for member in team.members], team.version) == (["cleo"], 5)
    assert decision.objects[alias_ref("first")] == frozenset()
    assert set(decision.objects) - gone == {team_ref("t-1"), team_ref("t-2"), alias_ref("first")}
    assert decision.result == {
        "deleted_users": ["ann", "bob"],
        "deleted_keys": ["k-1", "k-2"],
        "left_teams": ["t-1", "t-2"],
    }


def test_of_several_users_all_go_or_none() -> None:
    with pytest.raises(UserNotFound):
        user_changes.delete(a_state(a_user("bob")), DeleteUsers(user_ids=("bob", "ann")), BY_MASTER)


def test_what_a_command_says_of_itself() -> None:
    command = CreateUser(user_id="ann", role="internal_user", user_email="A@b.c", team_ids=("t-1",), key=FIRST_KEY)
    assert changed(command) == (ref("ann"), team_ref("t-1"), key_ref("k-1"))
    assert touched(command) == (*changed(command), email_ref("a@b.c"), alias_ref("first"))
    assert needed(command) == (team_ref("t-1"),)
    assert named(command) == (Ownership(user_id="ann"),)
    assert needed(DeleteUsers(user_ids=("ann", "bob"))) == (ref("bob"),)
