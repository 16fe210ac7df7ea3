"""The API's side: nobody applies what it accepts until the test is over. Then everything must be appliable."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import pytest_asyncio

from shared.encryption.keyring import Keyring
from shared.store.engines import worker_engine
from tests.conftest import DATABASE, SettingsBuilder, url_of
from tests.service.api.serving import an_api
from tests.service.building import Side


@pytest.fixture(autouse=True)
def appliable(request: pytest.FixtureRequest, invariants: None, keyring: Keyring) -> Iterator[None]:
    """Whatever the API accepted succeeds at the first attempt."""
    server = request.getfixturevalue("postgres_server")
    yield
    if "database_url" not in request.fixturenames:
        return
    engine = worker_engine(url_of(server, DATABASE))
    side = Side(engine, keyring)
    while side.applier.apply_due().task_ids:
        pass
    engine.dispose()


@pytest_asyncio.fixture
async def client(a_settings: SettingsBuilder) -> AsyncIterator[httpx.AsyncClient]:
    async with an_api(a_settings()) as client:
        yield client
