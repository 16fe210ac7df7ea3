"""The configuration file on disk: read when it changes; a broken one is reported and the last good one stays."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import structlog
import yaml

LOOK_EVERY_S = 1.0
MAX_FILES = 100
MAX_BYTES = 16 * 1024 * 1024

# The one in C reads ten thousand models in a second, the one in Python in twenty.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_log = structlog.get_logger(__name__)

Stamp = tuple[int, ...]
Document = dict[str, Any]
M = TypeVar("M")


class ConfigFile(Generic[M]):
    """Thread safe. ``problem`` says why the file on disk is not the one in use, or is None."""

    def __init__(
        self, path: str, parse: Callable[[list[Document]], dict[str, M]], look_every_s: float = LOOK_EVERY_S
    ) -> None:
        """``parse`` takes the file and what it includes, and raises ValueError. An empty path means no file."""
        self._parse = parse
        self._look_every_s = look_every_s
        self._path = _absolute(Path(path)) if path else None
        self._models: dict[str, M] = {}
        self._ids: frozenset[str] = frozenset()
        self._stamps: dict[Path, Stamp] = {}
        self._looked_at = float("-inf")
        self._lock = threading.Lock()
        self.problem: str | None = None

    def models(self) -> dict[str, M]:
        """The models of the file by id, in its order."""
        self._refresh()
        return self._models

    def ids(self) -> frozenset[str]:
        self._refresh()
        return self._ids

    def state(self) -> str:
        """For readiness, which anybody may read: whether the file on disk is in use, without saying what is in it."""
        self._refresh()
        return "ready" if self.problem is None else "broken; the last good one is in use"

    def _refresh(self) -> None:
        if self._path is None or not self._is_due():
            return
        with self._lock:
            if not self._is_due():
                return
            if not self._stamps or any(_stamp(file) != stamp for file, stamp in self._stamps.items()):
                self._read(self._path)
            self._looked_at = time.monotonic()

    def _is_due(self) -> bool:
        return time.monotonic() - self._looked_at >= self._look_every_s

    def _read(self, path: Path) -> None:
        # Also what a broken attempt came to look at: mending it must be seen, wherever it is mended.
        self._stamps = {}
        try:
            models = self._parse(_documents(path, self._stamps))
        except (ValueError, OSError, yaml.YAMLError, RecursionError) as error:
            self.problem = _explained(error)
            _log.error("config_file.broken", path=str(path), problem=self.problem, models_kept=len(self._models))
            return
        self._models = models
        self._ids = frozenset(self._models)
        self.problem = None
        _log.info("config_file.read", path=str(path), files=len(self._stamps), models=len(models))


def _documents(path: Path, stamps: dict[Path, Stamp]) -> list[Document]:
    """The file, then what it includes, in order. Raises ValueError, OSError, YAMLError."""
    if path in stamps:
        raise ValueError(f"{path.name}: included twice, or by itself")
    if len(stamps) >= MAX_FILES:
        raise ValueError(f"includes more than {MAX_FILES} files")
    # Before reading: what changes meanwhile is read again.
    stamps[path] = _stamp(path)
    found = _document(path)
    included: object = found.pop("include", None) or []
    if not isinstance(included, list):
        raise ValueError(f"{path.name}: include: must be a list of files")
    documents = [found]
    for name in cast("list[object]", included):
        documents.extend(_documents(_absolute(path.parent / str(name)), stamps))
    return documents


def _absolute(path: Path) -> Path:
    """Links stay unresolved: where one points to may change."""
    return Path(os.path.normpath(path.absolute()))


def _document(path: Path) -> Document:
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path.name}: larger than {MAX_BYTES} bytes")
    document: Any = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader) or {}  # noqa: S506  (a safe loader)
    if not isinstance(document, dict):
        raise ValueError(f"{path.name}: must be a mapping")
    return cast("Document", document)


def _stamp(file: Path) -> Stamp:
    """Changes when the file does, also when another one takes its place."""
    try:
        status = file.stat()
    except OSError:
        return ()
    return status.st_ino, status.st_mtime_ns, status.st_size


def _explained(error: Exception) -> str:
    """Where the fault is, without what stands there."""
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        return f"not valid YAML{where}"
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, RecursionError):
        return "contains itself"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    return str(error)
