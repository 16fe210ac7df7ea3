"""The key is changed under load and through a kill; the log is exported, its heads are signed; no secret is shown."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.audit.heads import read
from shared.encryption.keyring import new_key
from shared.encryption.signing import SigningKey, new_signing_key
from tests.support.fleet import API, APPLY, DELIVER, Fleet, a_model, running_fleet, until

pytestmark = [pytest.mark.xdist_group("keys and audit"), pytest.mark.timeout(300)]

OLD, NEW = new_key("old"), new_key("new")
SEED = new_signing_key()
PUBLIC = SigningKey.parse(SEED).public
MODELS = 150


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    heads = tmp_path_factory.mktemp("heads") / "heads.jsonl"
    with running_fleet(
        tmp_path_factory,
        encryption_keys=OLD,
        audit_signing_key=SEED,
        audit_heads_file=str(heads),
        audit_heads_interval="0.5",
    ) as fleet:
        yield fleet


def pointsman(fleet: Fleet, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("pointsman")), *arguments]
    given = {f"POINTSMAN_{name.upper()}": value for name, value in environment.items()}
    return subprocess.run(
        command, env={**fleet.environment, **given}, capture_output=True, text=True, timeout=120, check=False
    )


def heads_file(fleet: Fleet) -> Path:
    return Path(fleet.environment["POINTSMAN_AUDIT_HEADS_FILE"])


def test_the_log_is_exported_and_its_signed_heads_agree(fleet: Fleet, tmp_path: Path) -> None:
    fleet.all_succeed([fleet.accepted(a_model(f"m{n}", api_key=fleet.canary("a model's key"))) for n in range(20)])
    until(lambda: any(signed.position >= 20 for signed in _heads(fleet)), lambda: fleet.told)
    path = tmp_path / "log.jsonl"
    assert pointsman(fleet, "audit", "export", "-o", str(path)).returncode == 0
    done = pointsman(
        fleet, "audit", "verify", str(path), "--heads", str(heads_file(fleet)), "--public-key", PUBLIC, database_url=""
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for shown in (path.read_text(), heads_file(fleet).read_text()):
        assert "sk-canary" not in shown
    assert pointsman(fleet, "audit", "verify").returncode == 0
    assert pointsman(fleet, "audit", "verify", database_url="").returncode == 78


def _heads(fleet: Fleet) -> list[object]:
    path = heads_file(fleet)
    return list(read(path.read_bytes().splitlines(), PUBLIC)) if path.exists() else []


def test_the_key_is_changed_under_load_and_through_kills(fleet: Fleet) -> None:
    fleet.all_succeed([fleet.accepted(a_model(f"n{n}", api_key=fleet.canary("a key"), org="x")) for n in range(MODELS)])
    fleet.environment["POINTSMAN_ENCRYPTION_KEYS"] = f"{NEW},{OLD}"
    for name in (API, APPLY, DELIVER):
        fleet.stop(name)
        fleet.start(name)
    over, refused = threading.Event(), list[str]()
    writer = threading.Thread(target=_write, args=(fleet, over, refused))
    writer.start()
    try:
        task_id = fleet.http.post("/encryption/rotate").raise_for_status().json()["task_id"]
        for _ in range(3):
            before = _done(fleet, task_id)
            until(
                lambda before=before: _done(fleet, task_id) != before or _has_ended(fleet, task_id), lambda: fleet.told
            )
            _kill_pool(fleet)
    finally:
        over.set()
        writer.join()
    until(lambda: _has_ended(fleet, task_id), lambda: str(_row(fleet, task_id)))
    task = fleet.ended(task_id)
    assert task["status"] == "succeeded", task
    assert task["result"]["unreadable"] == 0
    assert not refused
    done = pointsman(fleet, "keys", "verify")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "key 'old': 0 values; can go" in done.stdout
    fleet.environment["POINTSMAN_ENCRYPTION_KEYS"] = NEW
    for name in (API, APPLY, DELIVER):
        fleet.stop(name)
        fleet.start(name)
    assert not [entry for entry in fleet.models().values() if "unreadable_fields" in entry["model_info"]]
    assert pointsman(fleet, "keys", "rotate", "--url", fleet.url).returncode == 0


def _write(fleet: Fleet, over: threading.Event, refused: list[str]) -> None:
    with fleet.client() as client:
        number = 0
        while not over.is_set():
            number += 1
            body = a_model(f"w{number}", api_key=fleet.canary("a key under load"))
            response = client.post("/model/new", json=body)
            if response.status_code != 202:
                refused.append(response.text)
            if client.get("/model/info", params={"litellm_model_id": "none"}).status_code != 400:
                refused.append("a read")


def _row(fleet: Fleet, task_id: str) -> list[dict[str, object]]:
    return fleet.select(
        "SELECT status, attempt, progress, cursor, last_error, next_attempt_at - now() AS due_in,"
        " (SELECT count(*) FROM task) AS tasks FROM task WHERE task_id = %s",
        task_id,
    )


def _done(fleet: Fleet, task_id: str) -> int:
    progress = fleet.http.get(f"/tasks/{task_id}").json()["progress"]
    return 0 if progress is None else progress["done"]


def _has_ended(fleet: Fleet, task_id: str) -> bool:
    return fleet.http.get(f"/tasks/{task_id}").json()["finished_at"] is not None


def _kill_pool(fleet: Fleet) -> None:
    """Every process that applies, at once; their parent starts new ones."""
    for child in fleet.parts[APPLY].children():
        os.kill(child.pid, signal.SIGKILL)
