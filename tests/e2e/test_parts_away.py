"""Whichever part is away, stalled, emptied or killed: what was accepted is done, once and in order."""

import contextlib
import itertools
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.support.fleet import API, APPLY, DELIVER, SCHEDULE, Fleet, a_model, running_fleet, until

pytestmark = [pytest.mark.xdist_group("parts away"), pytest.mark.timeout(300)]

_CLIENTS = 8


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with running_fleet(tmp_path_factory, stall_after="1") as fleet:
        yield fleet


# --- the worker ---


def test_without_a_worker_changes_are_accepted_and_done_later_in_order(fleet: Fleet) -> None:
    with fleet.without(APPLY):
        sent = [fleet.accepted(a_model(f"in order {number}")) for number in range(30)]
        assert {fleet.http.get(f"/tasks/{task_id}").json()["status"] for task_id in sent} == {"queued"}
    fleet.all_succeed(sent)
    assert [entry["task_id"] for entry in fleet.audit() if entry["task_id"] in sent] == sent


def test_readiness_turns_red_while_due_work_makes_no_progress(fleet: Fleet) -> None:
    with fleet.without(APPLY):
        sent = fleet.accepted(a_model())
        red = until(lambda: _readiness(fleet, 503))
        assert (red["status"], red["parts"]["worker"]) == ("unhealthy", "no progress on due work")
        assert red["parts"]["database"] == "ready"
    fleet.all_succeed([sent])
    assert until(lambda: _readiness(fleet, 200))["parts"]["worker"] == "ready"


def test_a_worker_killed_under_load_is_made_up_for(fleet: Fleet) -> None:
    with _load(fleet) as sent:
        for _ in range(2):
            _grown_by(sent, 20)
            fleet.parts[APPLY].kill()
            _grown_by(sent, 20)
            fleet.start(APPLY)
    fleet.all_succeed(sent)


def test_a_child_killed_before_its_commit_is_made_up_for(fleet: Fleet) -> None:
    with fleet.held_before_commit():
        sent = [fleet.accepted(a_model()) for _ in range(10)]
        until(fleet.is_held)
        _kill_children(fleet)
    fleet.all_succeed(sent)


def test_a_child_killed_between_its_commit_and_its_announcement_is_made_up_for(fleet: Fleet) -> None:
    """Redis stalls meanwhile, so that the commit is known to nobody when the child dies."""
    with fleet.held_before_commit():
        sent = [fleet.accepted(a_model()) for _ in range(10)]
        until(fleet.is_held)
        fleet.valkey.freeze()
    with fleet.frozen(fleet.valkey):
        until(lambda: fleet.select("SELECT 1 FROM task WHERE task_id = %s AND status = 'succeeded'", sent[0]))
        _kill_children(fleet)
    fleet.all_succeed(sent)


def test_a_worker_whose_parent_is_killed_is_made_up_for(fleet: Fleet) -> None:
    with fleet.held_before_commit():
        sent = [fleet.accepted(a_model()) for _ in range(10)]
        until(fleet.is_held)
        fleet.parts[APPLY].kill_parent_only()
    fleet.start(APPLY)
    fleet.all_succeed(sent)


def test_a_worker_frozen_in_its_transaction_cannot_commit_when_it_wakes(fleet: Fleet) -> None:
    """PostgreSQL ends the session of the frozen one; another worker does its work; waking up, it finds none left."""
    with fleet.held_before_commit():
        with fleet.without(APPLY):
            sent = [fleet.accepted(a_model()) for _ in range(10)]
        until(fleet.is_held)
        fleet.parts[APPLY].freeze()
    until(fleet.is_stuck_in_transaction)
    with fleet.another(like=APPLY):
        before = fleet.all_succeed(sent)
        fleet.parts[APPLY].thaw()
        until(lambda: "batch.broke_off" in fleet.parts[APPLY].logged, lambda: fleet.told)
    assert fleet.all_succeed(sent) == before


