"""What the text of a key tells."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.key_text import (
    RANDOM_BYTES,
    check_given,
    is_mistyped,
    name_of,
    new_key,
    token_named,
    token_of,
)
from shared.domain.problems import InvalidRequest

RANDOM = st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES)
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
KEY = new_key(bytes(range(RANDOM_BYTES)))


@given(RANDOM)
def test_a_drawn_key_has_28_characters_and_its_checksum(randomness: bytes) -> None:
    key = new_key(randomness)
    assert key.startswith("sk-")
    assert len(key) == 31
    assert set(key[3:]) <= set(DIGITS)
    assert not is_mistyped(key)


@given(RANDOM, st.integers(min_value=3, max_value=30), st.sampled_from(DIGITS))
def test_one_wrong_character_is_noticed(randomness: bytes, position: int, digit: str) -> None:
    key = new_key(randomness)
    typed = key[:position] + digit + key[position + 1 :]
    assert is_mistyped(typed) == (typed != key)


@given(RANDOM, st.integers(min_value=3, max_value=29))
def test_two_characters_that_changed_places_are_noticed(randomness: bytes, position: int) -> None:
    key = new_key(randomness)
    typed = key[:position] + key[position + 1] + key[position] + key[position + 2 :]
    assert is_mistyped(typed) == (typed != key)


@pytest.mark.parametrize("key", ["sk-1234", "sk-J_9wabcdefghijklmnopqr", KEY[:-1], KEY + "a", "", "Bearer"])
def test_a_key_of_another_form_is_not_called_mistyped(key: str) -> None:
    assert not is_mistyped(key)


def test_as_many_random_bytes_as_are_needed_must_be_given() -> None:
    with pytest.raises(ValueError, match="32 random bytes"):
        new_key(b"too few")


def test_a_key_is_looked_up_by_its_hash() -> None:
    assert token_of("sk-1234") == "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b"
    assert token_named("sk-1234") == token_named(token_of("sk-1234")) == token_of("sk-1234")


def test_a_key_is_shown_by_its_last_characters() -> None:
    assert name_of("sk-abcdefJ_9w") == "sk-...J_9w"


@pytest.mark.parametrize("key", [KEY, "sk-J_9wabcdefghijklmnopqr", "sk-terraform:0123456789/abcdef"])
def test_a_key_may_be_given(key: str) -> None:
    check_given(key)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "sk-1234",
        "abcdefghijklmnopqrstuvwxyz",
        "sk-aaaaaaaaaaaaaaaaaaaaaaaaa",
        "sk-with a space 0123456789",
        "sk-ümläut0123456789abcdefg",
        "sk-" + "abcdefghij" * 21,
        KEY[:-1] + ("a" if KEY[-1] != "a" else "b"),
    ],
)
def test_a_key_that_is_guessed_or_mistyped_may_not(key: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_given(key)
    assert refused.value.param == "key"
    assert key == "" or key not in str(refused.value)
