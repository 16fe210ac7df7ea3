"""A short storm; `make chaos` and `make soak` are longer ones."""

import random

import pytest

from tests.chaos.storm import storm

SECONDS = 120


@pytest.mark.begins_first
@pytest.mark.timeout(600)
def test_a_storm_loses_doubles_and_reorders_nothing() -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")  # noqa: T201  (shown if it fails, also where there is no report)
    report = storm(seed, SECONDS)
    assert report.is_good, "\n".join(report.lines())
    assert report.faults
