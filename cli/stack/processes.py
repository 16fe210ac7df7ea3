"""Child processes that cannot be left behind: each leads a session of its own and is told when its parent dies."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class Program:
    """What to run, and how to end it: ``stop_signal`` first, KILL after ``grace_s``."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    grace_s: float = 15.0


class Process:
    """One run of a program. A signal from the terminal does not reach it, since its session is its own."""

    def __init__(self, program: Program, log: Path) -> None:
        self.program = program
        with log.open("ab") as output:
            self._popen = subprocess.Popen(  # noqa: S603
                program.argv,
                env=program.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=end_with_parent(program.stop_signal),
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    def exit_code(self) -> int | None:
        """None while it runs; negative for a signal. What its group still holds is killed with the leader.

        The dead leader is reaped last: until then its id cannot be given to another process.
        """
        if self._popen.returncode is None:
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return None
            kill_group(self.pid)
            self._popen.wait()
        return self._popen.returncode

    def stop(self) -> None:
        """Ask it to end; only the leader, which knows how to end its own children."""
        self.send(self.program.stop_signal)

    def send(self, number: signal.Signals) -> None:
        if self.exit_code() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        if self.exit_code() is None:
            kill_group(self.pid)
            self._popen.wait()

    def end(self) -> int:
        """Stop it and wait; kill it when its grace is over. Returns the exit code."""
        self.stop()
        deadline = time.monotonic() + self.program.grace_s
        while self.exit_code() is None and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        self.kill()
        return self._popen.returncode


def kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def end_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    """A function for the moment between fork and exec: asks Linux for a signal when the parent dies, however it does.

    It wants a parent without threads, or one whose death of the forking thread may end the child.
    """
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def arrange() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return arrange
