"""Who may import whom: the contracts in pyproject.toml, and what an import alone does not show."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

ROOT = Path(__file__).parents[2]
BUILDS_SQL = {"select", "insert", "update", "delete", "text", "func", "literal_column", "exec_driver_sql"}


def test_every_import_contract_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    status = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert status == EXIT_STATUS_SUCCESS, capsys.readouterr().out


def sql_builders_in(source: str) -> Iterator[int]:
    """Lines that take a builder of SQL from SQLAlchemy, or hand SQL to the driver."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.ImportFrom(module=str(module), names=names) if module.split(".")[0] == "sqlalchemy":
                if BUILDS_SQL & {alias.name for alias in names}:
                    yield node.lineno
            case ast.Import(names=names) if any(alias.name.split(".")[0] == "sqlalchemy" for alias in names):
                yield node.lineno
            case ast.Attribute(attr="exec_driver_sql"):
                yield node.lineno


@pytest.mark.parametrize("path", sorted([*(ROOT / "api").rglob("*.py"), *(ROOT / "worker").rglob("*.py")]), ids=str)
def test_processes_execute_statements_and_build_none(path: Path) -> None:
    assert list(sql_builders_in(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    ["from sqlalchemy import select", "from sqlalchemy.dialects.postgresql import insert", "import sqlalchemy as sa"],
)
def test_a_builder_of_sql_would_be_seen(source: str) -> None:
    assert list(sql_builders_in(source)) == [1]
