"""A renamed group, and the lists that name it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.domain import keys, model_lists, models, renames, team_models, teams, users
from shared.domain.decision import Context, Decision, ObjectRef
from shared.domain.keys import Key
from shared.domain.model_lists import Group
from shared.domain.models import Model, RollbackModel, UpdateModel
from shared.domain.rights import MASTER
from shared.domain.teams import Team
from shared.domain.users import User

_NOW = datetime(2026, 1, 2, tzinfo=UTC)
_STAMPS: dict[str, Any] = {"version": 1, "created_at": _NOW, "created_by": "u", "updated_at": _NOW, "updated_by": "u"}
CONTEXT = Context(now=_NOW + timedelta(seconds=1), principal=MASTER, task_id="t")


def a_model(model_id: str = "m", name: str = "old", team_id: str | None = None) -> Model:
    model_name, public_name = team_models.names(name, team_id)
    return Model(
        model_id=model_id,
        model_name=model_name,
        public_name=public_name,
        team_id=team_id,
        litellm_params={},
        model_info={},
        blocked=False,
        **_STAMPS,
    )


LISTING: dict[ObjectRef, Any] = {
    teams.ref("a"): Team(team_id="a", models=("other", "old"), **_STAMPS),
    keys.ref("k"): Key(token="k", key_name="sk-...k", models=("old", "new"), **_STAMPS),
    keys.ref("of-a"): Key(token="of-a", key_name="sk-...a", team_id="a", models=("old",), **_STAMPS),
    keys.ref("any"): Key(token="any", key_name="sk-...b", **_STAMPS),
    users.ref("ann"): User(user_id="ann", role="internal_user", models=("old",), **_STAMPS),
}


def renamed(model: Model, group: Group | None = Group(), **beside: Model | None) -> Decision:  # noqa: B008  (frozen)
    """The model called ``new``, by an update."""
    others = {models.ref(model_id): other for model_id, other in beside.items()}
    state = {models.ref(model.model_id): model, model_lists.group_ref("m", "new"): group, **others, **LISTING}
    return renames.update(state, UpdateModel(model_id="m", model_name="new"), CONTEXT)


def lists(decision: Decision) -> dict[str, tuple[str, ...]]:
    return {ref.object_id: what.models for ref, what in decision.objects.items() if ref.object_type != "model"}


def test_the_last_of_a_group_takes_its_name_along() -> None:
    decision = renamed(a_model())
    assert lists(decision) == {"a": ("other", "new"), "k": ("new",), "of-a": ("new",), "ann": ("new",)}
    assert [change.object_type for change in decision.changes] == ["model", "team", "key", "key", "user"]
    assert decision.result["model_name"] == "new"


@pytest.mark.parametrize(
    ("group", "beside"),
    [
        (Group(others=frozenset(("o",))), {}),
        (Group(others=frozenset(("o",))), {"o": a_model("o")}),
        (Group(), {"came": a_model("came")}),
    ],
)
def test_as_long_as_another_has_the_name_the_lists_keep_it(group: Group, beside: dict[str, Model]) -> None:
    assert lists(renamed(a_model(), group, **beside)) == {}


@pytest.mark.parametrize("other", [None, a_model("o", "elsewhere")])
def test_whoever_left_the_group_in_the_same_batch_is_not_counted(other: Model | None) -> None:
    assert lists(renamed(a_model(), Group(others=frozenset(("o",))), o=other))


def test_a_team_that_means_its_own_model_by_the_name_keeps_it() -> None:
    decision = renamed(a_model(), Group(hidden_in=frozenset(("a",))), own=a_model("own", team_id="a"))
    assert set(lists(decision)) == {"k", "ann"}


def test_the_name_of_a_teams_model_is_known_to_its_keys_only() -> None:
    assert lists(renamed(a_model(team_id="a"))) == {"of-a": ("new",)}


def test_a_model_that_moves_or_is_not_renamed_takes_nothing_along() -> None:
    assert lists(renamed(a_model(name="new"), None)) == {}
    state = {
        models.ref("m"): a_model(team_id="a"),
        teams.ref("b"): Team(team_id="b", **_STAMPS),
        model_lists.group_ref("m", "new"): Group(),
        **LISTING,
    }
    assert lists(renames.update(state, UpdateModel(model_id="m", model_name="new", team_id="b"), CONTEXT)) == {}


def test_a_rollback_takes_the_name_back() -> None:
    state: dict[ObjectRef, Any] = {
        models.ref("m"): a_model(),
        models.revision_ref("m", 1): a_model(name="new"),
        model_lists.group_ref("m", None): Group(),
        **LISTING,
    }
    assert lists(renames.rollback(state, RollbackModel(model_id="m", to_version=1), CONTEXT))["ann"] == ("new",)
