"""What holds for every story that runs a fleet."""

from collections.abc import Iterator

import pytest

from tests.support.fleet import Fleet


@pytest.fixture(autouse=True)
def invariants_of_the_fleet(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test: nothing lost, nothing doubled, nothing shown, by whatever the test did."""
    yield
    if "fleet" in request.fixturenames:
        fleet: Fleet = request.getfixturevalue("fleet")
        fleet.check_invariants()
