import pytest

from shared.domain.tasks import Line, OpenTask


def line_of(is_stored: bool, *operations: str) -> Line:
    tasks = (OpenTask(task_id=name, operation=name, digest="", submitted_by="") for name in operations)
    return Line(is_stored=is_stored, waiting=tuple(tasks))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (line_of(False), False),
        (line_of(True), True),
        (line_of(False, "model.create"), True),
        (line_of(True, "model.delete"), False),
        (line_of(True, "model.delete", "model.create"), True),
        (line_of(False, "model.create", "model.delete"), False),
        (line_of(False, "model.create", "model.update"), True),
        (line_of(True, "model.update"), True),
        (line_of(False, "model.update"), False),
    ],
)
def test_an_object_exists_as_what_waits_will_leave_it(line: Line, expected: bool) -> None:
    assert line.will_exist() is expected
