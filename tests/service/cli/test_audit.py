"""`pointsman audit …` against a log that somebody tampered with in the database itself."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine

from cli.audit import command
from shared.audit.chain import GENESIS_HASH, Head, link
from shared.audit.entries import AuditEntry
from shared.audit.export import read_entries, read_opening
from shared.audit.heads import SignedHead, line, sign
from shared.encryption.keyring import Keyring
from shared.encryption.signing import SigningKey, new_signing_key
from shared.outbox.addresses import Allowlist
from shared.runtime.settings import Secret
from shared.store import audit
from shared.store.rows import packed
from tests.conftest import DATABASE, url_of
from tests.service.building import Side, a_task, accept
from tests.support.receivers import Receiver
from tests.support.servers import PostgresServer
from worker.heads import HeadWriter
from worker.senders.connector import Connector

SEED = new_signing_key()
KEY = SigningKey.parse(SEED)

_ADDED = """
INSERT INTO audit_entry SELECT (jsonb_populate_record(a, jsonb_build_object('position', 11, 'entry_id', task_id))).*
FROM audit_entry a WHERE position = 10
"""

Run = Callable[..., Result]


@pytest.fixture
def run(database_url: str) -> Run:
    """Runs a command; what it needs to know is in its environment."""

    def run(*arguments: str, **environment: str) -> Result:
        given = {"POINTSMAN_DATABASE_URL": database_url}
        named = {f"POINTSMAN_{name.upper()}": value for name, value in environment.items()}
        return CliRunner().invoke(command, arguments, env=given | named)

    return run


@pytest.fixture
def grow(engine: Engine, keyring: Keyring) -> Callable[[int], None]:
    def grow(count: int) -> None:
        accept(engine, *(a_task(keyring) for _ in range(count)))
        Side(engine, keyring, batch_size=4).drain.drain()

    return grow


@pytest.fixture
def ten(grow: Callable[[int], None]) -> None:
    """A log of ten entries."""
    grow(10)


@pytest.fixture
def tamper(postgres: PostgresServer) -> Iterator[Callable[..., None]]:
    """As the database's superuser: the trigger is switched off for it. What was there comes back afterwards."""
    url = url_of(postgres, DATABASE).replace("pointsman@", "postgres@")
    with psycopg.connect(url, autocommit=True) as connection:
        user = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
        assert user == (True,)
        connection.execute("CREATE TABLE audit_kept AS SELECT * FROM audit_entry")
        connection.execute("CREATE TABLE head_kept AS SELECT * FROM head")
        connection.execute("SET session_replication_role = replica")
        yield lambda *statements: [connection.execute(statement) for statement in statements]
        connection.execute("DELETE FROM audit_entry")
        connection.execute("INSERT INTO audit_entry SELECT * FROM audit_kept")
        connection.execute("UPDATE head SET position = k.position, hash = k.hash FROM head_kept k")
        connection.execute("DROP TABLE audit_kept")
        connection.execute("DROP TABLE head_kept")


def test_a_whole_log_is_sound(run: Run, ten: None) -> None:
    result = run("verify")
    assert result.exit_code == 0
    assert result.output.startswith("sound: 10 entries, 1 to 10\nhead   10:")


def test_an_empty_log_is_sound(run: Run, database_url: str) -> None:
    assert run("verify").exit_code == 0


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE audit_entry SET actor = 'somebody else' WHERE position = 4", "entry 4 was changed"),
        ("UPDATE audit_entry SET recorded_at = recorded_at - interval '1 hour' WHERE position = 10", "entry 10 was"),
        ("DELETE FROM audit_entry WHERE position = 6", "entry 6 was removed"),
        ("DELETE FROM audit_entry WHERE position > 8", "entry 9 is missing"),
        ("DELETE FROM audit_entry", "entry 1 is missing"),
        (_ADDED, "entry 11 was added"),
    ],
)
def test_tampering_is_named_by_position(
    run: Run, ten: None, tamper: Callable[..., None], statement: str, told: str
) -> None:
    tamper(statement)
    result = run("verify")
    assert result.exit_code == 1
    assert f"NOT sound: {told}" in result.output


def test_an_exported_file_is_verified_without_the_database(run: Run, ten: None, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    assert run("export", "-o", str(path)).exit_code == 0
    result = run("verify", str(path), database_url="")
    assert result.exit_code == 0, result.output
    assert "sound: 10 entries" in result.output


def test_a_part_is_exported_and_verified(run: Run, ten: None, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    run("export", "--after", "6", "-o", str(path))
    assert "sound: 4 entries, 7 to 10" in run("verify", str(path), database_url="").output
    assert run("export", "--after", "11").exit_code != 0


def _changed(lines: list[bytes]) -> None:
    lines[4] = lines[4].replace(b'"action":"created"', b'"action":"deleted"')


def _with_more(lines: list[bytes]) -> None:
    lines[4] = lines[4].replace(b"{", b'{"approved_by":"the auditor",', 1)


def _swapped(lines: list[bytes]) -> None:
    lines[4], lines[5] = lines[5], lines[4]


def _without_one(lines: list[bytes]) -> None:
    del lines[4]


def _cut_off(lines: list[bytes]) -> None:
    del lines[8:]


def _cut_within(lines: list[bytes]) -> None:
    lines[-1] = lines[-1][:40]


def _doubled(lines: list[bytes]) -> None:
    lines.append(lines[-1])


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (_changed, "entry 4 was changed"),
        (_with_more, "line 5 is no audit entry"),
        (_swapped, "entry 4 is not where it was"),
        (_without_one, "entry 4 was removed"),
        (_cut_off, "entry 8 is missing"),
        (_cut_within, "line 11 is no audit entry"),
        (_doubled, "entry 10 was added"),
    ],
)
def test_a_damaged_file_is_found(
    run: Run, ten: None, tmp_path: Path, damage: Callable[[list[bytes]], None], told: str
) -> None:
    path = tmp_path / "log.jsonl"
    run("export", "-o", str(path))
    lines = path.read_bytes().splitlines(keepends=True)
    damage(lines)
    path.write_bytes(b"".join(lines))
    result = run("verify", str(path), database_url="")
    assert result.exit_code == 1
    assert told in result.output


