"""The body of POST /model/new: what is taken, what it becomes, and what is refused by name."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contract.decoding import MAX_DEPTH
from shared.contract.models import NewModel, decode_new_model, to_command
from shared.domain.problems import InvalidRequest


def decoded(**fields: Any) -> NewModel:
    body = {"model_name": "m", "litellm_params": {"model": "x"}, **fields}
    return decode_new_model(msgspec.json.encode(body))


def with_params(**params: Any) -> dict[str, Any]:
    return decoded(litellm_params={"model": "x", **params}).litellm_params


def refused(body: bytes) -> list[str]:
    with pytest.raises(InvalidRequest) as caught:
        decode_new_model(body)
    return sorted(error.field for error in caught.value.errors)


def refused_fields(**fields: Any) -> list[str]:
    return refused(msgspec.json.encode({"model_name": "m", "litellm_params": {"model": "x"}, **fields}))


@pytest.mark.parametrize("name", ["rpm", "tpm", "tpd", "max_retries", "max_parallel_requests", "order", "weight"])
def test_a_whole_number_may_be_a_text(name: str) -> None:
    value = with_params(**{name: "100"})[name]
    assert value == 100
    assert isinstance(value, int)


@pytest.mark.parametrize("name", ["max_budget", "timeout", "stream_timeout", "input_cost_per_token"])
def test_a_number_may_be_a_text(name: str) -> None:
    value = with_params(**{name: "1e-07"})[name]
    assert value == 1e-07
    assert isinstance(value, float)


@pytest.mark.parametrize("text", ["true", "True", "TRUE"])
def test_a_switch_may_be_a_text(text: str) -> None:
    assert with_params(drop_params=text)["drop_params"] is True


@pytest.mark.parametrize(("text", "value"), [("false", False), ("False", False), ("perhaps", "perhaps"), ("1", "1")])
def test_a_switch_that_is_neither_stays_as_it_is(text: str, value: Any) -> None:
    assert with_params(use_in_pass_through=text)["use_in_pass_through"] == value


def test_a_text_of_another_name_stays_a_text() -> None:
    assert with_params(api_version="2024")["api_version"] == "2024"


def test_a_timeout_may_be_a_text_that_is_no_number() -> None:
    assert with_params(timeout="30s")["timeout"] == "30s"


def test_a_reference_to_the_environment_stays() -> None:
    assert with_params(rpm="os.environ/RPM")["rpm"] == "os.environ/RPM"


@pytest.mark.parametrize("value", ["many", "1.5", "", True, [1], {"a": 1}])
def test_what_is_no_whole_number_is_refused(value: Any) -> None:
    assert refused_fields(litellm_params={"model": "x", "rpm": value}) == ["litellm_params.rpm"]


@pytest.mark.parametrize("value", ["cheap", "nan", "inf", "1e999", False, []])
def test_what_is_no_number_is_refused(value: Any) -> None:
    field = "input_cost_per_token"
    assert refused_fields(litellm_params={"model": "x", field: value}) == [f"litellm_params.{field}"]


@pytest.mark.parametrize("value", [None, 0, -1, 2.5])
def test_a_number_stays_what_it_is(value: Any) -> None:
    assert with_params(rpm=value)["rpm"] == value


@pytest.mark.parametrize(("given_id", "expected"), [("mine", "mine"), (77, "77"), (-1, "-1"), ("x" * 255, "x" * 255)])
def test_an_id_is_a_text(given_id: Any, expected: str) -> None:
    assert to_command(decoded(model_info={"id": given_id}), "drawn").model_id == expected


@pytest.mark.parametrize("absent", ["", None])
def test_an_empty_id_is_absent(absent: Any) -> None:
    request = decoded(model_info={"id": absent})
    assert "id" not in (request.model_info or {})
    assert to_command(request, "drawn").model_id == "drawn"


@pytest.mark.parametrize("model_id", [1.5, True, [], {}, "x" * 256])
def test_what_is_no_id_is_refused(model_id: Any) -> None:
    assert refused_fields(model_info={"id": model_id}) == ["model_info.id"]


def test_the_team_is_taken_out_of_the_info() -> None:
    command = to_command(decoded(model_info={"team_id": "t", "x": 1}), "drawn")
    assert (command.team_id, command.model_info) == ("t", {"x": 1})
    assert to_command(decoded(model_info={"team_id": ""}), "drawn").team_id is None


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"model_info": {"team_id": 7}}, ["model_info.team_id"]),
        ({"model_info": {"tier": "gold"}}, ["model_info.tier"]),
        ({"model_info": {"tier": ["free"]}}, ["model_info.tier"]),
        ({"model_info": []}, ["model_info"]),
        ({"model_name": None}, ["model_name"]),
        ({"model_name": "x" * 501}, ["model_name"]),
        ({"model_name": "a\0b"}, ["model_name"]),
        ({"litellm_params": {}}, ["litellm_params.model"]),
        ({"litellm_params": {"model": ""}}, ["litellm_params.model"]),
        ({"litellm_params": {"model": "  "}}, ["litellm_params.model"]),
        ({"litellm_params": {"model": 7}}, ["litellm_params.model"]),
        ({"litellm_params": {"model": "x", "a": {"b": ["\0"]}}}, ["litellm_params.a.b[0]"]),
        ({"model_info": {"a": [{"b": "x\0"}]}}, ["model_info.a[0].b"]),
        ({"blocked": "yes"}, ["blocked"]),
        (
            {"litellm_params": {"rpm": "x"}, "model_info": {"tier": 1}},
            ["litellm_params.model", "litellm_params.rpm", "model_info.tier"],
        ),
    ],
)
def test_every_wrong_field_is_named(fields: dict[str, Any], expected: list[str]) -> None:
    assert refused_fields(**fields) == expected


def test_a_key_that_cannot_be_stored_is_refused_without_being_shown() -> None:
    assert refused_fields(litellm_params={"model": "x", "a": {"b\0": 1}}) == ["litellm_params.a"]


def test_half_a_surrogate_pair_is_refused() -> None:
    body = b'{"model_name":"m","litellm_params":{"model":"x","a":"\\ud800"}}'
    assert refused(body) in (["litellm_params.a"], ["body"])


def nested(depth: int) -> Any:
    return "x" if depth == 0 else {"a": nested(depth - 1)}


def test_a_body_that_is_nested_too_deep_is_refused() -> None:
    assert decoded(model_info=nested(MAX_DEPTH - 1))
    (field,) = refused_fields(model_info=nested(MAX_DEPTH + 5))
    assert field.startswith("model_info.a")
    assert refused(b'{"litellm_params":{"a":' + b"[" * 200_000) == ["body"]


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b"[]", b"{", b"\xff\xfe", b'"x"', b'{"model_name":NaN}'])
def test_rubbish_is_refused(body: bytes) -> None:
    assert refused(body)


def test_unknown_keys_at_the_top_are_dropped_and_those_below_are_kept() -> None:
    request = decoded(surprise=1, litellm_params={"model": "x", "surprise": [1]}, model_info={"surprise": None})
    assert (request.litellm_params["surprise"], request.model_info) == ([1], {"surprise": None})
    assert "surprise" not in NewModel.__struct_fields__


def test_what_the_server_owns_is_not_taken_from_the_client() -> None:
    info = {"id": "m", "db_model": False, "created_by": "me", "updated_at": "x", "blocked": True, "mine": 1}
    assert to_command(decoded(model_info=info), "drawn").model_info == {"mine": 1}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
NAMES = st.sampled_from(
    ["model", "rpm", "timeout", "stream", "input_cost_per_token", "api_key", "id", "team_id", "tier"]
)
DOCUMENTS = st.dictionaries(NAMES | st.text(), JSON, max_size=5)


def is_accepted(body: bytes) -> bool:
    """Raises whatever else than a refusal that names a field comes of it."""
    try:
        decode_new_model(body)
    except InvalidRequest as refusal:
        return not refusal.errors
    return True


@given(st.binary())
def test_any_bytes_are_decoded_or_refused(body: bytes) -> None:
    assert not is_accepted(body)


@given(st.dictionaries(st.sampled_from(["model_name", "litellm_params", "model_info", "blocked"]), JSON | DOCUMENTS))
def test_any_json_is_decoded_or_refused(body: dict[str, Any]) -> None:
    is_accepted(msgspec.json.encode(body))


@given(DOCUMENTS, DOCUMENTS)
def test_what_is_accepted_comes_back_as_it_is(params: dict[str, Any], info: dict[str, Any]) -> None:
    body = {"model_name": "m", "litellm_params": {**params, "model": "x"}, "model_info": info}
    try:
        request = decode_new_model(msgspec.json.encode(body))
    except InvalidRequest:
        return
    assert decode_new_model(msgspec.json.encode(request)) == request
    command = to_command(request, "drawn")
    assert msgspec.convert(msgspec.json.decode(msgspec.json.encode(command)), type(command)) == command


@given(st.integers(min_value=300, max_value=6000))
def test_a_number_of_any_length_is_decoded_or_refused(digits: int) -> None:
    number = b"1" * digits
    is_accepted(b'{"model_name":"m","litellm_params":{"model":"x","odd":%s,"rpm":"%s"}}' % (number, number))
