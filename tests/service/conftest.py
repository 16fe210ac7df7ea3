"""One side at a time against the real servers; afterwards the invariants, whatever the test was about."""

import logging
import traceback
from collections.abc import Iterator, MutableMapping
from typing import Any

import psycopg
import pytest
import redis
from sqlalchemy import Engine
from structlog.testing import capture_logs

from shared.audit import chain
from shared.encryption.keyring import Keyring
from shared.store import audit
from shared.store.engines import worker_engine
from tests.conftest import DATABASE, url_of
from tests.service.building import CANARY, Side
from tests.support.servers import PostgresServer, ValkeyServer

CHANGING_NOTHING = ("refused", "cancelled", "tested", "replayed")
"""What the audit log says of tasks that leave every object as it was; so does a change of the encryption key."""

LogEntry = MutableMapping[str, Any]


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[LogEntry]]:
    """Every event that was logged, before any masking."""
    with capture_logs() as entries:
        yield entries


@pytest.fixture(autouse=True)
def invariants(
    request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture, logged: list[LogEntry]
) -> Iterator[None]:
    """No task is left, the chain holds, every end was recorded once, and no secret was written down anywhere.

    Further secrets of a test stand in its module as ``CANARY``.
    """
    caplog.set_level(logging.INFO)
    uses = request.fixturenames
    postgres = request.getfixturevalue("postgres_server") if "database_url" in uses else None
    if postgres is not None:
        request.getfixturevalue("resident_engine")
    valkey = request.getfixturevalue("valkey_server") if "redis_url" in uses else None
    yield
    written = {"the log": "\n".join([*map(_told, logged), caplog.text])}
    if postgres is not None:
        _check_tasks(postgres, may_leave_open=request.node.get_closest_marker("leaves_open_tasks") is not None)
        _check_chain(request.getfixturevalue("resident_engine"))
        written |= _tables(postgres)
    if valkey is not None:
        written["Redis"] = _redis(valkey)
    for canary in {CANARY, getattr(request.module, "CANARY", CANARY)}:
        assert not [where for where, text in written.items() if canary in text], f"{canary} was written down"


@pytest.fixture(scope="session")
def resident_engine(postgres_server: PostgresServer) -> Iterator[Engine]:
    """For what is done after every test: making one anew takes longer than that."""
    engine = worker_engine(url_of(postgres_server, DATABASE), pool_size=1)
    yield engine
    engine.dispose()


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """As a worker process has it."""
    engine = worker_engine(database_url, pool_size=4)
    yield engine
    engine.dispose()


@pytest.fixture
def side(engine: Engine, keyring: Keyring) -> Side:
    """The worker's side, ready to apply what was accepted."""
    return Side(engine, keyring)


def _told(entry: LogEntry) -> str:
    error = entry.get("exc_info")
    return f"{entry}\n" + ("".join(traceback.format_exception(error)) if isinstance(error, BaseException) else "")


def _check_tasks(postgres: PostgresServer, *, may_leave_open: bool) -> None:
    with psycopg.connect(url_of(postgres, DATABASE), autocommit=True) as connection:
        left = connection.execute("SELECT task_id, status, last_error FROM task WHERE finished_at IS NULL").fetchall()
        assert may_leave_open or not left
        recorded_badly = connection.execute(
            "SELECT task_id, status, count(a.*) FROM task"
            " LEFT JOIN audit_entry a USING (task_id, object_type, object_id)"
            " GROUP BY task_id HAVING count(a.*) <> CASE WHEN task.finished_at IS NULL THEN 0"
            # What confirms that something is so already is not recorded; what goes together has an entry each.
            " WHEN task.status = 'succeeded' AND task.operation <> 'model.create' THEN count(a.*) ELSE 1 END"
        ).fetchall()
        assert not recorded_badly
        applied_badly = connection.execute(
            "SELECT coalesce(object_id, model_id) FROM model FULL JOIN ("
            "SELECT object_id, sum(CASE action WHEN 'created' THEN 1 WHEN 'deleted' THEN -1 ELSE 0 END) AS alive"
            " FROM audit_entry WHERE object_type = 'model' GROUP BY object_id) AS made ON object_id = model_id"
            " WHERE coalesce(alive, 0) <> CASE WHEN model_id IS NULL THEN 0 ELSE 1 END"
        ).fetchall()
        assert not applied_badly


def _check_chain(engine: Engine) -> None:
    with engine.begin() as connection:
        entries = [audit.from_row(row) for row in connection.execute(audit.in_order(limit=100_000))]
        position, digest, revision, model_count = connection.execute(audit.lock_head()).one()
        stored = connection.exec_driver_sql("SELECT count(*), (SELECT count(*) FROM model_revision) FROM model").one()
    verdict = chain.verify(entries, (position, digest))
    assert verdict.is_sound, verdict
    assert verdict.head == (position, digest)
    changes = [entry for entry in entries if entry.action not in CHANGING_NOTHING and entry.object_type != "encryption"]
    # What a task changes at once, such as a team and its models, is one revision.
    assert revision == len({entry.task_id for entry in changes})
    assert tuple(stored) == (model_count, sum(entry.object_type == "model" for entry in changes))


def _tables(postgres: PostgresServer) -> dict[str, str]:
    with psycopg.connect(url_of(postgres, DATABASE), autocommit=True) as connection:
        names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        return {f"table {name}": "\n".join(_rows(connection, name)) for (name,) in names}


def _rows(connection: psycopg.Connection[Any], table: str) -> list[str]:
    return [text for (text,) in connection.execute(f'SELECT given::text FROM "{table}" AS given')]  # pyright: ignore


def _redis(valkey: ValkeyServer) -> str:
    with redis.Redis.from_url(valkey.url) as client:
        read: dict[bytes, Any] = {
            b"string": client.get,
            b"list": lambda key: client.lrange(key, 0, -1),
            b"hash": client.hgetall,
            b"set": client.smembers,
            b"zset": lambda key: client.zrange(key, 0, -1),
        }
        return "\n".join(f"{key!r} {read[client.type(key)](key)!r}" for key in client.scan_iter())
