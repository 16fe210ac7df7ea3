"""The worker's parts in this process, on an empty database."""

from collections.abc import Iterator

import pytest

from tests.support.workbench import Workbench, workbench_on


@pytest.fixture
def bench(database_url: str) -> Iterator[Workbench]:
    with workbench_on(database_url) as bench:
        yield bench
