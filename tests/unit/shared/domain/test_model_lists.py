"""Lists of models on keys, teams and users."""

import pytest

from shared.domain.model_lists import limits


@pytest.mark.parametrize("listed", [[], ["all-proxy-models"], ["gpt", "*"]])
def test_nothing_listed_and_everything_listed_leave_all(listed: list[str]) -> None:
    assert limits(listed, listed) == ()


def test_a_name_a_pattern_and_a_group_let_through() -> None:
    (limit,) = limits(["gpt-4o", "openai/*", "beta"], [])
    assert limit.allows("gpt-4o", [], is_of_team=False)
    assert limit.allows("openai/o3", [], is_of_team=False)
    assert limit.allows("claude", ["alpha", "beta"], is_of_team=False)
    assert not limit.allows("claude", ["alpha"], is_of_team=False)
    assert not limit.allows("azure/openai/o3", [], is_of_team=False)


def test_only_the_star_is_special() -> None:
    (limit,) = limits(["gpt-?[a]*"], [])
    assert limit.allows("gpt-?[a]-1", [], is_of_team=False)
    assert not limit.allows("gpt-xa-1", [], is_of_team=False)


def test_no_models_means_none() -> None:
    (limit,) = limits(["no-default-models"], [])
    assert not limit.allows("gpt-4o", [], is_of_team=False)


def test_a_teams_list_says_nothing_of_its_own_models() -> None:
    (limit,) = limits([], ["gpt-4o"])
    assert limit.allows("own", [], is_of_team=True)
    assert not limit.allows("own", [], is_of_team=False)


def test_all_team_models_on_a_key_leaves_it_to_the_team() -> None:
    assert limits(["all-team-models"], ["gpt-4o"]) == limits([], ["gpt-4o"])
