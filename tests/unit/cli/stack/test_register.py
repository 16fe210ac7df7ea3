import os
from pathlib import Path

from cli.stack.register import Register, start_mark

_NO_PROCESS = 2**22 + 1  # above Linux's largest process id


def test_a_process_keeps_its_mark() -> None:
    assert start_mark(os.getpid()) == start_mark(os.getpid())


def test_no_process_has_no_mark() -> None:
    assert start_mark(_NO_PROCESS) is None


def test_nothing_was_left_behind_without_a_record(tmp_path: Path) -> None:
    assert Register(tmp_path / "processes").end_leftovers(tmp_path) == []


def test_a_process_that_took_over_the_id_of_a_child_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "processes").write_text(f"{os.getpid()} another-boot:1 9 api\n")
    assert Register(tmp_path / "processes").end_leftovers(tmp_path) == []


def test_a_torn_record_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    (tmp_path / "processes").write_text("12 boot:1 15 worker apply\n13 boot")
    assert [(entry.name, entry.pid) for entry in Register(tmp_path / "processes").read()] == [("worker apply", 12)]
