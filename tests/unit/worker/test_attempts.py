import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.attempts import FIRST_DELAY_S, LONGEST_DELAY_S, delay_s


@pytest.mark.parametrize(
    ("attempt", "longest"), [(0, 0.5), (1, 0.5), (2, 1), (3, 2), (4, 4), (8, LONGEST_DELAY_S), (100, LONGEST_DELAY_S)]
)
def test_the_wait_doubles_up_to_a_longest(attempt: int, longest: float) -> None:
    assert delay_s(attempt, 0.0) == longest / 2
    assert delay_s(attempt, 0.5) == longest * 0.75


@given(st.integers(0, 100), st.floats(0, 1, exclude_max=True))
def test_the_wait_is_never_nothing_and_never_too_long(attempt: int, jitter: float) -> None:
    assert FIRST_DELAY_S / 2 <= delay_s(attempt, jitter) <= LONGEST_DELAY_S
