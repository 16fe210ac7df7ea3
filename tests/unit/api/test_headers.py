import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.headers import Preference, idempotency_key, preference
from shared.domain.problems import InvalidHeader


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, Preference()),
        ("", Preference()),
        ("respond-async", Preference(is_async=True)),
        ("Respond-Async", Preference(is_async=True)),
        ("wait=5", Preference(wait_s=5)),
        ('wait="5"', Preference(wait_s=5)),
        (" wait = 5 ", Preference(wait_s=5)),
        ("wait=0", Preference(wait_s=0)),
        ("wait=9999", Preference(wait_s=30)),
        ("respond-async, wait=10", Preference(wait_s=10, is_async=True)),
        ("wait=10; foo=bar, return=minimal", Preference(wait_s=10)),
        ("wait", Preference()),
        ("wait=", Preference()),
        ("wait=soon", Preference()),
        ("wait=-1", Preference()),
        ("handling=strict", Preference()),
        (",,;=", Preference()),
    ],
)
def test_preferences_are_read_as_rfc_7240_says(value: str | None, expected: Preference) -> None:
    assert preference(value, max_wait_s=30) == expected


@pytest.mark.parametrize(
    ("given_preference", "applied"),
    [
        (Preference(), None),
        (Preference(is_async=True), "respond-async"),
        (Preference(wait_s=5), "wait=5"),
        (Preference(wait_s=2.5, is_async=True), "wait=2.5"),
    ],
)
def test_what_was_applied_is_said(given_preference: Preference, applied: str | None) -> None:
    assert given_preference.applied == applied


@given(st.text())
def test_any_preference_is_understood_or_ignored(value: str) -> None:
    found = preference(value, max_wait_s=30)
    assert found.wait_s is None or 0 <= found.wait_s <= 30


@pytest.mark.parametrize(
    ("value", "key"), [(None, None), ("k", "k"), (' "k-1" ', "k-1"), ("a b", "a b"), ("k" * 255, "k" * 255)]
)
def test_an_idempotency_key_is_taken_without_its_quotes(value: str | None, key: str | None) -> None:
    assert idempotency_key(value) == key


@pytest.mark.parametrize("value", ["", " ", '""', "k" * 256, "\xe9", "a\tb", "a\nb"])
def test_an_idempotency_key_that_cannot_be_kept_is_refused(value: str) -> None:
    with pytest.raises(InvalidHeader) as caught:
        idempotency_key(value)
    assert caught.value.param == "Idempotency-Key"
