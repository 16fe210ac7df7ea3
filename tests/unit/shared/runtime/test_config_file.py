"""The file on disk: read again when it changes, kept while it is broken."""

from pathlib import Path
from typing import Any

import pytest

from shared.runtime.config_file import MAX_BYTES, ConfigFile


def _parse(documents: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: value for document in documents for name, value in document.items()}


def _file(path: Path, text: str, look_every_s: float = 0) -> ConfigFile[Any]:
    path.write_text(text, encoding="utf-8")
    return ConfigFile(str(path), _parse, look_every_s)


def test_no_path_is_no_file() -> None:
    none = ConfigFile[Any]("", _parse)
    assert (none.models(), none.ids(), none.state(), none.problem) == ({}, frozenset(), "ready", None)


def test_what_it_includes_comes_after_it_wherever_that_lies(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.yaml").write_text("include: [c.yaml]\nb: 2")
    (tmp_path / "sub" / "c.yaml").write_text("c: 3")
    assert list(_file(tmp_path / "a.yaml", "include: [sub/b.yaml]\na: 1").models()) == ["a", "b", "c"]


def test_a_change_anywhere_is_seen(tmp_path: Path) -> None:
    included = tmp_path / "b.yaml"
    included.write_text("b: 1")
    file = _file(tmp_path / "a.yaml", "include: [b.yaml]")
    assert file.models() == {"b": 1}
    included.write_text("b: 22")
    assert file.models() == {"b": 22}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [", "not valid YAML at line"),
        ("- a", "must be a mapping"),
        ("include: b.yaml", "must be a list"),
        ("include: [missing.yaml]", "No such file"),
        ("include: [a.yaml]", "included twice, or by itself"),
        ("include: [./x/../a.yaml]", "included twice, or by itself"),
        ("a: 2026-13-45", ""),
        ("a: !!python/object/apply:os.getcwd []", "not valid YAML"),
    ],
)
def test_the_last_good_one_stays_while_it_is_broken(tmp_path: Path, text: str, problem: str) -> None:
    file = _file(tmp_path / "a.yaml", "good: 1")
    assert file.models() == {"good": 1}
    (tmp_path / "a.yaml").write_text(text)
    assert file.models() == {"good": 1}
    assert problem in (file.problem or "")
    assert file.state().startswith("broken")
    (tmp_path / "a.yaml").write_text("better: 1")
    assert file.ids() == {"better"}
    assert file.state() == "ready"


def test_what_is_mended_in_an_included_file_is_seen(tmp_path: Path) -> None:
    file = _file(tmp_path / "a.yaml", "a: 1")
    assert file.ids() == {"a"}
    (tmp_path / "a.yaml").write_text("include: [new.yaml]")
    assert file.ids() == {"a"}
    (tmp_path / "new.yaml").write_text("{")
    assert file.ids() == {"a"}
    (tmp_path / "new.yaml").write_text("b: 1")
    assert file.ids() == {"b"}


def test_a_file_that_goes_away_leaves_what_was_read(tmp_path: Path) -> None:
    file = _file(tmp_path / "a.yaml", "a: 1")
    assert file.ids() == {"a"}
    (tmp_path / "a.yaml").unlink()
    assert file.ids() == {"a"}
    assert file.problem


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    file = _file(tmp_path / "a.yaml", "a: 1")
    with (tmp_path / "a.yaml").open("ab") as grown:
        grown.truncate(MAX_BYTES + 1)
    assert file.ids() == frozenset()
    assert "larger than" in (file.problem or "")


def test_a_document_that_contains_itself_is_a_fault(tmp_path: Path) -> None:
    def walk(value: Any) -> None:
        for item in value.values():
            walk(item)

    (tmp_path / "a.yaml").write_text("a: &a {b: *a}")
    file = ConfigFile[Any](str(tmp_path / "a.yaml"), lambda documents: walk(documents[0]) or {})
    assert file.ids() == frozenset()
    assert file.problem == "contains itself"


def test_it_looks_at_most_once_in_a_while(tmp_path: Path) -> None:
    file = _file(tmp_path / "a.yaml", "a: 1", look_every_s=3600)
    assert file.ids() == {"a"}
    (tmp_path / "a.yaml").write_text("b: 1")
    assert file.ids() == {"a"}
