"""What is told between two documents."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.differences import differences

_documents = st.dictionaries(
    st.sampled_from("abc"),
    st.recursive(
        st.none() | st.integers(0, 2) | st.booleans() | st.text("x", max_size=2),
        lambda inner: st.lists(inner, max_size=2),
    ),
    max_size=3,
)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, [("a", 1, 2)]),
        ({}, {"a": 1}, [("a", None, 1)]),
        ({"a": 1}, {}, [("a", 1, None)]),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, [("a.c", 2, 3)]),
        ({"a": {"b": 1}}, {"a": 5}, [("a.b", 1, None), ("a", None, 5)]),
        ({"a": [1, 2]}, {"a": [2, 1]}, [("a", [1, 2], [2, 1])]),
        ({"a": 1}, {"a": True}, [("a", 1, True)]),
        ({"a": 1}, {"a": 1.0}, [("a", 1, 1.0)]),
    ],
)
def test_it_is_told_field_by_field(before: Any, after: Any, told: list[Any]) -> None:
    assert list(differences(before, after)) == told


@given(_documents)
def test_nothing_is_told_of_equal_documents(document: dict[str, Any]) -> None:
    assert list(differences(document, document)) == []


@given(_documents, _documents)
def test_backwards_it_is_the_same_with_sides_changed(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert [(path, now, was) for path, was, now in differences(a, b)] == list(differences(b, a))
