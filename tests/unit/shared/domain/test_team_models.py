"""What a team's models are called, and what its list of models says."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from shared.domain import team_models
from shared.domain.team_models import (
    ALL_MODELS,
    NO_MODELS,
    internal_name,
    shown_models,
    to_list,
    with_added,
    with_removed,
)

_names = st.sampled_from(("gpt", "claude", "own", "other"))
_lists = st.lists(_names, max_size=3, unique=True)


def test_the_internal_name_is_of_the_team_and_of_the_name_only() -> None:
    assert internal_name("a", "gpt") == internal_name("a", "gpt")
    assert len({internal_name("a", "gpt"), internal_name("a", "claude"), internal_name("b", "gpt")}) == 3


def test_the_internal_name_ends_in_a_uuid() -> None:
    name = internal_name("team-1", "gpt")
    assert name.startswith("model_name_team-1_")
    assert uuid.UUID(name.removeprefix("model_name_team-1_")).version == 5


def test_no_team_and_name_are_taken_for_another() -> None:
    assert internal_name("a", "b\0c") != internal_name("a\0b", "c")


def test_a_model_of_no_team_has_one_name() -> None:
    assert team_models.names("gpt", None) == ("gpt", None)
    assert team_models.names("gpt", "a") == (internal_name("a", "gpt"), "gpt")


def test_own_models_are_listed_behind_what_is_listed_by_hand() -> None:
    assert shown_models(["gpt"], ["own", "own", "gpt"]) == ["gpt", "own"]


def test_own_models_of_a_team_that_may_call_all_take_nothing_away() -> None:
    assert shown_models([], ["own"]) == [ALL_MODELS, "own"]
    assert shown_models([], []) == []


def test_a_team_that_may_call_none_but_its_own_shows_its_own() -> None:
    assert shown_models([NO_MODELS], ["own"]) == ["own"]
    assert shown_models([NO_MODELS], []) == [NO_MODELS]


@given(_lists, _lists)
def test_a_list_that_was_read_and_sent_back_means_the_same(listed: list[str], own: list[str]) -> None:
    shown = shown_models(to_list(listed, own), own)
    assert set(shown_models(to_list(shown, own), own)) == set(shown)


@given(_lists, _lists)
def test_when_own_models_are_gone_so_are_their_names(listed: list[str], own: list[str]) -> None:
    left = shown_models(to_list(shown_models(listed, own), own), [])
    assert not set(own) & set(left)
    assert not listed or left, "what was limited is not unlimited"


def test_adding_to_all_leaves_all() -> None:
    assert with_added([], ["gpt"]) == (ALL_MODELS, "gpt")
    assert with_added(["claude"], ["gpt", "claude"]) == ("claude", "gpt")


def test_removing_the_last_name_does_not_come_to_mean_all() -> None:
    assert with_removed(["gpt"], ["gpt"]) == (NO_MODELS,)
    assert with_removed([NO_MODELS], [NO_MODELS]) == (NO_MODELS,)
    assert with_removed([], ["gpt"]) == ()


def test_own_models_go_before_aliases_that_were_set_by_hand() -> None:
    found = team_models.aliases({"own": "elsewhere", "fast": "gpt"}, "a", ["own"])
    assert found == {"own": internal_name("a", "own"), "fast": "gpt"}
