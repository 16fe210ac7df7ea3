"""The record of running children, from which the next start ends what a killed supervisor left behind."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cli.stack.processes import Process, kill_group

# In the environment of every child, so that a member of a group whose leader is gone can be told from a stranger.
MARKER = "_POINTSMAN_FOLDER"

_GRACE_S = 5.0
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Entry:
    """A child: process ids are used again, but not with the same start time."""

    name: str
    pid: int
    started: str
    stop_signal: int


class Register:
    """One line for each running child, in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, processes: Iterable[Process]) -> None:
        entries = [
            f"{process.pid} {started} {int(process.program.stop_signal)} {process.program.name}\n"
            for process in processes
            if (started := start_mark(process.pid))
        ]
        unfinished = self._path.with_suffix(".new")
        unfinished.write_text("".join(entries), encoding="utf-8")
        unfinished.rename(self._path)

    def read(self) -> list[Entry]:
        with contextlib.suppress(FileNotFoundError):
            lines = self._path.read_text(encoding="utf-8").splitlines()
            parts = [line.split(" ", 3) for line in lines]
            return [Entry(part[3], int(part[0]), part[1], int(part[2])) for part in parts if len(part) == 4]
        return []

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)

    def end_leftovers(self, folder: Path) -> list[str]:
        """End what an earlier supervisor of ``folder`` left; returns the names. Nobody else's process is touched."""
        entries = self.read()
        alive = [entry for entry in entries if start_mark(entry.pid) == entry.started]
        for entry in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(entry.pid, entry.stop_signal)
        _wait_until_gone(alive)
        for entry in entries:
            mark = start_mark(entry.pid)
            if mark == entry.started or (mark is None and _has_own_members(entry.pid, folder)):
                _kill_family(entry.pid)
        _wait_until_gone(alive)
        self.remove()
        return [entry.name for entry in alive]


def start_mark(pid: int) -> str | None:
    """What tells this process from a later one with its id; None when it does not run (any more).

    Linux counts the start in ticks since boot, which no change of the clock moves; other systems give a time.
    """
    if sys.platform == "linux":
        return _linux_start_mark(pid)
    import psutil  # not needed on Linux, and the supervisor stays small

    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if process.status() != psutil.STATUS_ZOMBIE:
            return str(process.create_time())
    return None


def _linux_start_mark(pid: int) -> str | None:
    fields = _stat_fields(pid)
    if fields is None or fields[0] in ("Z", "X"):
        return None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot}:{fields[19]}"


def _stat_fields(pid: int) -> list[str] | None:
    """/proc/PID/stat from the state on; the name before it may hold anything, brackets too."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()


def _has_own_members(group: int, folder: Path) -> bool:
    """Whether processes of this group, whose leader is gone, were started by a supervisor of ``folder``."""
    marker = os.fsencode(f"{MARKER}={folder}")
    for pid in _pids():
        fields = _stat_fields(pid)
        if fields is not None and int(fields[2]) == group:
            with contextlib.suppress(OSError):
                return marker in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return False


def _kill_family(leader: int) -> None:
    """The group, and what has left it for a session of its own, as PostgreSQL's backends do."""
    family = _descendants(leader)
    kill_group(leader)
    for pid in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _descendants(ancestor: int) -> list[int]:
    parents = {pid: int(fields[1]) for pid in _pids() if (fields := _stat_fields(pid)) is not None}
    family = [ancestor]
    for parent in family:  # grows while it is walked
        family += [pid for pid, its_parent in parents.items() if its_parent == parent]
    return family[1:]


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*")]


def _wait_until_gone(entries: Iterable[Entry]) -> None:
    deadline = time.monotonic() + _GRACE_S
    while time.monotonic() < deadline and any(start_mark(entry.pid) == entry.started for entry in entries):
        time.sleep(_POLL_S)
