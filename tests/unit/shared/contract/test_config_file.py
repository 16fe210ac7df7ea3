"""From a configuration file's documents to models with stable ids."""

import datetime
from typing import Any

import pytest

from shared.contract.config_file import BrokenConfig, merged, parse

Json = dict[str, Any]


def an_entry(name: str = "gpt", model_id: str | None = None, **params: Any) -> Json:
    info: Json = {} if model_id is None else {"model_info": {"id": model_id}}
    return {"model_name": name, "litellm_params": {"model": "openai/x", **params}, **info}


def _parsed(*entries: Any) -> list[str]:
    return list(parse([{"model_list": list(entries)}]))


def test_an_id_depends_on_the_entry_alone() -> None:
    first, second = _parsed(an_entry("a"), an_entry("b"))
    assert _parsed(an_entry("b"), an_entry("c"), an_entry("a"))[2] == first
    assert first != second


def test_entries_that_repeat_are_numbered_and_never_hide_one_another() -> None:
    assert _parsed(
        an_entry(model_id="x"), an_entry(model_id="x"), an_entry(model_id="x-2"), an_entry(model_id="x")
    ) == [
        "x",
        "x-2",
        "x-2-2",
        "x-3",
    ]
    assert len(_parsed(an_entry(), an_entry())) == 2


def test_lists_are_joined_and_the_later_mapping_wins() -> None:
    whole = merged([{"model_list": [1], "s": {"a": 1, "b": 1}, "x": 1}, {"model_list": [2], "s": {"b": 2}, "x": 2}])
    assert whole == {"model_list": [1, 2], "s": {"a": 1, "b": 2}, "x": 2}


def test_dates_and_numbers_become_what_json_has() -> None:
    (model,) = parse([{"model_list": [an_entry(api_version=datetime.date(2024, 10, 21), rpm="5")]}]).values()
    assert model.litellm_params == {"model": "openai/x", "api_version": "2024-10-21", "rpm": 5}


@pytest.mark.parametrize("documents", [[], [{}], [{"model_list": None}], [{"model_list": []}], [{"other": 1}]])
def test_no_models_are_no_fault(documents: list[Json]) -> None:
    assert parse(documents) == {}


@pytest.mark.parametrize(
    ("listed", "told"),
    [
        ("x", "model_list: must be a list"),
        ([an_entry(), {"model_name": "x"}], "entry 2"),
        ([{"litellm_params": {"model": "m"}}], "model_name"),
        ([an_entry(rpm="sk-a-value-in-the-wrong-place")], "litellm_params.rpm"),
        ([an_entry(own={1, 2})], "type set"),
        (["x"], "entry 1"),
    ],
)
def test_a_fault_is_told_with_its_place_and_without_the_value(listed: Any, told: str) -> None:
    with pytest.raises(BrokenConfig, match=told) as broken:
        parse([{"model_list": listed}])
    assert "sk-a-value" not in str(broken.value)
