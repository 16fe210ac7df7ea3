"""LiteLLM's bodies, decoded and brought into one form."""

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contract import models
from shared.contract.models import decode_change, decode_id, decode_id_to_block, decode_new_model, decode_rollback
from shared.domain.problems import InvalidRequest

Json = dict[str, Any]

_fields = st.sampled_from(("id", "model_id", "model_name", "litellm_params", "model_info", "model", "version", "rpm"))
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_fields, inner, max_size=4),
)


def _new(**body: Any) -> models.NewModel:
    given: Json = {"model_name": "gpt", "litellm_params": {"model": "openai/x"}}
    return decode_new_model(msgspec.json.encode({**given, **body}))


def _params(**params: Any) -> Json:
    return _new(litellm_params={"model": "openai/x", **params}).litellm_params


def _change(**body: Any) -> models.ModelChange:
    return decode_change(msgspec.json.encode(body))


def _refused(decode: Any, **body: Any) -> str:
    with pytest.raises(InvalidRequest) as refused:
        decode(**body)
    assert refused.value.param
    return refused.value.param


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"rpm": "5"}, {"rpm": 5}),
        ({"timeout": "30"}, {"timeout": 30.0}),
        ({"timeout": "forever"}, {"timeout": "forever"}),
        ({"input_cost_per_token": "1e-6"}, {"input_cost_per_token": 1e-6}),
        ({"use_in_pass_through": "True"}, {"use_in_pass_through": True}),
        ({"rpm": "os.environ/RPM"}, {"rpm": "os.environ/RPM"}),
        ({"of_tomorrow": "5"}, {"of_tomorrow": "5"}),
        ({"rpm": None, "own": None}, {"rpm": None, "own": None}),
        ({"deep": {"kept": None}}, {"deep": {"kept": None}}),
        ({"prompt": "**** bold ****"}, {"prompt": "**** bold ****"}),
    ],
)
def test_parameters_come_into_one_form(given: Json, kept: Json) -> None:
    assert _params(**given) == {"model": "openai/x", **kept}


@pytest.mark.parametrize(
    ("name", "value"), [("rpm", "many"), ("rpm", True), ("rpm", [1]), ("tpm", ""), ("input_cost_per_token", "nan")]
)
def test_what_is_no_number_is_refused(name: str, value: Any) -> None:
    assert _refused(_params, **{name: value}) == f"litellm_params.{name}"


@pytest.mark.parametrize(
    ("given", "model_id"),
    [({}, "drawn"), ({"id": ""}, "drawn"), ({"id": None}, "drawn"), ({"id": 77}, "77"), ({"id": "a"}, "a")],
)
def test_the_id_is_taken_or_drawn(given: Json, model_id: str) -> None:
    assert models.to_command(_new(model_info=given), "drawn").model_id == model_id


def test_what_the_server_says_of_a_model_is_not_the_clients_to_say() -> None:
    info = {
        "id": "a",
        "db_model": True,
        "created_by": "x",
        "updated_at": "y",
        "blocked": True,
        "own": 1,
        "none": None,
        "team_id": None,
    }
    command = models.to_command(_new(model_info=info), "drawn")
    assert (command.model_info, command.blocked) == ({"own": 1, "none": None}, False)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"model_name": ""}, "model_name"),
        ({"model_name": None}, "model_name"),
        ({"model_name": "x\0"}, "model_name"),
        ({"litellm_params": {"model": "  "}}, "litellm_params.model"),
        ({"litellm_params": {"model": 5}}, "litellm_params.model"),
        ({"litellm_params": {"model": None}}, "litellm_params.model"),
        ({"litellm_params": []}, "litellm_params"),
        ({"model_info": {"id": True}}, "model_info.id"),
        ({"model_info": {"id": "x" * 256}}, "model_info.id"),
        ({"model_info": {"team_id": 5}}, "model_info.team_id"),
        ({"model_info": {"tier": "gold"}}, "model_info.tier"),
        ({"blocked": "perhaps"}, "blocked"),
    ],
)
def test_a_bad_model_is_refused_by_the_name_of_its_field(body: Json, field: str) -> None:
    assert _refused(_new, **body) == field


