"""The data folder of one embedded stack: private, used by one supervisor at a time, keeper of the keys."""

import base64
import fcntl
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from cli.stack.sockets import Sockets, sockets_of
from shared.runtime.settings import Misconfigured

_LOCK = "lock"


class Folder:
    """Made when missing, and locked from entering to leaving. The lock ends with the process, however it ends."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.logs = self.path / "logs"
        self.postgres = self.path / "postgres"
        self.valkey = self.path / "valkey"
        self.processes = self.path / "processes"
        self.migrated = self.path / "migrated"
        self.sockets: Sockets = sockets_of(self.path)
        self._lock: int | None = None

    def __enter__(self) -> Self:
        """
        Raises:
            Misconfigured: the folder is in use, somebody else's, or full of other things.
        """
        try:
            self._prepare()
        except OSError as error:
            raise Misconfigured(
                f"The data folder {self.path} cannot be used: {error.strerror}. Choose one with --data-dir."
            ) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._lock is not None:
            os.close(self._lock)

    def keys(self, environment: Mapping[str, str]) -> dict[str, str]:
        """The variables that hold the keys, as far as the environment does not give them itself."""
        makers = {"POINTSMAN_MASTER_KEY": _make_master_key, "POINTSMAN_ENCRYPTION_KEYS": _make_encryption_keys}
        return {
            variable: self._kept(variable.removeprefix("POINTSMAN_").lower(), make)
            for variable, make in makers.items()
            if not is_given(environment, variable)
        }

    def _prepare(self) -> None:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (self.path / _LOCK).exists() and any(self.path.iterdir()):
            raise Misconfigured(
                f"{self.path} holds other things and is no data folder of Pointsman. Choose another --data-dir."
            )
        self._take_lock()
        self.path.chmod(0o700)
        self.logs.mkdir(mode=0o700, exist_ok=True)

    def _take_lock(self) -> None:
        self._lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._lock, 32).decode(errors="replace").strip()
            raise Misconfigured(
                f"{self.path} is in use by another `pointsman up` (process {holder or 'unknown'}). "
                "End that one, or choose another --data-dir and --port."
            ) from None
        os.ftruncate(self._lock, 0)
        os.write(self._lock, f"{os.getpid()}\n".encode())

    def _kept(self, name: str, make: Callable[[], str]) -> str:
        path = self.path / name
        if not path.exists():
            write_durably(path, make() + "\n")
        return path.read_text(encoding="ascii").strip()


def is_given(environment: Mapping[str, str], variable: str) -> bool:
    """Whether a setting is given, by itself or by the file that holds it."""
    return bool(environment.get(variable, "").strip() or environment.get(f"{variable}_FILE", "").strip())


def write_durably(path: Path, text: str) -> None:
    """All of it or nothing, readable by the owner only; a lost key would make sealed data unreadable for ever."""
    unfinished = path.with_suffix(".new")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    unfinished.rename(path)
    _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_master_key() -> str:
    # As secrets.token_urlsafe makes it; that module alone would cost the supervisor 3 MB (it loads OpenSSL).
    return "sk-" + base64.urlsafe_b64encode(os.urandom(32)).rstrip(b"=").decode("ascii")


def _make_encryption_keys() -> str:
    return "k1:" + base64.b64encode(os.urandom(32)).decode("ascii")
