"""The API's side: nobody applies what it accepts until the test is over. Then everything must be appliable."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import Engine

from shared.encryption.keyring import Keyring
from tests.conftest import SettingsBuilder
from tests.service.api.serving import an_api
from tests.service.building import Side


@pytest.fixture(autouse=True)
def appliable(request: pytest.FixtureRequest, invariants: None, keyring: Keyring) -> Iterator[None]:
    """Whatever the API accepted succeeds at the first attempt."""
    uses = request.fixturenames
    engine: Engine | None = request.getfixturevalue("resident_engine") if "database_url" in uses else None
    yield
    if engine is not None:
        side = Side(engine, keyring)
        while side.applier.apply_due().task_ids:
            pass


@pytest_asyncio.fixture
async def client(a_settings: SettingsBuilder) -> AsyncIterator[httpx.AsyncClient]:
    async with an_api(a_settings()) as client:
        yield client
