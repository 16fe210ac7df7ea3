"""A running `pointsman up`, as the person at the terminal has it."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import psutil

from cli.stack.privileges import Owner, as_owner
from cli.stack.register import MARKER, Register

_DEADLINE_S = 90.0
_POLL_S = 0.05


class Stack:
    """The installed command in a process of its own; what it prints goes to a file beside its data folder."""

    def __init__(
        self,
        data_dir: Path,
        *,
        owner: Owner | None = None,
        environment: Mapping[str, str] | None = None,
        port: int | None = None,
    ) -> None:
        self.data_dir = data_dir
        self.port = port or free_port()
        self._printed = data_dir.parent / f"printed-{self.port}-{time.monotonic_ns()}"
        argv = [str(Path(sys.executable).with_name("pointsman")), "up"]
        argv += ["--data-dir", str(data_dir), "--port", str(self.port)]
        with self._printed.open("wb") as output:
            self.process = subprocess.Popen(
                as_owner(owner, argv, signal.SIGTERM),
                env=_environment(environment or {}),
                cwd=data_dir.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def printed(self) -> str:
        return self._printed.read_text(encoding="utf-8")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def master_key(self) -> str:
        return re.findall(r"Admin key +(\S+)", self.printed)[-1]

    def wait_for(self, text: str) -> None:
        """Wait until it has printed ``text``; fail with all that it said when it ends before."""
        wait_until(lambda: text in self.printed or self.process.poll() is not None, lambda: self.told)
        assert text in self.printed, self.told

    def wait_until_ready(self) -> "Stack":
        self.wait_for("Pointsman is ready")
        return self

    def wait_until_ended(self) -> int:
        return self.process.wait(_DEADLINE_S)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.wait_until_ended()

    def pids(self) -> dict[str, int]:
        """The present children by name, as the supervisor recorded them."""
        return {entry.name: entry.pid for entry in Register(self.data_dir / "processes").read()}

    def family(self) -> list[psutil.Process]:
        """The supervisor and all of its descendants."""
        supervisor = psutil.Process(self.process.pid)
        return [supervisor, *supervisor.children(recursive=True)]

    @property
    def told(self) -> str:
        """What it printed and logged, for the message of a failing test."""
        logs = sorted((self.data_dir / "logs").glob("*.log"))
        parts = [f"{log.name}:\n{log.read_text(errors='replace')[-3000:]}" for log in logs]
        return "\n".join([self.printed, *parts])


def strays(data_dir: Path) -> list[str]:
    """The command lines of all processes that belong to a data folder."""
    marker = f"{MARKER}={data_dir}".encode()
    found: list[str] = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if str(data_dir) in line or marker in _environ(process.pid):
            found.append(line)
    return found


def still_running(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that run. Orphans that ended, and that nobody has reaped yet, do not."""
    return [process for process in processes if process.is_running() and not _is_zombie(process)]


def wait_until(condition: Callable[[], bool], explain: Callable[[], str] = lambda: "") -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, explain()
        time.sleep(_POLL_S)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("POINTSMAN_")}
    return {**kept, **more}


def _is_zombie(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _environ(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
