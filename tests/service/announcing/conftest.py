"""One server for these tests, and for each of them a database that is ready to use."""

from collections.abc import Iterator

import pytest

from shared.store import migrations
from tests.support.servers import PostgresServer, start_postgres
from tests.support.workbench import Workbench, workbench_on

_TEMPLATE = "announcing_template"


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    server = start_postgres(tmp_path_factory.mktemp("announcing") / "postgres")
    try:
        migrations.upgrade(server.create_database(_TEMPLATE))
        yield server
    finally:
        server.stop()


@pytest.fixture
def database_url(server: PostgresServer, request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"t{abs(hash(request.node.nodeid)):x}"
    yield server.create_database(name, _TEMPLATE)
    server.drop_database(name)


@pytest.fixture
def bench(database_url: str) -> Iterator[Workbench]:
    with workbench_on(database_url) as bench:
        yield bench
