"""The README's walk-through and the example, as a newcomer runs them."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.stacks import Stack, free_port

pytestmark = [pytest.mark.xdist_group("examples"), pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "submit_config.py"
CONFIG = ROOT / "examples" / "gateway.yaml"
_MARK = "=== end of a command ==="
# What differs from run to run, in the order in which it is looked for.
_VARYING = (
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z",
    r"(?<=fp:k1:)[0-9a-f]{16}",
    r"[0-9a-f]{64}",
)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("examples") / "data")
    try:
        yield stack.wait_until_ready()
    finally:
        stack.end()


@pytest.fixture(scope="module")
def walked(stack: Stack) -> list[tuple[str, str, str]]:
    """Every command of the README, what it says comes out, and what came; run in one shell, on an empty stack."""
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    steps = re.findall(r"^\$ (.*)\n((?:[^$].*\n)*)", "".join(blocks), re.MULTILINE)
    script = "".join(f"{_here(stack, command)}; echo '{_MARK}'\n" for command, _ in steps)
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    printed = done.stdout.split(f"{_MARK}\n")[:-1]
    return [(command, told, came) for (command, told), came in zip(steps, printed, strict=True)]


def _here(stack: Stack, command: str) -> str:
    """The command, for a stack with another port and folder."""
    command = command.replace("http://127.0.0.1:4000", stack.url).replace(".venv/bin/python", sys.executable)
    command = command.replace(".pointsman/", f"{stack.data_dir}/")
    return f"{command} --url {stack.url}" if "submit_config.py" in command else command


def _pattern(told: str) -> re.Pattern[str]:
    """Matches what the README says; `…` stands for anything."""
    for varying in _VARYING:
        told = re.sub(varying, f"\0{_VARYING.index(varying)}\0", told)
    escaped = re.escape(told).replace("…", ".*")
    return re.compile(re.sub("\0(\\d)\0", lambda found: _VARYING[int(found[1])], escaped), re.DOTALL)


def test_the_readme_shows_what_comes(walked: list[tuple[str, str, str]]) -> None:
    assert len(walked) >= 4
    for command, told, came in walked:
        assert _pattern(told.strip()).fullmatch(came.strip()), f"{command}\n{came}"


def _run(stack: Stack, config: Path, *options: str) -> subprocess.CompletedProcess[str]:
    options = options or ("--url", stack.url, "--key", stack.master_key)
    argv = [sys.executable, str(EXAMPLE), str(config), *options]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120)


def _counts(printed: str) -> dict[str, int]:
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", printed, re.MULTILINE)}


def _config(folder: Path, *entries: dict[str, Any]) -> Path:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({"model_list": list(entries)}), encoding="utf-8")
    return path


def _entry(name: str, **info: Any) -> dict[str, Any]:
    return {"model_name": name, "litellm_params": {"model": "openai/gpt-4o"}, "model_info": info}


@pytest.mark.usefixtures("walked")
def test_a_second_run_recognises_everything_and_changes_nothing(stack: Stack) -> None:
    done = _run(stack, CONFIG)
    assert done.returncode == 0, done.stderr
    assert _counts(done.stdout) == {"submitted": 42, "accepted": 0, "recognised": 42, "succeeded": 42, "failed": 0}


@pytest.mark.usefixtures("walked")
def test_two_equal_entries_are_two_deployments_also_in_a_second_run(stack: Stack, tmp_path: Path) -> None:
    config = _config(tmp_path, _entry("twin"), _entry("twin"))
    assert _counts(_run(stack, config).stdout)["accepted"] == 2
    assert _counts(_run(stack, config).stdout)["recognised"] == 2


@pytest.mark.usefixtures("walked")
def test_what_is_refused_is_named_and_the_rest_goes_on(stack: Stack, tmp_path: Path) -> None:
    wrong = {"model_name": "wrong", "litellm_params": {"rpm": 1}}
    done = _run(stack, _config(tmp_path, wrong, _entry("right")))
    assert done.returncode == 1
    assert _counts(done.stdout) == {"submitted": 2, "accepted": 1, "recognised": 0, "succeeded": 1, "failed": 1}
    assert "  wrong: 422 litellm_params.model: is required" in done.stdout


@pytest.mark.usefixtures("walked")
def test_the_key_can_come_from_a_file(stack: Stack, tmp_path: Path) -> None:
    key_file = stack.data_dir / "master_key"
    done = _run(stack, _config(tmp_path, _entry("by file")), "--url", stack.url, "--key-file", str(key_file))
    assert done.returncode == 0, done.stderr


def test_nobody_there_is_told_without_a_traceback(stack: Stack, tmp_path: Path) -> None:
    done = _run(stack, _config(tmp_path, _entry("x")), "--url", f"http://127.0.0.1:{free_port()}", "--key", "sk-x")
    assert done.returncode == 1
    assert "run this again" in done.stderr
    assert "Traceback" not in done.stderr
