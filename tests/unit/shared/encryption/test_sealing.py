from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.encryption.documents import JsonValue, Path, fields
from shared.encryption.keyring import Unreadable
from shared.encryption.sealing import (
    Binding,
    UnreadableField,
    open_document,
    open_text,
    seal_document,
    seal_text,
)
from tests.unit.shared.encryption.test_keyring import a_keyring

KEYRING = a_keyring("k1")
MODEL = Binding("model", "m1")

leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
documents = st.dictionaries(
    st.text(),
    st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)),
    max_size=4,
)


def shape(document: JsonValue) -> list[tuple[Path, object]]:
    return [(path, str if isinstance(value, str) else (type(value), value)) for path, value in fields(document)]


@given(documents)
def test_a_sealed_document_opens_to_the_same(document: dict[str, JsonValue]) -> None:
    assert open_document(KEYRING, MODEL, seal_document(KEYRING, MODEL, document)) == document


@given(documents)
def test_only_strings_are_sealed(document: dict[str, JsonValue]) -> None:
    sealed = seal_document(KEYRING, MODEL, document)
    assert shape(sealed) == shape(document)
    assert all(value.startswith("pm1:k1:") for _, value in fields(sealed) if isinstance(value, str))


def test_strings_are_sealed_however_deep() -> None:
    document: dict[str, Any] = {"extra_headers": {"Authorization": "Bearer canary"}, "tags": ["canary", ["canary"]]}
    assert "canary" not in str(seal_document(KEYRING, MODEL, document))


def test_the_document_given_stays_as_it_is() -> None:
    document: dict[str, Any] = {"a": {"b": ["c"]}}
    seal_document(KEYRING, MODEL, document)
    assert document == {"a": {"b": ["c"]}}


@pytest.mark.parametrize("binding", [Binding("model", "m2"), Binding("team", "m1"), Binding("modelm", "1")])
def test_a_value_does_not_open_for_another_object(binding: Binding) -> None:
    sealed = seal_document(KEYRING, MODEL, {"api_key": "a secret"})
    with pytest.raises(UnreadableField):
        open_document(KEYRING, binding, sealed)


def test_a_value_does_not_open_in_another_document() -> None:
    sealed = seal_document(KEYRING, MODEL, {"api_key": "a secret"}, path="litellm_params")
    with pytest.raises(UnreadableField):
        open_document(KEYRING, MODEL, sealed, path="credential_values")


steps = st.lists(st.text(max_size=3) | st.integers(0, 3), min_size=1, max_size=4).map(tuple)


@given(steps, steps)
def test_a_value_opens_at_its_own_path_only(path: Path, other: Path) -> None:
    sealed = seal_text(KEYRING, MODEL, "a secret", path)
    if path == other:
        assert open_text(KEYRING, MODEL, sealed, other) == "a secret"
    else:
        with pytest.raises(UnreadableField):
            open_text(KEYRING, MODEL, sealed, other)


@pytest.mark.parametrize(
    ("path", "other"),
    [
        (("a.b",), ("a", "b")),
        (("a", "b"), ("ab",)),
        (("a", 1), ("a", "1")),
        (("ak1:b",), ("a", "b")),
        (("a", "b"), ("b", "a")),
    ],
)
def test_paths_that_look_alike_are_apart(path: Path, other: Path) -> None:
    sealed = seal_text(KEYRING, MODEL, "a secret", path)
    with pytest.raises(UnreadableField):
        open_text(KEYRING, MODEL, sealed, other)


def test_neighbours_in_a_list_cannot_be_swapped() -> None:
    sealed = seal_document(KEYRING, MODEL, {"fallbacks": ["first", "second"]})
    sealed["fallbacks"].reverse()
    with pytest.raises(UnreadableField):
        open_document(KEYRING, MODEL, sealed)


def test_one_value_of_a_document_opens_by_its_path() -> None:
    sealed = seal_document(KEYRING, MODEL, {"extra_headers": {"x.y": "a secret"}})
    text = sealed["extra_headers"]["x.y"]
    assert open_text(KEYRING, MODEL, text, ("litellm_params", "extra_headers", "x.y")) == "a secret"


def test_a_text_as_path_is_a_single_key() -> None:
    sealed = seal_text(KEYRING, Binding("webhook", "w1"), "whsec", "secret")
    assert open_text(KEYRING, Binding("webhook", "w1"), sealed, ("secret",)) == "whsec"


def test_the_error_names_object_field_and_key_and_no_value() -> None:
    sealed = seal_document(a_keyring("old"), MODEL, {"extra_headers": {"Authorization": ["a secret"]}})
    with pytest.raises(UnreadableField) as problem:
        open_document(KEYRING, MODEL, sealed)
    error = problem.value
    assert (error.object_type, error.object_id) == ("model", "m1")
    assert error.field == "litellm_params.extra_headers.Authorization.0"
    assert (error.key_id, error.reason) == ("old", "unknown_key")
    assert str(error) == (
        "model 'm1': litellm_params.extra_headers.Authorization.0 cannot be read: the keyring has no key 'old'"
    )


def test_a_value_that_is_not_sealed_is_never_passed_on() -> None:
    with pytest.raises(Unreadable) as problem:
        open_document(KEYRING, MODEL, {"api_key": "sk-plain"})
    assert problem.value.reason == "format"
    assert "sk-plain" not in str(problem.value)


def test_every_unreadable_field_can_be_collected() -> None:
    found: list[str] = []

    def collect(problem: UnreadableField) -> str:
        found.append(problem.field)
        return "?"

    document: dict[str, Any] = {
        **seal_document(KEYRING, MODEL, {"model": "gpt"}),
        "a": "plain",
        "b": ["plain"],
        "rpm": 1,
    }
    opened = open_document(KEYRING, MODEL, document, instead=collect)
    assert opened == {"model": "gpt", "a": "?", "b": ["?"], "rpm": 1}
    assert found == ["litellm_params.a", "litellm_params.b.0"]
