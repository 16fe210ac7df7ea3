"""However many workers there are: the changes of one object are applied in the order in which they were accepted."""

import random
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.fleet import APPLY, Fleet, a_model, running_fleet

OBJECTS = [f"m-{number}" for number in range(5)]
CHANGES = 300


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Three processes in each worker, and so small batches that all of them are busy."""
    with running_fleet(tmp_path_factory, worker_processes="3", batch_size="3") as fleet:
        yield fleet


def test_two_workers_of_three_processes_that_are_killed_meanwhile_keep_the_order(fleet: Fleet) -> None:
    made = [fleet.accepted(a_model("new", model_id=model_id)) for model_id in OBJECTS]
    with fleet.another(like=APPLY) as other, ThreadPoolExecutor(6) as clients:
        asked = clients.map(lambda number: _renamed(fleet, number), range(CHANGES))
        for killed, task_id in enumerate(asked):
            made.append(task_id)
            if killed in (CHANGES // 3, CHANGES // 2):
                random.choice(fleet.parts[APPLY].children()).kill()
            if killed == CHANGES // 3 * 2:
                other.kill()
                other.start(fleet.environment)
        fleet.all_succeed(made)
    assert _applied(fleet) == _accepted(fleet)


def test_a_line_that_waits_keeps_no_other_waiting(fleet: Fleet) -> None:
    fleet.all_succeed([fleet.accepted(a_model("new", model_id=model_id)) for model_id in ("stuck", "free")])
    with fleet.database() as somebody:
        with fleet.without(APPLY):
            waiting = [_renamed(fleet, number, "stuck") for number in range(3)]
            somebody.execute("SELECT 1 FROM task WHERE task_id = %s FOR UPDATE", waiting[:1])
        fleet.all_succeed([_renamed(fleet, number, "free") for number in range(20)])
        assert {fleet.http.get(f"/tasks/{task_id}").json()["status"] for task_id in waiting} == {"queued"}
    fleet.all_succeed(waiting)


def _renamed(fleet: Fleet, number: int, model_id: str | None = None) -> str:
    path = f"/model/{model_id or OBJECTS[number % len(OBJECTS)]}/update"
    answer = fleet.http.patch(path, json={"model_name": f"name {number}"})
    assert answer.status_code == 202, answer.text
    return answer.json()["task_id"]


def _accepted(fleet: Fleet) -> dict[str, list[str]]:
    return _by_object(fleet, "SELECT object_id, task_id::text FROM task ORDER BY seq")


def _applied(fleet: Fleet) -> dict[str, list[str]]:
    return _by_object(fleet, "SELECT object_id, task_id::text FROM audit_entry ORDER BY position")


def _by_object(fleet: Fleet, query: str) -> dict[str, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for row in fleet.select(query):
        found[row["object_id"]].append(row["task_id"])
    return dict(found)
