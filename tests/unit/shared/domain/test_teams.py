"""What changes to a team mean, without anything around it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from shared.domain import credentials, models, team_models, teams
from shared.domain.decision import Context, Decision, ObjectRef
from shared.domain.members import Member
from shared.domain.models import Model
from shared.domain.problems import (
    AdminOnly,
    AlreadyMember,
    MemberNotFound,
    PreconditionFailed,
    TeamExists,
    TeamNotFound,
)
from shared.domain.rights import MASTER, Principal
from shared.domain.tasks import Line, Lines
from shared.domain.team_models import ALL_MODELS, NO_MODELS
from shared.domain.teams import (
    AddMembers,
    AddTeamModels,
    BlockTeam,
    CreateTeam,
    DeleteMember,
    DeleteTeamModels,
    DeleteTeams,
    Team,
    UpdateMember,
    UpdateTeam,
)

_NOW = datetime(2026, 1, 2, tzinfo=UTC)
ANN = Principal(
    user_id="ann", role="internal_user", key_id="k", admin_of=frozenset(("a",)), member_of=frozenset(("a",))
)


def a_team(team_id: str = "a", **fields: Any) -> Team:
    by_whom = {"created_at": _NOW, "created_by": "u", "updated_at": _NOW, "updated_by": "u"}
    return Team(team_id=team_id, version=1, **by_whom, **fields)


def a_model(model_id: str, team_id: str | None = "a", name: str = "own", **fields: Any) -> Model:
    model_name, public_name = team_models.names(name, team_id)
    return Model(
        model_id=model_id,
        model_name=model_name,
        public_name=public_name,
        team_id=team_id,
        litellm_params={"model": "openai/x"},
        model_info={},
        blocked=False,
        version=1,
        created_at=_NOW,
        created_by="u",
        updated_at=_NOW,
        updated_by="u",
        **fields,
    )


def context(principal: Principal = MASTER) -> Context:
    return Context(now=_NOW + timedelta(seconds=1), principal=principal, task_id="t1")


def decided(
    decide: Callable[..., Decision],
    command: Any,
    team: Team | None = None,
    *own: Model,
    by: Principal = MASTER,
) -> Decision:
    team_id = command.team_id
    names = {model.model_id: model.shown_name for model in own}
    return decide({teams.ref(team_id): team, team_models.names_ref(team_id): names}, command, context(by))


def after(decision: Decision) -> Team:
    (team,) = decision.objects.values()
    return team


def lines(**stored: bool) -> Lines:
    return {teams.ref(team_id): Line(is_stored=is_stored) for team_id, is_stored in stored.items()}


# --- making one ---


def test_whoever_makes_a_team_is_an_admin_of_it() -> None:
    decision = decided(teams.create, CreateTeam(team_id="a", members=(Member(user_id="ann"),)))
    assert after(decision).members == (Member(user_id="ann"), Member(user_id="default_user_id", role="admin"))
    assert [event.type for event in decision.events] == ["team.created"]
    assert decision.events[0].data["team_id"] == "a"


def test_whoever_is_named_already_stays_as_named() -> None:
    command = CreateTeam(team_id="a", members=(Member(user_id="default_user_id", role="user"),))
    assert after(decided(teams.create, command)).members == command.members


def test_an_id_that_is_taken_is_refused_at_both_times() -> None:
    command = CreateTeam(team_id="a")
    with pytest.raises(TeamExists):
        teams.check_create(command, lines(a=True), context())
    with pytest.raises(TeamExists):
        decided(teams.create, command, a_team())


# --- changing one ---


def test_a_change_leaves_what_it_does_not_name() -> None:
    before = a_team(team_alias="A", models=("gpt",), settings={"max_budget": 1, "tags": ["x"]}, metadata={"k": 1})
    team = after(decided(teams.update, UpdateTeam(team_id="a", settings={"tags": None, "rpm_limit": 5}), before))
    assert team.settings == {"max_budget": 1, "rpm_limit": 5}
    assert (team.team_alias, team.models, team.metadata, team.version) == ("A", ("gpt",), {"k": 1}, 2)


def test_aliases_are_merged_and_never_replaced_as_a_whole() -> None:
    before = a_team(model_aliases={"fast": "gpt-mini", "old": "gpt"})
    team = after(decided(teams.update, UpdateTeam(team_id="a", model_aliases={"old": None, "new": "o3"}), before))
    assert team.model_aliases == {"fast": "gpt-mini", "new": "o3"}


def test_an_empty_list_of_models_means_all_again() -> None:
    assert after(decided(teams.update, UpdateTeam(team_id="a", models=()), a_team(models=("gpt",)))).models == ()


def test_names_of_own_models_are_not_stored_a_second_time() -> None:
    command = UpdateTeam(team_id="a", models=("gpt", "own"))
    assert after(decided(teams.update, command, a_team(), a_model("m"))).models == ("gpt",)
    only_own = UpdateTeam(team_id="a", models=("own",))
    assert after(decided(teams.update, only_own, a_team(), a_model("m"))).models == (NO_MODELS,)


def test_what_changes_nothing_makes_no_version() -> None:
    decision = decided(teams.update, UpdateTeam(team_id="a", team_alias="A"), a_team(team_alias="A"))
    assert not decision.is_change
    assert decision.result["team_alias"] == "A"


def test_a_change_of_what_has_changed_meanwhile_is_refused() -> None:
    with pytest.raises(PreconditionFailed):
        decided(teams.update, UpdateTeam(team_id="a", if_match='"1-0"'), a_team())
    decided(teams.update, UpdateTeam(team_id="a", if_match=teams.etag(a_team())), a_team())


@pytest.mark.parametrize(
    "command", [UpdateTeam(team_id="a"), BlockTeam(team_id="a"), DeleteMember(team_id="a", user_id="ann")]
)
def test_what_is_not_there_cannot_be_changed(command: Any) -> None:
    with pytest.raises(TeamNotFound, match="not found"):
        teams.check_change(command, lines(a=False), context())
    with pytest.raises(TeamNotFound, match="doesn't exist"):
        decided({UpdateTeam: teams.update, BlockTeam: teams.block}.get(type(command), teams.delete_member), command)


@pytest.mark.parametrize(
    "fields", [{"settings": {"max_budget": 9}}, {"settings": {"rpm_limit": None}}, {"blocked": False}]
)
def test_a_team_admin_does_not_move_the_bounds_of_the_team(fields: dict[str, Any]) -> None:
    before = a_team(blocked=True, settings={"rpm_limit": 5})
    command = UpdateTeam(team_id="a", **fields)
    with pytest.raises(AdminOnly):
        decided(teams.update, command, before, by=ANN)
    assert decided(teams.update, command, before).is_change


def test_a_team_admin_may_send_back_what_is_so() -> None:
    before = a_team(blocked=True, settings={"rpm_limit": 5})
    command = UpdateTeam(team_id="a", blocked=True, settings={"rpm_limit": 5, "tags": ["x"]}, team_alias="A")
    assert after(decided(teams.update, command, before, by=ANN)).settings["tags"] == ["x"]


# --- members ---


def test_members_come_change_and_go() -> None:
    added = decided(teams.add_members, AddMembers(team_id="a", members=(Member(user_id="ann"),)), a_team())
    assert after(added).members == (Member(user_id="ann"),)
    assert (added.events[0].type, added.events[0].data["user_ids"]) == ("team.member_added", ["ann"])
    promotion = UpdateMember(team_id="a", user_id="ann", role="admin", limits={"max_budget_in_team": 5})
    promoted = after(decided(teams.update_member, promotion, after(added)))
    assert promoted.members == (Member(user_id="ann", role="admin", limits={"max_budget_in_team": 5}),)
    unlimited = UpdateMember(team_id="a", user_id="ann", limits={"max_budget_in_team": None})
    assert after(decided(teams.update_member, unlimited, promoted)).members == (Member(user_id="ann", role="admin"),)
    assert after(decided(teams.delete_member, DeleteMember(team_id="a", user_id="ann"), promoted)).members == ()


def test_nobody_comes_twice_or_goes_without_having_been_there() -> None:
    team = a_team(members=(Member(user_id="ann"),))
    with pytest.raises(AlreadyMember):
        decided(teams.add_members, AddMembers(team_id="a", members=(Member(user_id="ann"),)), team)
    with pytest.raises(MemberNotFound):
        decided(teams.delete_member, DeleteMember(team_id="a", user_id="bob"), team)


# --- what it may call ---


def test_adding_and_removing_names_keeps_the_meaning_of_an_empty_list() -> None:
    added = after(decided(teams.add_models, AddTeamModels(team_id="a", models=("gpt",)), a_team()))
    assert added.models == (ALL_MODELS, "gpt")
    limited = a_team(models=("gpt",))
    removed = after(decided(teams.delete_models, DeleteTeamModels(team_id="a", models=("gpt",)), limited))
    assert removed.models == (NO_MODELS,)


def test_adding_an_own_model_changes_nothing() -> None:
    assert not decided(teams.add_models, AddTeamModels(team_id="a", models=("own",)), a_team(), a_model("m")).is_change


# --- deleting ---


def test_a_team_goes_with_its_models_and_nobody_elses() -> None:
    stored: dict[ObjectRef, Any] = {
        teams.ref("a"): a_team(),
        teams.ref("b"): a_team("b"),
        **{models.ref(m.model_id): m for m in (a_model("m1"), a_model("m2"), a_model("m3", "b"), a_model("m4", None))},
    }
    decision = teams.delete(stored, DeleteTeams(team_ids=("a",)), context())
    assert decision.objects == {teams.ref("a"): None, models.ref("m1"): None, models.ref("m2"): None}
    assert [(change.object_type, change.object_id) for change in decision.changes] == [
        ("team", "a"),
        ("model", "m1"),
        ("model", "m2"),
    ]
    assert [event.type for event in decision.events] == ["team.deleted", "model.deleted", "model.deleted"]
    assert decision.result == {"deleted_teams": ["a"], "deleted_models": ["m1", "m2"], "deleted_keys": []}


def test_models_that_go_together_leave_their_credential_unused() -> None:
    users = credentials.users_ref("shared")
    stored: dict[ObjectRef, Any] = {
        teams.ref("a"): a_team(),
        models.ref("m1"): a_model("m1", credential_name="shared"),
        models.ref("m2"): a_model("m2", credential_name="shared"),
        users: frozenset(("m1", "m2", "m9")),
    }
    decision = teams.delete(stored, DeleteTeams(team_ids=("a",)), context())
    assert decision.objects[users] == frozenset(("m9",))


def test_of_several_teams_all_go_or_none() -> None:
    stored: dict[ObjectRef, Any] = {teams.ref("a"): a_team(), teams.ref("b"): None}
    with pytest.raises(TeamNotFound):
        teams.delete(stored, DeleteTeams(team_ids=("a", "b")), context())


@pytest.mark.parametrize(
    "command",
    [
        CreateTeam(team_id="a", members=(Member(user_id="ann", limits={"rpm_limit": 1}),), settings={"tags": ["x"]}),
        UpdateTeam(team_id="a", team_alias=None, model_aliases={"x": None}),
        UpdateTeam(team_id="a", models=()),
        UpdateMember(team_id="a", user_id="ann", limits={"max_budget_in_team": None}),
    ],
)
def test_a_queued_command_reads_as_it_was_written(command: Any) -> None:
    assert msgspec.json.decode(msgspec.json.encode(command), type=type(command)) == command
