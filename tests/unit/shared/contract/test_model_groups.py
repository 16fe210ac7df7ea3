"""What the deployments of one name add up to."""

from typing import Any

from shared.contract.model_groups import openai_model, summed_up

Json = dict[str, Any]


def an_entry(name: str = "gpt", params: Json | None = None, **info: Any) -> Json:
    return {"model_name": name, "litellm_params": {"model": "openai/x", **(params or {})}, "model_info": info}


def test_each_name_is_one_group_in_the_order_of_coming() -> None:
    groups = summed_up([an_entry("b"), an_entry("a"), an_entry("b")])
    assert [group["model_group"] for group in groups] == ["b", "a"]


def test_limits_per_minute_add_up_and_others_are_the_largest() -> None:
    (group,) = summed_up(
        [
            an_entry(params={"rpm": 5, "input_cost_per_token": 2e-6}, max_input_tokens=8000),
            an_entry(params={"rpm": 7, "tpm": 1}, max_input_tokens=4000),
            an_entry(params={"rpm": True, "tpm": "os.environ/TPM"}),
        ]
    )
    assert (group["rpm"], group["tpm"], group["max_input_tokens"]) == (12, 1, 8000)
    assert (group["input_cost_per_token"], group["output_cost_per_token"]) == (2e-6, None)


def test_providers_are_told_as_litellm_tells_them() -> None:
    (group,) = summed_up(
        [
            an_entry(params={"model": "azure/x"}),
            an_entry(params={"model": "gpt-4o"}),
            an_entry(params={"model": "x", "custom_llm_provider": "bedrock"}),
        ]
    )
    assert group["providers"] == ["azure", "bedrock", "openai"]


def test_an_ability_is_the_groups_if_any_has_it() -> None:
    (group,) = summed_up([an_entry(supports_vision=True, mode="chat"), an_entry()])
    assert (group["supports_vision"], group["supports_reasoning"], group["mode"]) == (True, False, "chat")


def test_a_name_in_openais_shape() -> None:
    assert openai_model("a/b") == {"id": "a/b", "object": "model", "created": 1677610602, "owned_by": "openai"}
