from itertools import accumulate, repeat

from cli.stack.supervisor import next_delay_s


def test_a_program_that_keeps_dying_young_is_started_less_and_less_often() -> None:
    delays = list(accumulate(repeat(0.5, 8), next_delay_s, initial=0.0))[1:]
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_a_program_that_lived_long_is_started_again_at_once() -> None:
    assert next_delay_s(5.0, lived_s=10.0) == 0.1
