"""A short storm; `make chaos` and `make soak` are longer ones."""

import random

import pytest

from tests.chaos.storm import storm

SECONDS = 60


@pytest.mark.xdist_group("storm")
@pytest.mark.timeout(400)
def test_a_storm_loses_doubles_and_reorders_nothing() -> None:
    report = storm(random.SystemRandom().randrange(10**6), SECONDS)
    assert report.is_good, "\n".join(report.lines())
    assert report.faults
