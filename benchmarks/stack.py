"""The processes under measurement, started and ended with this one."""

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
import psycopg

from benchmarks.load import LONGEST_S, Load, Report
from cli.stack.launch import PROCESSES, Address, Launch
from cli.stack.processes import Process, Program
from cli.stack.sockets import sockets_of

READY_S = 60.0
_POLL_S = 0.005
_ROOT = Path(__file__).parent.parent


class Stack:
    """A `pointsman up` in a process of its own; with ``parts``, the servers and only these of Pointsman's processes."""

    def __init__(self, folder: Path, parts: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> None:
        self.port = free_port()
        self.key = _key_in(folder)
        data = folder / "data"
        sockets = sockets_of(data)
        self.redis_url = f"unix://{sockets.valkey}?db=0"
        self._database_url = f"postgresql://postgres@/pointsman?host={sockets.postgres}"
        variables = {name: value for name, value in os.environ.items() if not name.startswith("POINTSMAN_")}
        variables["POINTSMAN_MASTER_KEY"] = self.key
        variables.update(environment or {})
        if parts:
            argv = [sys.executable, "-m", "benchmarks.stack", str(data), str(self.port), *parts]
        else:
            run = "from cli.main import main; main()"
            argv = [sys.executable, "-P", "-c", run, "up", "--data-dir", str(data), "--port", str(self.port)]
        self._program = Program("stack", tuple(argv), variables, grace_s=60)
        self._log = folder / "stack.log"
        self.ready_s = 0.0

    def __enter__(self) -> Self:
        started = time.perf_counter()
        self._process = Process(self._program, self._log)
        wait_until(Address("127.0.0.1", self.port).is_ready, "the stack", self._log)
        self.ready_s = time.perf_counter() - started
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.end()

    @property
    def pid(self) -> int:
        return self._process.pid

    def forget(self) -> None:
        """Throw away what was submitted so far."""
        with psycopg.connect(self._database_url, autocommit=True) as connection:
            connection.execute("TRUNCATE task, model, event, delivery, delivery_attempt")

    def wait_until_done(self) -> None:
        """Until every submitted task has ended."""
        with psycopg.connect(self._database_url, autocommit=True) as connection:
            any_open = "SELECT 1 FROM task WHERE status IN ('queued', 'running') LIMIT 1"
            wait_until(lambda: connection.execute(any_open).fetchone() is None, "the worker", self._log)


class Beside:
    """One of the benchmark's own processes: ``python -m benchmarks.<name>``."""

    def __init__(self, name: str, arguments: Sequence[str], folder: Path) -> None:
        program = Program(name, (sys.executable, "-m", f"benchmarks.{name}", *arguments))
        self.log = folder / f"{name}.log"
        self._process = Process(program, self.log)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.end()


def generate(load: Load) -> Report:
    """Run the load in a process of its own and say how it went; wrong answers end the benchmark."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.load"],
        input=msgspec.json.encode(load),
        stdout=subprocess.PIPE,
        cwd=_ROOT,
        check=True,
        timeout=2 * LONGEST_S,
    )
    report = msgspec.json.decode(done.stdout, type=Report)
    if report.wrong:
        raise SystemExit(f"benchmarks: {report.wrong} of {report.answers} answers were not {load.status}")
    return report


def wait_until(condition: Callable[[], bool], what: str, log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"benchmarks: {what} was not ready in {READY_S:g} s\n{log.read_text()[-2000:]}")
        time.sleep(_POLL_S)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _key_in(folder: Path) -> str:
    """The same for every stack on this folder."""
    path = folder / "key"
    if not path.exists():
        path.write_text("sk-" + secrets.token_urlsafe(32))
    return path.read_text()


def _run_parts(data: Path, port: int, names: Sequence[str]) -> None:
    parts = [part for part in PROCESSES if part.name in names]
    Launch(data, Address("127.0.0.1", port), os.environ, parts, print).run()


if __name__ == "__main__":
    _run_parts(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
