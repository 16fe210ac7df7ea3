"""`pointsman keys …` against a database with values of several keys."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine

from cli.keys import command
from shared.encryption.keyring import MOST_SEALS, Keyring, new_key
from shared.encryption.sealing import Binding, seal_text
from shared.runtime.settings import Misconfigured
from shared.store import sealed
from tests.service.building import Side, a_task, accept

OLD, NEW = new_key("old"), new_key("new")

Run = Callable[..., Result]


@pytest.fixture(scope="session")
def keyring() -> Keyring:
    return Keyring.parse(OLD)


@pytest.fixture
def run(database_url: str) -> Run:
    def run(*arguments: str, **environment: str) -> Result:
        given = {"POINTSMAN_DATABASE_URL": database_url}
        named = {f"POINTSMAN_{name.upper()}": value for name, value in environment.items()}
        return CliRunner().invoke(command, arguments, env=given | named)

    return run


@pytest.fixture
def model_id(engine: Engine, keyring: Keyring) -> str:
    row = a_task(keyring)
    accept(engine, row)
    Side(engine, keyring).drain.drain()
    return row.object_id


def test_it_says_which_key_is_still_needed(run: Run, model_id: str) -> None:
    result = run("verify", encryption_keys=f"{NEW},{OLD}")
    assert result.exit_code == 0
    assert "key 'new': 0 values; seals what is new" in result.output
    # The model and its version hold two values each; the task's result keeps only what is not named like a secret.
    assert "key 'old': 5 values; still needed" in result.output


def test_a_key_that_sealed_nothing_can_go(run: Run, model_id: str) -> None:
    assert "key 'new': 0 values; can go" in run("verify", encryption_keys=f"{OLD},{NEW}").output


def test_idempotency_keys_hold_a_key_back(run: Run, model_id: str, database: psycopg.Connection[Any]) -> None:
    database.execute("UPDATE task SET digest = 'new:00', idempotency_key = 'k'")
    output = run("verify", encryption_keys=f"{OLD},{NEW}").output
    assert "can go once nobody repeats a request with one of 1 idempotency keys" in output


def test_a_missing_key_and_a_moved_value_are_listed(
    run: Run, model_id: str, keyring: Keyring, database: psycopg.Connection[Any]
) -> None:
    moved = seal_text(keyring, Binding("model", "another"), "x", ("litellm_params", "api_base"))
    lost = seal_text(Keyring.parse(new_key("lost")), Binding("model", model_id), "x", ("litellm_params", "model"))
    database.execute(
        "UPDATE model SET litellm_params ="
        " litellm_params || jsonb_build_object('api_base', %s::text, 'model', %s::text)",
        (moved, lost),
    )
    result = run("verify", encryption_keys=OLD)
    assert result.exit_code == 1
    assert f"unreadable: model {model_id}: model '{model_id}': litellm_params.api_base cannot be read" in result.output
    assert "the keyring has no key 'lost'" in result.output
    assert "key 'lost': 1 values; not in the keyring" in result.output
    assert "2 values cannot be read." in result.output


def test_a_worn_key_is_told(run: Run, model_id: str, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sealed.add_seals("old", MOST_SEALS // 8))
        assert connection.execute(sealed.add_seals("old", 1)).scalar_one() == MOST_SEALS // 8 + 1
    assert "warning: 'old' has sealed" in run("verify", encryption_keys=OLD).output


def test_keys_are_read_from_a_file_one_to_a_line(run: Run, model_id: str, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"{NEW}\n{OLD}\n")
    assert run("verify", encryption_keys_file=str(path)).exit_code == 0


@pytest.mark.parametrize("keys", ["", "old:c2hvcnQ="])
def test_without_a_usable_key_it_ends_in_words(run: Run, database_url: str, keys: str) -> None:
    assert isinstance(run("verify", encryption_keys=keys).exception, Misconfigured)


def test_a_generated_key_can_be_used(run: Run) -> None:
    assert Keyring.parse(run("generate", "k2").output.strip()).key_ids == ("k2",)
    assert run("generate", "not an id").exit_code == 2


def test_every_column_that_says_it_is_sealed_is_walked() -> None:
    from shared.store.tables import metadata

    walked = {(place.name, column) for place in sealed.SEALED_TABLES for column in place.columns}
    for table in metadata.tables.values():
        for column in table.columns:
            if "sealed" in (column.comment or "").lower():
                assert (table.name, column.name) in walked | {("seal_count", "seals")}