@pytest.mark.parametrize(
    "mask",
    [
        "****",
        "sk****bc",
        "fp:main:0123456789abcdef",
        "https://a.example.com/v1 (fp:main:0123456789abcdef)",
        "pm1:main:c2VhbGVk",
    ],
)
def test_a_mask_is_refused_wherever_it_stands(mask: str) -> None:
    assert _refused(_params, api_key=mask) == "litellm_params.api_key"
    assert _refused(_change, litellm_params={"a": {"b": mask}}) == "litellm_params.a.b"
    assert _refused(_change, litellm_params={"a": [mask]}) == "litellm_params.a[0]"


def test_a_change_says_what_is_set_and_what_goes() -> None:
    body = _change(
        model_name="",
        litellm_params={"rpm": "5", "tpm": None},
        litellm_params_to_remove=["timeout"],
        model_info={"id": "ignored", "mode": "chat", "tier": None, "team_id": None},
        blocked=True,
    )
    command = models.to_update(body, "m1")
    assert command == models.UpdateModel(
        model_id="m1",
        set_params={"rpm": 5},
        remove_params=("timeout", "tpm"),
        set_info={"mode": "chat"},
        remove_info=("tier",),
        blocked=True,
    )


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"litellm_params": {"model": None}}, "litellm_params.model"),
        ({"litellm_params_to_remove": ["model"]}, "litellm_params.model"),
        ({"litellm_params": {"model": ""}}, "litellm_params.model"),
        ({"litellm_params": {"rpm": 1}, "litellm_params_to_remove": ["rpm"]}, "litellm_params_to_remove.rpm"),
        ({"litellm_params": {"rpm": "x"}}, "litellm_params.rpm"),
        ({"model_name": "a\0"}, "model_name"),
        ({"litellm_params_to_remove": ["a\0"]}, "litellm_params_to_remove[0]"),
        ({"model_info": {"a": "\0"}}, "model_info.a"),
        ({"model_name": 5}, "model_name"),
    ],
)
def test_a_bad_change_is_refused_by_the_name_of_its_field(body: Json, field: str) -> None:
    assert _refused(_change, **body) == field


@pytest.mark.parametrize(
    ("body", "model_id"),
    [
        ({"model_info": {"id": "a"}}, "a"),
        ({"id": "a"}, "a"),
        ({"id": 7}, "7"),
        ({"id": "a", "model_info": {"id": ""}}, "a"),
        ({"id": "a", "model_info": {"id": "b"}}, "b"),
    ],
)
def test_an_update_names_its_model_in_either_place(body: Json, model_id: str) -> None:
    assert models.changed_id(_change(**body)) == model_id


@pytest.mark.parametrize("body", [{}, {"id": ""}, {"model_info": {"id": None}}])
def test_an_update_that_names_none_is_refused(body: Json) -> None:
    with pytest.raises(InvalidRequest) as refused:
        models.changed_id(_change(**body))
    assert refused.value.param == "model_info.id"


@pytest.mark.parametrize("decode", [decode_id, decode_id_to_block, decode_rollback, decode_change, decode_new_model])
@given(body=st.binary(max_size=60) | _json.map(msgspec.json.encode))
def test_rubbish_is_refused_and_nothing_else(decode: Any, body: bytes) -> None:
    with contextlib.suppress(InvalidRequest):
        decode(body)


@pytest.mark.parametrize(("decode", "name"), [(decode_id, "id"), (decode_id_to_block, "model_id")])
def test_an_id_is_a_text_or_a_number(decode: Any, name: str) -> None:
    assert decode(msgspec.json.encode({name: 7})) == "7"
    for value in (None, True, [], "a\0"):
        with pytest.raises(InvalidRequest) as refused:
            decode(msgspec.json.encode({name: value}))
        assert refused.value.param == name
