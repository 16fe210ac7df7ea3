import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.audit.canonical import canonical_json

leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
documents = st.dictionaries(
    names,
    st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3)),
    max_size=4,
)


def stored(value: Any, decode: Callable[[str], Any] = json.loads) -> Any:
    """As PostgreSQL gives it back from jsonb: names in another order, numbers with all their digits, no minus zero."""
    return decode(_as_jsonb(value))


def _as_jsonb(value: Any) -> str:
    if isinstance(value, dict):
        members = sorted(value.items(), key=lambda item: (len(item[0].encode()), item[0].encode()), reverse=True)  # pyright: ignore
        return "{" + ", ".join(f"{json.dumps(name)}: {_as_jsonb(inner)}" for name, inner in members) + "}"  # pyright: ignore
    if isinstance(value, list):
        return "[" + ", ".join(map(_as_jsonb, value)) + "]"  # pyright: ignore
    if isinstance(value, float):
        return format(Decimal(repr(value)) if value else Decimal("0.0"), "f")
    return json.dumps(value)


@pytest.mark.parametrize("decode", [json.loads, msgspec.json.decode])
@given(document=documents)
def test_storing_does_not_change_the_spelling(document: dict[str, Any], decode: Callable[[str], Any]) -> None:
    assert canonical_json(stored(document, decode)) == canonical_json(document)


@given(documents)
def test_the_spelling_is_json_that_says_the_same(document: dict[str, Any]) -> None:
    assert json.loads(canonical_json(document)) == stored(document)


@given(documents, documents)
def test_only_equal_documents_are_spelled_alike(one: dict[str, Any], other: dict[str, Any]) -> None:
    if canonical_json(one) == canonical_json(other):
        assert stored(one) == stored(other)


@pytest.mark.parametrize(
    ("spellings", "canonical"),
    [
        ("1 1.0 1.00 1e0 10e-1", b"1"),
        ("0 0.0 -0.0 0e5", b"0"),
        ("1.1 1.10 11e-1", b"1.1"),
        ("1e-06 0.000001 1E-6", b"0.000001"),
        ("1.5e-05 0.000015", b"0.000015"),
        ("1e-07 0.0000001", b"1e-7"),
        ("1.25e-10 0.000000000125", b"1.25e-10"),
        ("1e20 100000000000000000000 1e+20", b"100000000000000000000"),
        ("1e21 1000000000000000000000", b"1000000000000000000000"),
        ("1e23 100000000000000000000000", b"100000000000000000000000"),
        ("123456789012345680000.0 1.2345678901234568e+20", b"123456789012345680000"),
        ("-2.5 -2.50 -25e-1", b"-2.5"),
        ("5e-324", b"5e-324"),
    ],
)
def test_numbers_are_spelled_one_way(spellings: str, canonical: bytes) -> None:
    for spelling in spellings.split():
        assert canonical_json({"n": json.loads(spelling)}) == b'{"n":' + canonical + b"}"


def test_integers_beyond_double_precision_stay_apart() -> None:
    assert canonical_json({"n": 2**53}) != canonical_json({"n": 2**53 + 1})


def test_a_boolean_is_not_a_number() -> None:
    assert canonical_json({"n": True, "m": [False, None]}) == b'{"m":[false,null],"n":true}'


def test_names_are_sorted_as_rfc_8785_sorts_them() -> None:
    names = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    spelled = canonical_json(dict.fromkeys(names))
    assert list(json.loads(spelled)) == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


def test_texts_are_escaped_as_rfc_8785_escapes_them() -> None:
    spelled = canonical_json({"t": '\u20ac$\u000f\nA\'B"\\\\"/\u2028\x7f'})
    assert spelled == '{"t":"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/\u2028\x7f"}'.encode()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", b"bytes", Decimal(1), (1,), {"\ud800": 1}])
def test_what_json_cannot_say_is_refused(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        canonical_json({"v": value})
