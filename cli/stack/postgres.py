"""The embedded PostgreSQL: made once, reached through a private Unix socket, thrifty, and as durable as any other."""

import contextlib
import re
import signal
import subprocess
from pathlib import Path
from urllib.parse import quote

from cli.stack.privileges import Owner, as_owner, server_owner
from cli.stack.processes import Program, end_with_parent
from cli.stack.sockets import Sockets
from shared.runtime.settings import Misconfigured

_SUPERUSER = "postgres"
_FAST_SHUTDOWN = signal.SIGINT
_BUILTIN_LOCALES_SINCE = 17
_IO_METHODS_SINCE = 18

# The application's own role is no superuser: no SQL of its own can read the machine's files or run programs.
_FIRST_STATEMENTS = b"CREATE ROLE pointsman LOGIN;\nCREATE DATABASE pointsman OWNER pointsman;\n"

_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "50",
    "shared_buffers": "16MB",
    "jit": "off",
    # What one machine has no use for: standbys, logical replication, parallel queries. Each costs memory or processes.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    "max_parallel_workers": "0",
    "max_parallel_workers_per_gather": "0",
    "max_worker_processes": "0",
    "autovacuum_max_workers": "1",
    "autovacuum_work_mem": "8MB",
    # ANALYZE holds 300 rows in memory for each of these; with the usual 100, 50 MB of documents.
    "default_statistics_target": "20",
    "log_checkpoints": "off",
    "log_timezone": "UTC",
}


class Postgres:
    """One server on one data folder."""

    def __init__(self, binaries: Path, data: Path, sockets: Sockets) -> None:
        self._binaries = binaries
        self._data = data
        self._sockets = sockets

    def prepare(self) -> bool:
        """Make the database when there is none, and say whether. What a broken-off attempt left is thrown away."""
        owner = server_owner(self._data)
        if owner:
            owner.take(self._sockets.postgres)
        if self._data.exists():
            return False
        self._initialise(owner)
        return True

    def program(self) -> Program:
        settings = {**_SETTINGS, "unix_socket_directories": str(self._sockets.postgres)}
        if _version(self._binaries) >= _IO_METHODS_SINCE:
            settings["io_method"] = "sync"  # the default keeps three more processes
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        argv = [str(self._binaries / "postgres"), "-D", str(self._data), *options]
        return Program(
            name="postgres",
            argv=as_owner(server_owner(self._data), argv, _FAST_SHUTDOWN),
            stop_signal=_FAST_SHUTDOWN,
            grace_s=30.0,
        )

    def is_ready(self, pid: int) -> bool:
        """Whether the server of that process accepts connections: its status file says so, as `pg_ctl` reads it."""
        with contextlib.suppress(FileNotFoundError):
            lines = (self._data / "postmaster.pid").read_text(encoding="utf-8", errors="replace").splitlines()
            return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"
        return False

    def url(self, database: str = "pointsman", user: str = "pointsman") -> str:
        return f"postgresql://{user}@/{database}?host={quote(str(self._sockets.postgres))}"

    def superuser_url(self) -> str:
        return self.url(database=_SUPERUSER, user=_SUPERUSER)

    def _initialise(self, owner: Owner | None) -> None:
        unfinished = self._data.with_suffix(".new")
        if unfinished.exists():
            import shutil  # rarely needed, and the supervisor stays small

            shutil.rmtree(unfinished)
        unfinished.mkdir(mode=0o700)
        if owner:
            owner.take(unfinished)
        self._run(owner, ["initdb", "-D", str(unfinished), "-U", _SUPERUSER, "--auth=trust", *self._locale()])
        self._run(owner, ["postgres", "--single", "-D", str(unfinished), _SUPERUSER], _FIRST_STATEMENTS)
        unfinished.rename(self._data)

    def _locale(self) -> list[str]:
        """Sorts by code point and knows all letters, on every machine alike."""
        if _version(self._binaries) >= _BUILTIN_LOCALES_SINCE:
            return ["--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        return ["--encoding=UTF8", "--locale=C.UTF-8"]

    def _run(self, owner: Owner | None, argv: list[str], text: bytes = b"") -> None:
        """Run a tool of PostgreSQL to its end.

        Raises:
            Misconfigured: with what the tool said.
        """
        command = [str(self._binaries / argv[0]), *argv[1:]]
        done = subprocess.run(  # noqa: S603
            as_owner(owner, command, signal.SIGKILL),
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            start_new_session=True,
            preexec_fn=end_with_parent(signal.SIGKILL),
        )
        if done.returncode:
            output = done.stdout.decode(errors="replace").strip()
            raise Misconfigured(f"{argv[0]} could not make the database in {self._data.parent}:\n{output}")


def _version(binaries: Path) -> int:
    """The major version."""
    output = subprocess.run(  # noqa: S603
        [str(binaries / "postgres"), "--version"], capture_output=True, text=True, check=False
    ).stdout
    found = re.search(r"\d+", output)
    return int(found[0]) if found else 0
