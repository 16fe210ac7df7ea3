"""The configuration file on disk: read when it changes; a broken one is reported and the last good one stays."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import structlog
import yaml

LOOK_EVERY_S = 1.0
MAX_FILES = 100

_log = structlog.get_logger(__name__)

Stamp = tuple[tuple[str, int, int], ...]
Document = dict[str, Any]
M = TypeVar("M")


class ConfigFile(Generic[M]):
    """Thread safe. ``problem`` says why the file on disk is not the one in use, or is None."""

    def __init__(self, path: str, parse: Callable[[list[Document]], dict[str, M]]) -> None:
        """``parse`` takes the file and what it includes, and raises ValueError. An empty path means no file."""
        self._parse = parse
        self._path = Path(path) if path else None
        self._models: dict[str, M] = {}
        self._ids: frozenset[str] = frozenset()
        self._files: list[Path] = [self._path] if self._path else []
        self._stamp: Stamp | None = None
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
        if self._path is None or time.monotonic() - self._looked_at < LOOK_EVERY_S:
            return
        with self._lock:
            self._looked_at = time.monotonic()
            stamp = _stamp(self._files)
            if stamp != self._stamp:
                self._stamp = stamp
                self._read(self._path)

    def _read(self, path: Path) -> None:
        try:
            files: list[Path] = []
            models = self._parse(_documents(path, files))
        except (ValueError, OSError, yaml.YAMLError) as error:
            self.problem = _explained(error)
            _log.error("config_file.broken", path=str(path), problem=self.problem, models_kept=len(self._models))
            return
        self._files, self._stamp = files, _stamp(files)
        self._models = models
        self._ids = frozenset(self._models)
        self.problem = None
        _log.info("config_file.read", path=str(path), files=len(files), models=len(models))


def _documents(path: Path, files: list[Path]) -> list[Document]:
    """The file, then what it includes, in order. Raises ValueError, OSError, YAMLError."""
    files.append(path)
    if len(files) > MAX_FILES:
        raise ValueError(f"includes more than {MAX_FILES} files")
    document: Any = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    if not isinstance(document, dict):
        raise ValueError(f"{path.name}: must be a mapping")
    found = cast("Document", document)
    documents = [{name: value for name, value in found.items() if name != "include"}]
    for included in cast("list[object]", found.get("include") or []):
        documents.extend(_documents(path.parent / str(included), files))
    return documents


def _stamp(files: list[Path]) -> Stamp:
    """Changes when one of the files does."""
    return tuple(_stamp_of(file) for file in files)


def _stamp_of(file: Path) -> tuple[str, int, int]:
    try:
        status = file.stat()
    except OSError:
        return (str(file), -1, -1)
    return (str(file), status.st_mtime_ns, status.st_size)


def _explained(error: Exception) -> str:
    """Where the fault is, without what stands there."""
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        return f"not valid YAML{where}"
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    return str(error)
