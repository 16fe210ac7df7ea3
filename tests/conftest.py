"""What every test can have: real servers, a clean database, settings. And what no test can do: reach the network."""

import socket
import sys
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from sqlalchemy import make_url

from shared.encryption.keyring import Keyring, new_key
from shared.runtime.settings import Settings, load
from shared.store import migrations
from tests.support.servers import PostgresServer, ValkeyServer, start_postgres, start_valkey

MASTER_KEY = "sk-for-tests-4f1d8a6c0b7e"
ENCRYPTION_KEYS = new_key("test")

TEMPLATE = "template_migrated"
DATABASE = "a_test"
_EMPTIED = """
DELETE FROM delivery_attempt; DELETE FROM delivery; DELETE FROM event; DELETE FROM signing_secret;
DELETE FROM api_key; DELETE FROM "user"; DELETE FROM team; DELETE FROM webhook_endpoint; DELETE FROM unreadable_secret;
DELETE FROM destination WHERE destination_id <> 'unsorted';
DELETE FROM model; DELETE FROM model_revision; DELETE FROM credential; DELETE FROM task; DELETE FROM seal_count;
UPDATE head SET position = 0, hash = repeat('0', 64), revision = 0, model_count = 0;
-- The table's owner can switch the trigger off; that is why docs/audit.md wants another role for the processes.
ALTER TABLE audit_entry DISABLE TRIGGER USER; DELETE FROM audit_entry; ALTER TABLE audit_entry ENABLE TRIGGER USER
"""

SettingsBuilder = Callable[..., Settings]


class LeftTheMachine(RuntimeError):
    """A test tried to reach something that is not on this machine."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "leaves_open_tasks(reason): says why tasks have not ended when the test has")
    config.addinivalue_line("markers", "begins_first: takes so long that all others should be done beside it")
    sys.addaudithook(_stay_on_this_machine)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("begins_first") is None)


def _stay_on_this_machine(event: str, arguments: tuple[Any, ...]) -> None:
    """Sees every connection and lookup of this process, libraries written in C excepted."""
    if event == "socket.connect":
        connection, address = arguments
        # Connecting a datagram socket sends nothing; it is how the connector asks for a route.
        if isinstance(address, tuple) and connection.type != socket.SOCK_DGRAM and not _is_loopback(address[0]):
            raise LeftTheMachine(f"connect to {address[0]}")
    elif event == "socket.getaddrinfo" and not _is_known(arguments[0]):
        raise LeftTheMachine(f"look up {arguments[0]}")


def _is_loopback(host: str) -> bool:
    return host == "localhost" or ip_address(host).is_loopback


def _is_known(host: str | bytes | None) -> bool:
    if host in (None, "", b"", "localhost", b"localhost"):
        return True
    try:
        ip_address(host.decode() if isinstance(host, bytes) else str(host))
    except ValueError:
        return False
    return True


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """One for each xdist worker, started by the first test that needs it, with a database to copy."""
    server = start_postgres(_folder(tmp_path_factory, "postgres"))
    migrations.upgrade(server.create_database(TEMPLATE))
    server.create_database(DATABASE, template=TEMPLATE)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """One for each xdist worker."""
    server = start_valkey(_folder(tmp_path_factory, "valkey"))
    yield server
    server.stop()


@pytest.fixture
def postgres(postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    """May be stopped and frozen: it runs again for the next test."""
    yield postgres_server
    postgres_server.thaw()
    if not _is_running(postgres_server):
        postgres_server.restart()


@pytest.fixture
def valkey(valkey_server: ValkeyServer) -> Iterator[ValkeyServer]:
    """May be stopped and frozen: it runs again for the next test."""
    yield valkey_server
    valkey_server.thaw()
    if not _is_running(valkey_server):
        valkey_server.restart()


@pytest.fixture
def database_url(postgres: PostgresServer) -> str:
    """An empty, migrated database."""
    url = url_of(postgres, DATABASE)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_EMPTIED)
    return url


@pytest.fixture
def redis_url(valkey: ValkeyServer) -> str:
    """An empty Redis database."""
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    return valkey.url


@pytest.fixture
def empty_database_url(postgres: PostgresServer) -> Iterator[str]:
    """A database of the test's own, without any table."""
    yield postgres.create_database("empty")
    postgres.drop_database("empty")


@pytest.fixture
def database(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection of the test's own, to look into the tables and to play another worker. Commits at once."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="session")
def keyring() -> Keyring:
    return Keyring.parse(ENCRYPTION_KEYS)


@pytest.fixture
def a_settings(database_url: str, redis_url: str) -> SettingsBuilder:
    """Builds settings for both servers; takes fields as they would be written in variables."""

    def build(**fields: str) -> Settings:
        environment = {
            "POINTSMAN_DATABASE_URL": database_url,
            "POINTSMAN_REDIS_URL": redis_url,
            "POINTSMAN_MASTER_KEY": MASTER_KEY,
            "POINTSMAN_ENCRYPTION_KEYS": ENCRYPTION_KEYS,
        }
        return load(environment | {f"POINTSMAN_{name.upper()}": value for name, value in fields.items()})

    return build


def _folder(factory: pytest.TempPathFactory, name: str) -> Path:
    return factory.mktemp(name, numbered=True)


def _is_running(server: PostgresServer | ValkeyServer) -> bool:
    return server._process.exit_code() is None


def url_of(server: PostgresServer, database: str) -> str:
    return make_url(server.url).set(database=database).render_as_string(hide_password=False)
