"""Proportional set size: what a set of processes costs, each shared page counted once among those who share it."""

import contextlib
import re
from pathlib import Path

_PSS = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)


class Footprint:
    """Megabytes by part of the stack; the same process may be looked at again and again for the highest sum."""

    def __init__(self, supervisor: int) -> None:
        self._supervisor = supervisor

    def by_part(self) -> dict[str, tuple[int, float]]:
        """Part -> how many processes, and their megabytes."""
        found: dict[str, tuple[int, float]] = {}
        for pid in family(self._supervisor):
            with contextlib.suppress(OSError):  # it may have ended meanwhile
                part, size = _part_of(pid, self._supervisor), _pss_mb(pid)
                count, total = found.get(part, (0, 0.0))
                found[part] = (count + 1, total + size)
        return found


def family(ancestor: int) -> list[int]:
    """The process and all its descendants."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text(errors="replace").rpartition(")")[2].split()[1])
    members = [ancestor]
    for member in members:  # grows while it is walked
        members += [pid for pid, parent in parents.items() if parent == member]
    return members


def _pss_mb(pid: int) -> float:
    found = _PSS.search(Path(f"/proc/{pid}/smaps_rollup").read_text())
    return int(found[1]) / 1024 if found else 0.0


def _part_of(pid: int, supervisor: int) -> str:
    if pid == supervisor:
        return "supervisor"
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    if "postgres" in arguments[0]:
        return "postgres"
    if "valkey" in arguments[0] or "redis" in arguments[0]:
        return "valkey"
    words = arguments[arguments.index("-c") + 2 :] if "-c" in arguments else arguments
    return "-".join(word for word in words if word and not word.startswith("-") and word != "queues")
