"""Teams as clients write and read them."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from shared.contract import teams as contract
from shared.domain import teams
from shared.domain.members import Member
from shared.domain.problems import InvalidRequest
from shared.domain.team_models import ALL_MODELS, internal_name
from shared.domain.teams import Team

_NOW = datetime(2026, 1, 2, tzinfo=UTC)


def encoded(body: Any) -> bytes:
    return msgspec.json.encode(body)


def a_team(**fields: Any) -> Team:
    return Team(team_id="a", version=1, created_at=_NOW, created_by="u", updated_at=_NOW, updated_by="u", **fields)


def shown(team: Team, *own_names: str) -> dict[str, Any]:
    return contract.view(teams.document(team), own_names)


def test_an_empty_id_is_none() -> None:
    request, settings = contract.decode_new(encoded({"team_id": "", "team_alias": "A"}))
    assert contract.to_create(request, settings, "drawn").team_id == "drawn"


def test_litellms_other_fields_are_kept_and_unknown_ones_dropped() -> None:
    body = {"max_budget": 5, "router_settings": {}, "tags": ["x"], "of_a_new_release": 1}
    request, settings = contract.decode_new(encoded(body))
    command = contract.to_create(request, settings, "a")
    assert command.settings == {"max_budget": 5, "router_settings": {}, "tags": ["x"]}


def test_older_lists_of_members_are_understood() -> None:
    body = {"members_with_roles": [{"user_id": "ann", "role": "admin"}], "admins": ["bob"], "members": ["ann", "eve"]}
    request, settings = contract.decode_new(encoded(body))
    assert contract.to_create(request, settings, "a").members == (
        Member(user_id="ann", role="admin"),
        Member(user_id="bob", role="admin"),
        Member(user_id="eve"),
    )


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "team_id"),
        ({"team_id": "a", "models": [""]}, "models[0]"),
        ({"team_id": "a", "models": "gpt"}, "models"),
        ({"team_id": "a", "team_alias": "\0"}, "team_alias"),
        ({"team_id": "a", "team_alias": "x" * 256}, "team_alias"),
        ({"team_id": "a", "router_settings": {"x": "\0"}}, "router_settings.x"),
    ],
)
def test_a_wrong_body_is_refused_by_name(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        contract.decode_change(encoded(body))
    assert refusal.value.param == param


@pytest.mark.parametrize(
    ("body", "param"),
    [
        # An index holds no longer ones: the task would break off until it is given up.
        ({"team_alias": "x" * 256}, "team_alias"),
        ({"members_with_roles": [{"user_id": "x" * 256}]}, "members_with_roles[0].user_id"),
        ({"members_with_roles": [{"user_id": "x"}] * 1001}, "members_with_roles"),
        ({"admins": ["x" * 256]}, "admins[0]"),
    ],
)
def test_what_is_too_long_for_a_new_team_is_refused_by_name(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        contract.decode_new(encoded(body))
    assert refusal.value.param == param


@pytest.mark.parametrize("entry", [{"role": "admin"}, {"user_id": ""}, {"user_email": ""}])
def test_a_member_is_somebody(entry: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        contract.to_add_members(contract.decode_members(encoded({"team_id": "a", "member": entry})))


def test_members_come_one_by_one_or_as_a_list() -> None:
    entry = {"role": "user", "user_id": "ann", "user_email": ""}
    for member in (entry, [entry]):
        request = contract.decode_members(encoded({"team_id": "a", "member": member, "max_budget_in_team": 1.5}))
        added = contract.to_add_members(request).members
        assert added == (Member(user_id="ann", limits={"max_budget_in_team": 1.5}),)


def test_a_limit_of_null_is_told_from_none_given() -> None:
    body = {"team_id": "a", "user_id": "ann", "max_budget_in_team": None}
    command = contract.to_update_member(contract.decode_member_change(encoded(body)))
    assert command.limits == {"max_budget_in_team": None}
    command = contract.to_update_member(contract.decode_member_change(encoded({"team_id": "a", "user_id": "ann"})))
    assert command.limits == {}


def test_aliases_of_own_models_that_are_sent_back_are_not_stored() -> None:
    body = {"team_id": "a", "model_aliases": {"own": internal_name("a", "own"), "fast": "gpt", "old": None}}
    request, settings = contract.decode_change(encoded(body))
    assert contract.to_update(request, settings).model_aliases == {"fast": "gpt", "old": None}


def test_a_team_shows_its_models_and_what_they_are_called_inside() -> None:
    view = shown(a_team(model_aliases={"fast": "gpt"}), "own")
    assert view["models"] == [ALL_MODELS, "own"]
    assert view["litellm_model_table"]["model_aliases"] == {"fast": "gpt", "own": internal_name("a", "own")}
    assert shown(a_team())["litellm_model_table"] is None


def test_a_team_shows_its_members_in_all_of_litellms_ways() -> None:
    team = a_team(members=(Member(user_id="ann", role="admin"), Member(user_email="bob@example.com")))
    view = shown(team)
    assert (view["admins"], view["members"]) == (["ann"], ["ann"])
    assert view["members_with_roles"] == [
        {"user_id": "ann", "user_email": None, "role": "admin"},
        {"user_id": None, "user_email": "bob@example.com", "role": "user"},
    ]


def test_settings_stand_beside_the_teams_own_fields_and_unset_ones_are_null() -> None:
    view = shown(a_team(settings={"max_budget": 5, "tags": ["x"]}))
    assert (view["max_budget"], view["tags"], view["tpm_limit"], view["team_alias"]) == (5, ["x"], None, None)


def test_a_membership_shows_the_limits_where_terraform_looks_for_them() -> None:
    team = a_team(
        members=(Member(user_id="ann", limits={"max_budget_in_team": 5, "rpm_limit": 1}), Member(user_id="b"))
    )
    ann, other = contract.memberships("a", team.members)
    assert ann["litellm_budget_table"] == {"max_budget": 5, "rpm_limit": 1}
    assert other["litellm_budget_table"] is None
