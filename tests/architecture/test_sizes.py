"""The ratchet: what is short stays short."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for package in ("api", "worker", "shared", "cli") for path in (ROOT / package).rglob("*.py"))

LONGEST_FUNCTION = 60
LONG_FUNCTION = 40
LONG_FUNCTIONS_SHARE = 0.02
LONGEST_FILE = 500
BROAD_EXCEPTS = 5
"""The outermost loops: of the bell's thread, of a group commit, of a drain, of an attempt, of a call."""
MIGRATIONS = ROOT / "shared" / "store" / "migrations" / "versions"


def functions() -> dict[str, int]:
    """Lines of every function, but not of migrations, which list columns."""
    lengths: dict[str, int] = {}
    for path in SOURCES:
        if path.is_relative_to(MIGRATIONS):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                name = f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
                lengths[name] = (node.end_lineno or node.lineno) - node.lineno + 1
    return lengths


def broad_excepts() -> list[str]:
    found: list[str] = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = (
                [item.id for item in ast.walk(node.type) if isinstance(item, ast.Name)]
                if isinstance(node, ast.ExceptHandler) and node.type is not None
                else []
            )
            is_bare = isinstance(node, ast.ExceptHandler) and node.type is None
            if is_bare or "Exception" in names:
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")  # pyright: ignore
    return found


def test_no_function_is_too_long() -> None:
    assert {name: lines for name, lines in functions().items() if lines > LONGEST_FUNCTION} == {}


def test_hardly_any_function_is_long() -> None:
    lengths = functions()
    long = {name: lines for name, lines in lengths.items() if lines > LONG_FUNCTION}
    assert len(long) <= LONG_FUNCTIONS_SHARE * len(lengths), long


def test_no_file_is_too_long() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FILE} == {}


def test_everything_is_caught_in_outermost_loops_only() -> None:
    found = broad_excepts()
    assert len(found) <= BROAD_EXCEPTS, found