def test_all_workers_may_be_stopped_in_good_order_under_load(fleet: Fleet) -> None:
    """As a deploy does: no attempt is held against a task."""
    with _load(fleet) as sent:
        _grown_by(sent, 20)
        fleet.stop(APPLY, DELIVER, SCHEDULE)
        _grown_by(sent, 20)
        for name in (APPLY, DELIVER, SCHEDULE):
            fleet.start(name)
    assert {task["attempt"] for task in fleet.all_succeed(sent)} == {1}


def test_a_worker_asked_to_end_ends_what_it_has_begun_and_nothing_else(fleet: Fleet) -> None:
    """In its grace, without a KILL, and without an attempt more."""
    with fleet.held_before_commit():
        sent = [fleet.accepted(a_model()) for _ in range(10)]
        until(fleet.is_held)
        ending = threading.Thread(target=fleet.stop, args=(APPLY,))
        ending.start()
        until(lambda: "Warm shutdown" in fleet.parts[APPLY].logged, lambda: fleet.told)
        waiting = fleet.accepted(a_model("comes while it ends"))
    ending.join()
    assert fleet.parts[APPLY].exit_code == 0
    assert [fleet.http.get(f"/tasks/{task_id}").json()["attempt"] for task_id in sent] == [1] * 10
    fleet.start(APPLY)
    assert fleet.ended(waiting)["attempt"] == 1


# --- Redis ---


def test_without_redis_changes_are_accepted_and_done_when_it_is_back(fleet: Fleet) -> None:
    with fleet.away(fleet.valkey):
        sent = [fleet.accepted(a_model()) for _ in range(20)]
        degraded = until(lambda: _readiness(fleet, 200, 503))
        assert degraded["parts"]["redis"] == "unreachable"
    fleet.all_succeed(sent)


def test_a_stalled_redis_holds_up_no_client(fleet: Fleet) -> None:
    with fleet.frozen(fleet.valkey):
        sent = [fleet.accepted(a_model()) for _ in range(20)]
    fleet.all_succeed(sent)


def test_a_full_redis_holds_up_no_client_and_work_goes_on_when_it_has_room(fleet: Fleet) -> None:
    with fleet.full_redis():
        sent = [fleet.accepted(a_model()) for _ in range(20)]
        until(lambda: "ring.failed" in fleet.parts[API].logged)
    fleet.all_succeed(sent)


def test_a_worker_outlives_a_redis_that_is_full(fleet: Fleet) -> None:
    """A message can be taken then, and not be marked as taken, which by default is the end of a worker."""
    running = fleet.parts[APPLY].pid
    with contextlib.ExitStack() as full:
        with fleet.held_before_commit(), fleet.redis() as client:
            sent = [fleet.accepted(a_model()) for _ in range(10)]
            until(lambda: fleet.is_held() and client.llen("pointsman.apply"))
            full.enter_context(fleet.full_redis())
        until(lambda: "OutOfMemoryError" in fleet.parts[APPLY].logged, lambda: fleet.told)
    fleet.all_succeed(sent)
    assert fleet.parts[APPLY].is_running
    assert fleet.parts[APPLY].pid == running


def test_a_wiped_redis_loses_nothing(fleet: Fleet) -> None:
    with fleet.without(APPLY, SCHEDULE):
        sent = _submit(fleet, 200)
        with fleet.redis() as client:
            until(lambda: client.llen("pointsman.apply"))
            client.flushall()
    fleet.all_succeed(sent)


def test_redis_restarted_while_tasks_flow_loses_nothing(fleet: Fleet) -> None:
    with _load(fleet) as sent:
        for end in (fleet.valkey.stop, fleet.valkey.kill):
            _grown_by(sent, 20)
            end()
            _grown_by(sent, 20)
            fleet.valkey.restart()
    fleet.all_succeed(sent)


# --- PostgreSQL ---


def test_postgres_restarted_under_load_loses_nothing_that_was_accepted(fleet: Fleet) -> None:
    running = {name: part.pid for name, part in fleet.parts.items()}
    refused: list[httpx.Response] = []
    with _load(fleet, refused) as sent:
        for end in (fleet.postgres.stop, fleet.postgres.kill):
            _grown_by(sent, 20)
            before = len(refused)
            end()
            until(lambda before=before: len(refused) > before)
            fleet.postgres.restart()
            _grown_by(sent, 20)
    fleet.all_succeed(sent)
    assert {response.status_code for response in refused} == {503}
    assert {response.json()["type"] for response in refused} == {"urn:pointsman:problem:unavailable"}
    assert all(response.headers["retry-after"] for response in refused)
    assert {name: part.pid for name, part in fleet.parts.items()} == running
    assert all(part.is_running for part in fleet.parts.values())


