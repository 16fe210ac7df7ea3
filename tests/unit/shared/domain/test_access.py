from typing import Any

import pytest

from shared.domain.access import Asked, judge, refuse_what_was_seen_through, seen
from shared.domain.decision import ObjectRef
from shared.domain.problems import NotPermitted
from shared.domain.rights import OPEN, Ownership, Principal

ANN = Principal(
    user_id="ann",
    role="internal_user",
    key_id="k",
    admin_of=frozenset(("led",)),
    member_of=frozenset(("led", "joined")),
)
MODEL = ObjectRef("model", "m-1")
OTHER_TEAM = ObjectRef("team", "other")


def asked(
    changed: dict[ObjectRef, Ownership] | None = None,
    needed: dict[ObjectRef, Ownership] | None = None,
    named: tuple[Ownership, ...] = (),
) -> Asked:
    return Asked(changed=changed or {}, needed=needed or {}, named=named)


@pytest.mark.parametrize("owner", [Ownership(team_id="joined"), OPEN])
def test_what_may_be_read_and_not_changed_is_refused_as_such(owner: Ownership) -> None:
    with pytest.raises(NotPermitted):
        judge(ANN, "model.update", asked({MODEL: owner}))


def test_what_may_not_be_read_looks_absent() -> None:
    judgement = judge(ANN, "model.update", asked({MODEL: Ownership(team_id="other")}))
    objects: dict[ObjectRef, Any] = {MODEL: "stored"}
    assert seen(judgement, objects, None) == {MODEL: None}
    with pytest.raises(NotPermitted):
        refuse_what_was_seen_through(ANN, "model.update", judgement)


def test_what_does_not_exist_is_not_judged() -> None:
    assert judge(ANN, "model.update", asked()).hidden == frozenset()


def test_a_team_that_is_named_is_judged_whether_or_not_it_exists() -> None:
    moved = asked({MODEL: Ownership(team_id="led")}, named=(Ownership(team_id="other"),))
    assert judge(ANN, "model.update", moved).hidden == {OTHER_TEAM}
    with pytest.raises(NotPermitted):
        judge(ANN, "model.update", asked({MODEL: Ownership(team_id="led")}, named=(Ownership(team_id="joined"),)))


def test_what_belongs_to_nobody_is_no_secret() -> None:
    with pytest.raises(NotPermitted):
        judge(ANN, "model.create", asked(named=(OPEN,)))


def test_of_several_that_are_named_a_hidden_one_says_nothing_of_the_others() -> None:
    keys = {ObjectRef("key", "a"): Ownership(user_id="ann"), ObjectRef("key", "b"): Ownership(user_id="bob")}
    judgement = judge(ANN, "key.delete", asked(keys))
    assert judgement.hidden == {ObjectRef("key", "b")}
    assert judgement.is_refused


def test_what_must_be_there_and_may_not_be_read_looks_absent_too() -> None:
    needed = {ObjectRef("credential", "c"): OPEN, ObjectRef("user", "bob"): Ownership(user_id="bob")}
    judgement = judge(ANN, "model.create", asked(needed=needed, named=(Ownership(team_id="led"),)))
    assert judgement.hidden == {ObjectRef("credential", "c")}
    assert not judgement.is_refused
    refuse_what_was_seen_through(ANN, "model.create", judgement)


def test_a_view_is_the_same_where_nothing_is_hidden() -> None:
    objects: dict[ObjectRef, Any] = {MODEL: "stored"}
    judgement = judge(ANN, "model.update", asked({MODEL: Ownership(team_id="led")}))
    assert seen(judgement, objects, None) is objects
