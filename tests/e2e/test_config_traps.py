"""What a process cannot use stops its start, in words; what it does not know it says."""

import base64
import os
import subprocess
from pathlib import Path

import msgspec
import pytest

from shared.encryption.keyring import new_key
from tests.support.fleet import POINTSMAN, Part, until

pytestmark = [pytest.mark.xdist_group("config traps"), pytest.mark.timeout(120)]

_EX_CONFIG = 78
_COMMANDS = (["api"], ["worker"], ["schedule"])


def _environment(folder: Path, **changed: str | None) -> dict[str, str]:
    """Everything that a start needs but servers; a setting that is changed to None is left out."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("POINTSMAN_")}
    settings: dict[str, str | None] = {
        "POINTSMAN_DATABASE_URL": f"postgresql://nobody@/nothing?host={folder}",
        "POINTSMAN_REDIS_URL": f"unix://{folder}/no.sock?db=0",
        "POINTSMAN_MASTER_KEY": "sk-of-a-test-0123456789abcdef",
        "POINTSMAN_ENCRYPTION_KEYS": new_key("test"),
        "POINTSMAN_LISTEN": "127.0.0.1:0",
        "POINTSMAN_LOG_FORMAT": "json",
        **changed,
    }
    return {**inherited, **{name: value for name, value in settings.items() if value is not None}}


def _refusal(folder: Path, *command: str, **changed: str | None) -> str:
    """What a start says that is refused."""
    done = subprocess.run(
        [str(POINTSMAN), *command],
        env=_environment(folder, **changed),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == _EX_CONFIG, said
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize("command", _COMMANDS, ids=" ".join)
def test_each_process_names_all_that_is_missing(tmp_path: Path, command: list[str]) -> None:
    missing = ("DATABASE_URL", "REDIS_URL", "MASTER_KEY", "ENCRYPTION_KEYS")
    said = _refusal(tmp_path, *command, **{f"POINTSMAN_{name}": None for name in missing})
    assert all(f"POINTSMAN_{name} is not set" in said for name in missing)


def test_migrating_names_what_is_missing(tmp_path: Path) -> None:
    assert "POINTSMAN_DATABASE_URL is not set" in _refusal(tmp_path, "migrate", POINTSMAN_DATABASE_URL=None)


@pytest.mark.parametrize(
    "key",
    [
        "sk-1234",
        "sk-aaaaaaaaaaaaaaaaaaaaaaaa",
        "a-key-without-its-beginning-0123456789",
        " ",
    ],
)
def test_a_master_key_that_anybody_could_guess_is_refused(tmp_path: Path, key: str) -> None:
    said = _refusal(tmp_path, "api", POINTSMAN_MASTER_KEY=key)
    assert "POINTSMAN_MASTER_KEY" in said
    assert not key.strip() or key not in said


@pytest.mark.parametrize(
    "keys",
    [
        "k1:not base64!",
        "k1:" + base64.b64encode(b"too short").decode(),
        "k1:" + base64.b64encode(bytes(32)).decode(),
        "k1:" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode(),
    ],
    ids=["no base64", "short", "zeros", "text"],
)
def test_an_encryption_key_that_protects_nothing_is_refused(tmp_path: Path, keys: str) -> None:
    said = _refusal(tmp_path, "api", POINTSMAN_ENCRYPTION_KEYS=keys)
    assert "POINTSMAN_ENCRYPTION_KEYS" in said
    assert keys.partition(":")[2] == "" or keys.partition(":")[2] not in said


def test_all_values_that_cannot_be_used_are_named_with_their_variables(tmp_path: Path) -> None:
    wrong = {
        "POINTSMAN_BATCH_SIZE": "many",
        "POINTSMAN_MAX_ATTEMPTS": "0",
        "POINTSMAN_WORKER_PROCESSES": "-1",
        "POINTSMAN_DEFAULT_WAIT": "31",
        "POINTSMAN_SWEEP_INTERVAL": "0",
        "POINTSMAN_MAX_BODY_BYTES": "1.5",
        "POINTSMAN_LISTEN": "4000",
        "POINTSMAN_LOG_LEVEL": "loud",
        "POINTSMAN_ALLOW_WEAK_MASTER_KEY": "yes",
        "POINTSMAN_WEBHOOK_SCHEDULE": "5,soon",
    }
    said = _refusal(tmp_path, "api", **wrong)
    assert all(f"{variable} cannot be used" in said and value in said for variable, value in wrong.items())


def test_a_network_that_is_none_is_named(tmp_path: Path) -> None:
    said = _refusal(tmp_path, "worker", POINTSMAN_WEBHOOK_ALLOW="10.0.0.0/99")
    assert "POINTSMAN_WEBHOOK_ALLOW cannot be used" in said


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("POINTSMAN_DATABASE_URL", "mysql://user:a-secret-word@host/name"),
        ("POINTSMAN_DATABASE_URL", "postgresql://user:a-secret-word@host:port/name"),
        ("POINTSMAN_REDIS_URL", "http://:a-secret-word@host/0"),
        ("POINTSMAN_SLACK_WEBHOOK_URL", "hooks.slack.com/a-secret-word"),
    ],
)
def test_a_url_that_leads_nowhere_is_named_but_not_shown(tmp_path: Path, variable: str, value: str) -> None:
    said = _refusal(tmp_path, "schedule", **{variable: value})
    assert variable in said
    assert "a-secret-word" not in said


def test_a_secret_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    said = _refusal(tmp_path, "api", POINTSMAN_MASTER_KEY_FILE=str(tmp_path / "key"))
    assert "POINTSMAN_MASTER_KEY_FILE" in said


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = str(tmp_path / "no such file")
    said = _refusal(tmp_path, "api", POINTSMAN_MASTER_KEY=None, POINTSMAN_MASTER_KEY_FILE=path)
    assert "POINTSMAN_MASTER_KEY" in said
    assert path in said


@pytest.mark.parametrize("name", ["api", "schedule"])
def test_an_unknown_variable_is_warned_about_with_the_likely_one(tmp_path: Path, name: str) -> None:
    unknown = {
        "POINTSMAN_SWEEP_INTERVALL": "5",
        "POINTSMAN_MASTERKEY": "sk-something-secret-0123456789",
        "POINTSMAN_SERVICE_HOST": "10.0.0.1",
        "POINTSMAN_PORT": "tcp://10.0.0.1:80",
    }
    part = Part(name, [name], tmp_path)
    part.start(_environment(tmp_path, **unknown))
    try:
        until(lambda: f"{name}.starting" in part.logged or "celery.starting" in part.logged, lambda: part.logged)
    finally:
        part.kill()
    lines = [msgspec.json.decode(line) for line in part.logged.splitlines() if line.startswith("{")]
    warned = [line["message"] for line in lines if line["event"] == "settings.unknown"]
    assert warned == [
        "POINTSMAN_MASTERKEY is no setting; did you mean POINTSMAN_MASTER_KEY?",
        "POINTSMAN_SWEEP_INTERVALL is no setting; did you mean POINTSMAN_SWEEP_INTERVAL?",
    ]
    assert "sk-something-secret" not in part.logged
