"""What changes to a virtual key mean."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from shared.domain import key_changes
from shared.domain.decision import Context, Decision, ObjectRef, version_tag
from shared.domain.keys import (
    BlockKey,
    CreateKey,
    DeleteKeys,
    Key,
    KeyFields,
    RegenerateKey,
    UnblockKey,
    UpdateKey,
    alias_ref,
    document,
    named,
    needed,
    ref,
    team_ref,
    touched,
    user_ref,
)
from shared.domain.problems import (
    BeyondOwnRights,
    KeyAliasTaken,
    KeyExists,
    KeyNotFound,
    NotPermitted,
    PreconditionFailed,
    UnknownTeam,
)
from shared.domain.rights import MASTER, Ownership, Principal
from shared.domain.tasks import ABSENT, Line

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
EARLIER = NOW - timedelta(days=1)
ANN = Principal(user_id="ann", role="internal_user", key_id="k-ann", member_of=frozenset(("t-1",)))
TEAM_ADMIN = Principal(
    user_id="tim", role="internal_user", key_id="k-tim", admin_of=frozenset(("t-1",)), member_of=frozenset(("t-1",))
)
A_TEAM = object()


def by(principal: Principal = MASTER) -> Context:
    return Context(now=NOW, principal=principal, task_id="t")


def a_key(token: str = "k-1", **fields: Any) -> Key:
    known = {"key_name": "sk-...abcd", "version": 3, "created_at": EARLIER, "created_by": "root"}
    return Key(**{"token": token, **known, "updated_at": EARLIER, "updated_by": "root", **fields})


def a_state(*keys: Key, **more: Any) -> dict[ObjectRef, Any]:
    """These keys, and room for a new one, an alias and a team."""
    state: dict[ObjectRef, Any] = {ref("k-1"): None, ref("k-new"): None, team_ref("t-1"): A_TEAM}
    aliases = {alias: frozenset(key.token for key in keys if key.key_alias == alias) for alias in ("a", "b")}
    state |= {alias_ref(alias): tokens for alias, tokens in aliases.items()}
    return state | {ref(key.token): key for key in keys} | more


def create(**fields: Any) -> CreateKey:
    return CreateKey(token="k-new", key_name="sk-...wxyz", **fields)


def update(**fields: Any) -> UpdateKey:
    return UpdateKey(token="k-1", fields=KeyFields(**fields))


def the_key(decision: Decision, token: str = "k-1") -> Key:
    key = decision.objects[ref(token)]
    assert isinstance(key, Key)
    return key


# --- making ---


def test_a_new_key_is_what_was_asked_for() -> None:
    command = create(key_alias="a", user_id="ann", models=("gpt-4o",), duration_s=60, settings={"rpm": 5, "tpm": None})
    decision = key_changes.create(a_state(), command, by())
    key = the_key(decision, "k-new")
    assert (key.key_alias, key.user_id, key.models, key.version) == ("a", "ann", ("gpt-4o",), 1)
    assert key.expires == NOW + timedelta(seconds=60)
    assert key.settings == {"rpm": 5}
    assert decision.objects[alias_ref("a")] == {"k-new"}
    assert [event.type for event in decision.events] == ["key.created"]
    assert decision.result == document(key)


def test_a_key_that_is_there_is_not_made_again() -> None:
    with pytest.raises(KeyExists):
        key_changes.create(a_state(a_key("k-new")), create(), by())
    with pytest.raises(KeyExists):
        key_changes.check_create(create(), {ref("k-new"): Line(is_stored=True)}, by())


def test_an_alias_names_one_key() -> None:
    with pytest.raises(KeyAliasTaken):
        key_changes.create(a_state(a_key(key_alias="a")), create(key_alias="a"), by())


def test_a_team_that_is_named_must_be_there() -> None:
    with pytest.raises(UnknownTeam):
        key_changes.create(a_state() | {team_ref("t-1"): None}, create(team_id="t-1"), by())
    with pytest.raises(UnknownTeam):
        key_changes.check_create(create(team_id="t-1"), {ref("k-new"): ABSENT, team_ref("t-1"): ABSENT}, by())


def test_a_key_for_somebody_else_is_refused_when_accepting_and_when_applying() -> None:
    with pytest.raises(BeyondOwnRights):
        key_changes.check_create(create(user_id="bob"), {ref("k-new"): ABSENT}, by(ANN))
    with pytest.raises(BeyondOwnRights):
        key_changes.create(a_state(), create(user_id="bob"), by(ANN))


# --- changing ---


def test_an_update_changes_what_it_names() -> None:
    before = a_key(key_alias="a", models=("gpt-4o",), settings={"rpm": 5, "tpm": 6}, metadata={"x": 1})
    decision = key_changes.update(a_state(before), update(key_alias="b", settings={"rpm": None, "tags": ["t"]}), by())
    after = the_key(decision)
    assert (after.key_alias, after.models, after.metadata, after.version) == ("b", ("gpt-4o",), {"x": 1}, 4)
    assert after.settings == {"tpm": 6, "tags": ["t"]}
    assert decision.objects[alias_ref("a")] == frozenset()
    assert decision.objects[alias_ref("b")] == {"k-1"}
    assert (decision.changes[0].action, decision.changes[0].before) == ("updated", document(before))


def test_an_update_that_changes_nothing_writes_nothing() -> None:
    before = a_key(key_alias="a", blocked=True)
    decision = key_changes.update(a_state(before), update(key_alias="a", blocked=True), by())
    assert not decision.is_change
    assert decision.result == document(before)


def test_an_expiry_is_set_anew_or_taken_away() -> None:
    before = a_key(expires=NOW)
    assert the_key(key_changes.update(a_state(before), update(duration_s=60), by())).expires == NOW + timedelta(
        minutes=1
    )
    assert the_key(key_changes.update(a_state(before), update(duration_s=None), by())).expires is None


def test_an_alias_of_another_key_is_not_taken_over() -> None:
    keys = (a_key(key_alias="a"), a_key("k-2", key_alias="b"))
    with pytest.raises(KeyAliasTaken):
        key_changes.update(a_state(*keys), update(key_alias="b"), by())


@pytest.mark.parametrize(
    "command", [update(), BlockKey(token="k-1"), UnblockKey(token="k-1"), DeleteKeys(tokens=("k-1",))]
)
def test_what_is_not_there_is_not_changed(command: Any) -> None:
    decide = {UpdateKey: key_changes.update, BlockKey: key_changes.block, UnblockKey: key_changes.unblock}
    with pytest.raises(KeyNotFound):
        decide.get(type(command), key_changes.delete)(a_state(), command, by())


@pytest.mark.parametrize("decide", [key_changes.update, key_changes.block, key_changes.regenerate])
def test_a_change_can_say_which_version_it_means(decide: Any) -> None:
    command = {
        key_changes.update: update(key_alias="a"),
        key_changes.block: BlockKey(token="k-1"),
        key_changes.regenerate: RegenerateKey(token="k-1", new_token="k-new", new_key_name="sk-...wxyz"),
    }[decide]
    before = a_key()
    with pytest.raises(PreconditionFailed):
        decide(a_state(before), msgspec.structs.replace(command, if_match='"1-0"'), by())
    for tag in ("*", version_tag(document(before))):
        assert decide(a_state(before), msgspec.structs.replace(command, if_match=tag), by()).is_change


def test_blocking_twice_is_blocking_once() -> None:
    decision = key_changes.block(a_state(a_key()), BlockKey(token="k-1"), by())
    assert the_key(decision).blocked
    assert decision.changes[0].action == "blocked"
    assert not key_changes.block(a_state(the_key(decision)), BlockKey(token="k-1"), by()).is_change
    assert not the_key(key_changes.unblock(a_state(the_key(decision)), UnblockKey(token="k-1"), by())).blocked


# --- replacing ---


def regenerate(grace_s: int = 0, **fields: Any) -> RegenerateKey:
    return RegenerateKey(
        token="k-1", new_token="k-new", new_key_name="sk-...wxyz", grace_s=grace_s, fields=KeyFields(**fields)
    )


def test_a_regenerated_key_is_the_same_under_another_token() -> None:
    before = a_key(key_alias="a", user_id="ann", models=("gpt-4o",), created_by="ann")
    decision = key_changes.regenerate(a_state(before), regenerate(), by())
    after = the_key(decision, "k-new")
    assert decision.objects[ref("k-1")] is None
    assert decision.objects[alias_ref("a")] == {"k-new"} if alias_ref("a") in decision.objects else True
    assert (after.key_alias, after.user_id, after.models) == ("a", "ann", ("gpt-4o",))
    assert (after.key_name, after.version, after.created_by) == ("sk-...wxyz", 4, "ann")
    assert (after.previous_token, after.revoke_at) == (None, None)
    assert (decision.changes[0].action, decision.changes[0].object_id) == ("rotated", "k-1")
    assert (decision.events[0].type, decision.events[0].object_id) == ("key.regenerated", "k-new")


def test_the_old_key_is_accepted_for_the_time_of_grace() -> None:
    after = the_key(key_changes.regenerate(a_state(a_key()), regenerate(grace_s=3600), by()), "k-new")
    assert (after.previous_token, after.revoke_at) == ("k-1", NOW + timedelta(hours=1))


def test_a_key_can_be_changed_while_it_is_replaced() -> None:
    after = the_key(key_changes.regenerate(a_state(a_key()), regenerate(duration_s=60, models=("o3",)), by()), "k-new")
    assert (after.models, after.expires) == (("o3",), NOW + timedelta(minutes=1))


def test_a_new_key_that_is_known_already_is_refused() -> None:
    with pytest.raises(KeyExists):
        key_changes.regenerate(a_state(a_key(), a_key("k-new")), regenerate(), by())


def test_a_team_admin_replaces_the_keys_of_the_team_but_not_of_its_people() -> None:
    assert key_changes.regenerate(a_state(a_key(team_id="t-1")), regenerate(), by(TEAM_ADMIN)).is_change
    with pytest.raises(BeyondOwnRights):
        key_changes.regenerate(a_state(a_key(team_id="t-1", user_id="ann")), regenerate(), by(TEAM_ADMIN))


def test_a_limited_key_does_not_become_an_unlimited_one_by_replacing_another() -> None:
    limited = msgspec.structs.replace(ANN, allowed_routes=("/key/*",))
    with pytest.raises(BeyondOwnRights):
        key_changes.regenerate(a_state(a_key(user_id="ann")), regenerate(), by(limited))
    own = a_key(user_id="ann", allowed_routes=("/key/info",))
    assert key_changes.regenerate(a_state(own), regenerate(), by(limited)).is_change


# --- escalating ---


@pytest.mark.parametrize(
    ("principal", "before", "fields"),
    [
        (ANN, {"user_id": "ann"}, {"user_id": "bob"}),
        (ANN, {"user_id": "ann", "team_id": "t-1"}, {"user_id": None}),
        (ANN, {"user_id": "ann"}, {"metadata": {"allow_litellm_changed_by_header": True}}),
        (TEAM_ADMIN, {"team_id": "t-1"}, {"user_id": "ann"}),
        (msgspec.structs.replace(ANN, models=("gpt-4o",)), {"user_id": "ann", "models": ("gpt-4o",)}, {"models": ()}),
        (
            msgspec.structs.replace(ANN, allowed_routes=("/key/update",)),
            {"user_id": "ann", "allowed_routes": ("/key/update",)},
            {"allowed_routes": ()},
        ),
    ],
)
def test_nobody_gives_a_key_more_than_he_has(principal: Principal, before: Any, fields: Any) -> None:
    with pytest.raises(BeyondOwnRights):
        key_changes.update(a_state(a_key(**before)), update(**fields), by(principal))


def test_an_update_is_no_way_around_a_block() -> None:
    with pytest.raises(NotPermitted):
        key_changes.update(a_state(a_key(user_id="ann", blocked=True)), update(blocked=False), by(ANN))


# --- removing, and what is touched ---


def test_several_keys_go_together_or_stay_together() -> None:
    keys = (a_key(key_alias="a"), a_key("k-2", key_alias="b"))
    decision = key_changes.delete(a_state(*keys), DeleteKeys(tokens=("k-1", "k-2")), by())
    assert [decision.objects[ref(key.token)] for key in keys] == [None, None]
    assert [change.object_id for change in decision.changes] == ["k-1", "k-2"]
    assert decision.result == {"deleted_keys": ["k-1", "k-2"]}
    with pytest.raises(KeyNotFound):
        key_changes.delete(a_state(keys[0]) | {ref("k-2"): None}, DeleteKeys(tokens=("k-1", "k-2")), by())


def test_whom_a_command_names_must_be_allowed() -> None:
    assert named(create(team_id="t-1", user_id="ann")) == (Ownership(team_id="t-1"),)
    assert named(update(team_id="t-2")) == (Ownership(team_id="t-2"),)
    assert named(update(team_id=None)) == (Ownership(),)
    assert named(update(user_id="bob")) == (Ownership(user_id="bob"),)
    assert named(update(models=())) == named(BlockKey(token="k-1")) == ()


def test_owners_that_are_named_come_first() -> None:
    command = create(team_id="t-1", user_id="ann", key_alias="a")
    assert needed(command) == (user_ref("ann"), team_ref("t-1"))
    assert touched(command) == (ref("k-new"), team_ref("t-1"), alias_ref("a"))
    assert needed(DeleteKeys(tokens=("k-1", "k-2"))) == (ref("k-2"),)


def test_no_event_and_no_result_holds_more_than_the_token() -> None:
    decision = key_changes.create(a_state(), create(), by())
    assert set(decision.events[0].data) == {"token", "key_name", "version", "task_id", "changed_by"}
