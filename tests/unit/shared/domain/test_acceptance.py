from collections.abc import Callable

import pytest

from shared.domain.acceptance import Known, Submission
from shared.domain.decision import ObjectRef
from shared.domain.problems import IdempotencyKeyReused, ModelExists
from shared.domain.tasks import Line, Lines, OpenTask

REF = ObjectRef("model", "m-1")


def must_not_exist(lines: Lines) -> None:
    if lines[REF].will_exist():
        raise ModelExists("m-1")


def a_submission(
    task_id: str = "t-new",
    *,
    key: str | None = None,
    digest: str = "same",
    user: str = "u-1",
    check: Callable[[Lines], None] = must_not_exist,
) -> Submission:
    return Submission(
        task=OpenTask(task_id=task_id, operation="model.create", digest=digest, submitted_by=user),
        ref=REF,
        idempotency_key=key,
        check=check,
        is_same=lambda earlier: earlier == digest,
    )


def waiting(operation: str = "model.create", digest: str = "same", user: str = "u-1") -> Line:
    earlier = OpenTask(task_id="t-old", operation=operation, digest=digest, submitted_by=user)
    return Line(is_stored=operation != "model.create", waiting=(earlier,))


def test_something_new_is_a_task_of_its_own() -> None:
    assert Known({}, {}).accept(a_submission()) == "t-new"


def test_the_same_again_while_it_waits_is_the_earlier_task() -> None:
    assert Known({}, {REF: waiting()}).accept(a_submission()) == "t-old"


@pytest.mark.parametrize("line", [waiting(digest="other"), waiting(user="u-2"), Line(is_stored=True)])
def test_another_one_for_the_same_object_is_checked(line: Line) -> None:
    with pytest.raises(ModelExists):
        Known({}, {REF: line}).accept(a_submission())


def test_a_create_behind_a_waiting_delete_is_a_task_of_its_own() -> None:
    assert Known({}, {REF: waiting("model.delete")}).accept(a_submission()) == "t-new"


def test_a_key_names_its_task_whatever_has_become_of_the_object() -> None:
    known = Known({("u-1", "k"): ("t-old", "same")}, {REF: Line(is_stored=True)})
    assert known.accept(a_submission(key="k")) == "t-old"


def test_a_key_used_with_another_request_is_refused() -> None:
    known = Known({("u-1", "k"): ("t-old", "other")}, {})
    with pytest.raises(IdempotencyKeyReused):
        known.accept(a_submission(key="k"))


def test_keys_belong_to_their_user() -> None:
    known = Known({("u-2", "k"): ("t-old", "other")}, {})
    assert known.accept(a_submission(key="k")) == "t-new"


def test_what_one_commit_accepts_is_known_to_the_next_of_the_same_commit() -> None:
    known = Known({}, {})
    assert known.accept(a_submission("t-1", key="k")) == "t-1"
    assert known.accept(a_submission("t-2", key="k")) == "t-1"
    assert known.accept(a_submission("t-3")) == "t-1"
    with pytest.raises(IdempotencyKeyReused):
        known.accept(a_submission("t-4", key="k", digest="other"))
    with pytest.raises(ModelExists):
        known.accept(a_submission("t-5", digest="other"))


def test_what_was_refused_leaves_no_trace() -> None:
    known = Known({}, {REF: Line(is_stored=True)})
    with pytest.raises(ModelExists):
        known.accept(a_submission("t-1", key="k"))
    with pytest.raises(ModelExists):
        known.accept(a_submission("t-2", key="k"))
