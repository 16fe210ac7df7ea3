import msgspec

from shared.domain.problems import FieldError, InvalidRequest, ModelExists, Problem, TaskNotFound


def test_a_refusal_is_a_problem_as_a_value() -> None:
    refusal = InvalidRequest(FieldError("a.b", "is required"), FieldError("c", "must be a text"))
    problem = refusal.problem()
    assert (problem.code, problem.param) == ("invalid_request", "a.b")
    assert problem.message == "a.b: is required; c: must be a text"
    assert [error.field for error in problem.errors] == ["a.b", "c"]


def test_a_problem_can_be_stored_and_read_again() -> None:
    problem = InvalidRequest(FieldError("a", "is required")).problem()
    assert msgspec.convert(msgspec.json.decode(msgspec.json.encode(problem)), Problem) == problem


def test_what_a_problem_does_not_say_is_not_stored() -> None:
    assert msgspec.to_builtins(TaskNotFound().problem()) == {"code": "task_not_found", "message": "Task not found."}


def test_a_refusal_names_the_field_to_blame() -> None:
    assert ModelExists("m").problem().param == "model_info.id"