def test_without_postgres_every_answer_says_so(fleet: Fleet) -> None:
    sent = fleet.accepted(a_model())
    with fleet.away(fleet.postgres):
        refused = fleet.submit(a_model())
        assert (refused.status_code, refused.json()["error"]["type"]) == (503, "no_db_connection")
        assert fleet.http.get(f"/tasks/{sent}").status_code == 503
        assert fleet.http.get("/model/info").status_code == 503
        red = until(lambda: _readiness(fleet, 503))
        assert red["parts"]["database"] == "unreachable"
        assert fleet.is_alive()
    fleet.all_succeed([sent])


# --- the API ---


def test_the_api_killed_right_after_it_accepted_loses_nothing(fleet: Fleet) -> None:
    sent = _submit(fleet, 40)
    fleet.parts[API].kill()
    fleet.start(API)
    fleet.all_succeed(sent)


def test_the_api_killed_under_load_loses_nothing_and_repeats_are_recognised(fleet: Fleet) -> None:
    """Who was not answered asks again with the same key, and has one model in the end."""
    keys = [f"killed/{number}" for number in range(60)]
    answered: dict[str, str] = {}

    def ask(key: str) -> None:
        try:
            response = fleet.submit(a_model(key), idempotency_key=key)
        except httpx.TransportError:
            return
        answered[key] = response.json()["task_id"]

    with ThreadPoolExecutor(_CLIENTS) as clients:
        asked = clients.map(ask, keys)
        until(lambda: len(answered) > 10)
        fleet.parts[API].kill()
        list(asked)
    fleet.start(API)
    first = dict(answered)
    for key in keys:
        ask(key)
    assert first.items() <= answered.items()
    fleet.all_succeed(answered.values())
    assert sum(entry["model_name"] in keys for entry in fleet.models().values()) == len(keys)


def test_everything_killed_at_once_right_after_accepting_loses_nothing(fleet: Fleet) -> None:
    sent = _submit(fleet, 40)
    fleet.valkey.kill()
    for part in fleet.parts.values():
        part.kill()
    fleet.postgres.kill()
    fleet.postgres.restart()
    fleet.valkey.restart()
    fleet.make_whole()
    fleet.all_succeed(sent)


def _readiness(fleet: Fleet, *wanted: int) -> Any:
    response = httpx.get(f"{fleet.url}/health/readiness", timeout=30, trust_env=False)
    return response.json() if response.status_code in wanted else None


def _submit(fleet: Fleet, count: int) -> list[str]:
    with ThreadPoolExecutor(_CLIENTS) as clients:
        return list(clients.map(lambda number: fleet.accepted(a_model(f"one of many {number}")), range(count)))


@contextlib.contextmanager
def _load(fleet: Fleet, refused: list[httpx.Response] | None = None) -> Generator[list[str]]:
    """A steady stream of submissions; gives the ids of what was accepted, and keeps what was not."""
    accepted: list[str] = []
    over = threading.Event()

    def submit_on() -> None:
        for number in itertools.count():
            if over.wait(0.02):
                return
            response = fleet.submit(a_model(f"load {number}"))
            if response.status_code == 202:
                accepted.append(response.json()["task_id"])
            elif refused is not None:
                refused.append(response)
            else:
                raise AssertionError(response.text)

    with ThreadPoolExecutor(2) as clients:
        streams = [clients.submit(submit_on) for _ in range(2)]
        try:
            yield accepted
        finally:
            over.set()
    for stream in streams:
        stream.result()


def _grown_by(sent: list[str], count: int) -> None:
    enough = len(sent) + count
    until(lambda: len(sent) >= enough, lambda: f"{len(sent)} of {enough} were accepted")


def _kill_children(fleet: Fleet) -> None:
    for child in fleet.parts[APPLY].children():
        child.kill()
