"""`pointsman up` from the terminal: what it prints, what it leaves behind, what it finds again."""

import os
import pwd
import re
import signal
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from cli.stack.privileges import Owner
from tests.e2e.stacks import Stack, still_running, strays, wait_until

pytestmark = pytest.mark.timeout(300)

_on_one_stack = pytest.mark.xdist_group("one embedded stack")

StartStack = Callable[..., Stack]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One that is up, for tests that leave it as they found it."""
    stack = Stack(tmp_path_factory.mktemp("stack") / "data")
    try:
        yield stack.wait_until_ready()
    finally:
        _end_all([stack])


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartStack]:
    """Starts stacks, and sees that no process of any is left after the test."""
    stacks: list[Stack] = []

    def start_stack(name: str = "data", **options: object) -> Stack:
        data_dir = options.pop("data_dir", tmp_path / name)
        stacks.append(Stack(data_dir, **options))  # type: ignore[arg-type]
        return stacks[-1]

    yield start_stack
    _end_all(stacks)


def _end_all(stacks: list[Stack]) -> None:
    for stack in stacks:
        if stack.process.poll() is None:
            stack.end()
    for data_dir in {stack.data_dir for stack in stacks}:
        wait_until(
            lambda data_dir=data_dir: not strays(data_dir), lambda data_dir=data_dir: "\n".join(strays(data_dir))
        )


def _client(stack: Stack) -> httpx.Client:
    return httpx.Client(base_url=stack.url, headers={"Authorization": f"Bearer {stack.master_key}"}, timeout=30)


def _add_model(stack: Stack, name: str) -> httpx.Response:
    body = {"model_name": name, "litellm_params": {"model": "openai/gpt-4o", "api_key": "sk-of-a-provider"}}
    with _client(stack) as client:
        return client.post("/model/new", json=body, headers={"Prefer": "wait=20"})


def _model_names(stack: Stack) -> list[str]:
    with _client(stack) as client:
        return [model["model_name"] for model in client.get("/model/info").raise_for_status().json()["data"]]


@_on_one_stack
def test_it_prints_where_it_is_the_key_and_a_line_that_works(stack: Stack) -> None:
    assert stack.url in stack.printed
    assert str(stack.data_dir / "logs") in stack.printed
    command = re.search(r"^ *curl .*$", stack.printed, re.MULTILINE)
    assert command, stack.printed
    line = command[0].replace("curl ", "curl -s -o /dev/null -w '%{http_code}' ", 1)
    done = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == "200", stack.told


@_on_one_stack
def test_no_encryption_key_is_printed_or_logged(stack: Stack) -> None:
    key = (stack.data_dir / "encryption_keys").read_text().partition(":")[2].strip()
    assert key not in stack.told


@_on_one_stack
def test_nobody_else_can_read_the_folder(stack: Stack) -> None:
    assert stat.S_IMODE(stack.data_dir.stat().st_mode) == 0o700


@_on_one_stack
def test_no_server_listens_on_a_port(stack: Stack) -> None:
    pids = stack.pids()
    for name in ("postgres", "valkey"):
        assert not [one for one in psutil.Process(pids[name]).net_connections("inet") if one.status == "LISTEN"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_all_in_good_order(start: StartStack, number: signal.Signals) -> None:
    stack = start().wait_until_ready()
    family = stack.family()
    assert stack.end(number) == 0, stack.told
    assert not still_running(family)
    assert not (stack.data_dir / "postgres" / "postmaster.pid").exists()


def test_a_second_start_finds_all(start: StartStack) -> None:
    stack = start().wait_until_ready()
    assert _add_model(stack, "kept").status_code == 200
    assert stack.end() == 0, stack.told
    again = start().wait_until_ready()
    assert again.master_key == stack.master_key
    assert _model_names(again) == ["kept"]


def test_after_a_killed_supervisor_the_next_start_takes_over(start: StartStack) -> None:
    stack = start().wait_until_ready()
    assert _add_model(stack, "kept").status_code == 200
    family = stack.family()
    stack.end(signal.SIGKILL)
    again = start().wait_until_ready()
    assert not still_running(family)
    assert _model_names(again) == ["kept"]
    assert _add_model(again, "new").status_code == 200


def test_frozen_children_of_a_killed_supervisor_are_ended_by_the_next_start(start: StartStack) -> None:
    stack = start().wait_until_ready()
    family = stack.family()
    for process in family[1:]:
        process.suspend()
    stack.end(signal.SIGKILL)
    again = start().wait_until_ready()
    assert "Ended what an earlier run left behind" in again.printed
    assert not still_running(family)


def test_pool_processes_whose_worker_was_killed_too_are_ended_by_the_next_start(start: StartStack) -> None:
    stack = start().wait_until_ready()
    assert _add_model(stack, "proof that the pool is there").status_code == 200
    worker = psutil.Process(stack.pids()["worker-apply"])
    pool = worker.children()
    assert pool
    for process in pool:
        process.suspend()
    worker.suspend()
    stack.end(signal.SIGKILL)
    worker.kill()
    start().wait_until_ready()
    assert not still_running([worker, *pool])


@_on_one_stack
@pytest.mark.parametrize("name", ["postgres", "valkey", "api", "worker-apply", "worker-deliver", "schedule"])
def test_a_killed_child_is_started_again(stack: Stack, name: str) -> None:
    killed = stack.pids()[name]
    os.kill(killed, signal.SIGKILL)
    stack.wait_for(f"{name} ended (signal 9)")
    wait_until(lambda: stack.pids().get(name, killed) != killed, lambda: stack.told)
    wait_until(lambda: _is_ready(stack), lambda: stack.told)
    assert _add_model(stack, "after").status_code == 200, stack.told


def test_a_worker_that_takes_no_work_is_replaced(start: StartStack) -> None:
    stack = start(environment={"POINTSMAN_STALL_AFTER": "1"}).wait_until_ready()
    idle = stack.pids()["worker-apply"]
    for process in (psutil.Process(idle), *psutil.Process(idle).children(recursive=True)):
        process.suspend()
    headers = {"Authorization": f"Bearer {stack.master_key}", "Prefer": "respond-async"}
    body = {"model_name": "a", "litellm_params": {"model": "openai/a"}}
    answer = httpx.post(f"{stack.url}/model/new", json=body, headers=headers, trust_env=False)
    wait_until(lambda: stack.pids().get("worker-apply", idle) != idle, lambda: stack.told)
    assert "worker-apply makes no progress on due work; it is ended" in stack.printed

    def has_ended() -> bool:
        location = stack.url + answer.headers["Location"]
        return httpx.get(location, headers=headers, trust_env=False).json()["status"] == "succeeded"

    wait_until(has_ended, lambda: stack.told)


@_on_one_stack
def test_a_folder_in_use_is_refused(stack: Stack) -> None:
    second = Stack(stack.data_dir)
    assert second.wait_until_ended() == 78
    assert f"in use by another `pointsman up` (process {stack.process.pid})" in second.printed


@_on_one_stack
def test_a_port_in_use_is_refused_before_anything_is_started(stack: Stack, tmp_path: Path) -> None:
    second = Stack(tmp_path / "other", port=stack.port)
    assert second.wait_until_ended() == 78
    assert f"Port {stack.port} on 127.0.0.1 is in use" in second.printed
    assert "--port" in second.printed
    assert not second.data_dir.exists()


def test_two_stacks_run_side_by_side(start: StartStack) -> None:
    first, second = start("first"), start("second")
    first.wait_until_ready()
    second.wait_until_ready()
    assert _add_model(first, "one").status_code == 200
    assert _add_model(second, "two").status_code == 200
    assert (_model_names(first), _model_names(second)) == (["one"], ["two"])


def test_a_deep_data_folder_has_its_sockets_elsewhere_and_takes_them_away(start: StartStack) -> None:
    before = set(Path(tempfile.gettempdir()).glob("pointsman-*"))
    stack = start("deep-" * 30).wait_until_ready()
    made = set(Path(tempfile.gettempdir()).glob("pointsman-*")) - before
    assert _add_model(stack, "deep").status_code == 200
    assert any((folder / "valkey.sock").exists() for folder in made)
    assert stack.end() == 0
    assert not [folder for folder in made if folder.exists() and stack.data_dir.name in str(folder)]


def test_a_plain_user_can_run_it(start: StartStack) -> None:
    with tempfile.TemporaryDirectory() as home:
        owner = _plain_user()
        if owner:
            owner.take(Path(home))
        stack = start(data_dir=Path(home) / "data", owner=owner, environment={"HOME": home}).wait_until_ready()
        assert _add_model(stack, "plain").status_code == 200, stack.told
        assert {process.uids().real for process in stack.family()} == {owner.uid if owner else os.getuid()}
        assert stack.end() == 0


def test_a_given_key_wins_and_is_not_kept(start: StartStack) -> None:
    key = "sk-from-the-environment-0123456789"
    stack = start(environment={"POINTSMAN_MASTER_KEY": key}).wait_until_ready()
    assert stack.master_key == key
    assert _add_model(stack, "one").status_code == 200
    assert not (stack.data_dir / "master_key").exists()


def test_what_makes_a_child_give_up_is_told_at_once(start: StartStack) -> None:
    stack = start(environment={"POINTSMAN_BATCH_SIZE": "many"})
    assert stack.wait_until_ended() == 1
    assert "POINTSMAN_BATCH_SIZE" in stack.printed


def _is_ready(stack: Stack) -> bool:
    try:
        return httpx.get(f"{stack.url}/health/readiness").status_code == 200
    except httpx.HTTPError:
        return False


def _plain_user() -> Owner | None:
    """Root becomes `nobody`; everybody else is a plain user already."""
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return Owner(nobody.pw_uid, nobody.pw_gid)