def head_writer(engine: Engine, **places: Any) -> HeadWriter:
    return HeadWriter(
        engine, KEY, lambda: datetime.now(UTC), connector=Connector(allow=Allowlist.parse("127.0.0.0/8")), **places
    )


@contextmanager
def rewritten(engine: Engine, run_as_superuser: Callable[..., None]) -> Iterator[None]:
    """The whole chain from entry 3 on is forged so that it is sound in itself."""
    with engine.begin() as connection:
        entries = [audit.from_row(row) for row in connection.execute(audit.in_order())]
    entries[2] = msgspec.structs.replace(entries[2], actor="nobody")
    forged = link(GENESIS_HASH, entries)
    run_as_superuser("DELETE FROM audit_entry")
    with engine.begin() as connection:
        connection.execute(audit.append(), packed(forged))
        connection.exec_driver_sql(f"UPDATE head SET hash = '{forged[-1].hash}'")
    yield


def test_a_rewritten_chain_is_caught_by_a_signed_head(
    run: Run,
    grow: Callable[[int], None],
    ten: None,
    engine: Engine,
    tamper: Callable[..., None],
    tmp_path: Path,
    logged: list[Any],
) -> None:
    path = tmp_path / "heads"
    writer = head_writer(engine, file=path)
    writer.write()
    writer.write()
    signed = [msgspec.json.decode(text, type=SignedHead) for text in path.read_bytes().splitlines()]
    assert [one.position for one in signed] == [10]
    early = sign(_head_at(engine, 2), KEY, datetime.now(UTC))
    path.write_bytes(line(early) + path.read_bytes())
    assert run("verify", "--heads", str(path), "--public-key", KEY.public).exit_code == 0
    with rewritten(engine, tamper):
        assert run("verify").exit_code == 0
        result = run("verify", "--heads", str(path), "--public-key", KEY.public)
        assert result.exit_code == 1
        assert "entry 10 is not the one that was noted" in result.output
        assert "The first change lies after position 2." in result.output
        noted = f"10:{signed[0].hash}"
        assert run("verify", "--head", noted).exit_code == 1
        writer.write()
        assert [entry["event"] for entry in logged if entry["log_level"] == "error"] == ["audit.rewritten"]


def _head_at(engine: Engine, position: int) -> Head:
    with engine.begin() as connection:
        row = connection.execute(audit.hash_at(position)).one()
    return Head(row.position, row.hash)


def test_heads_are_appended_as_the_log_grows(
    ten: None, grow: Callable[[int], None], engine: Engine, tmp_path: Path
) -> None:
    path = tmp_path / "heads"
    head_writer(engine, file=path).write()
    grow(3)
    head_writer(engine, file=path).write()
    assert [json.loads(text)["position"] for text in path.read_text().splitlines()] == [10, 13]


def test_heads_are_posted_once(ten: None, engine: Engine) -> None:
    with Receiver() as receiver:
        writer = head_writer(engine, url=Secret(receiver.url))
        writer.write()
        writer.write()
        bodies = [json.loads(request.body) for request in receiver.requests]
    assert [body["position"] for body in bodies] == [10]


def test_a_forged_head_is_not_trusted(run: Run, ten: None, engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "heads"
    forger = SigningKey.parse(new_signing_key())
    path.write_bytes(line(sign(_head_at(engine, 10), forger, datetime.now(UTC))))
    result = run("verify", "--heads", str(path), "--public-key", KEY.public)
    assert result.exit_code == 1
    assert "not signed by the given key" in result.output


def test_the_export_carries_a_signed_head(run: Run, ten: None, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    run("export", "-o", str(path), audit_signing_key=SEED)
    first, *rest = path.read_bytes().splitlines()
    assert read_opening(first).signed_head is not None
    entries: list[AuditEntry] = list(read_entries(rest))
    assert len(entries) == 10
    result = run("verify", str(path), "--public-key", KEY.public, database_url="")
    assert "1 noted head(s) agree" in result.output


def test_what_it_cannot_work_with_ends_it_in_words(run: Run, database_url: str, tmp_path: Path) -> None:
    from shared.runtime.settings import Misconfigured

    (tmp_path / "heads").write_text("")
    for arguments, environment in (
        (("verify",), {"database_url": ""}),
        (("verify",), {"database_url": "postgresql://127.0.0.1:1/none"}),
        (("verify", "--heads", str(tmp_path / "heads")), {}),
        (("verify", "--public-key", "x"), {}),
        (("export",), {"audit_signing_key": "c2hvcnQ="}),
    ):
        assert isinstance(run(*arguments, **environment).exception, Misconfigured), arguments


def test_keygen_makes_a_usable_pair(run: Run) -> None:
    first, second = run("keygen").output.splitlines()
    key = SigningKey.parse(first.partition("=")[2])
    assert second.endswith(f"--public-key {key.public}")
