"""Where the servers' Unix sockets lie. The kernel allows 107 bytes for a socket's path, a data folder may be deeper."""

import contextlib
import os
import stat
import zlib
from dataclasses import dataclass
from pathlib import Path

from shared.runtime.settings import Misconfigured

_LONGEST_PATH_BYTES = 107
_POSTGRES_SOCKET = ".s.PGSQL.5432"


@dataclass(frozen=True, slots=True)
class Sockets:
    """A private folder that holds nothing but sockets; removed at the end when it is not part of the data folder."""

    folder: Path

    @property
    def postgres(self) -> Path:
        """The folder that PostgreSQL makes its socket in."""
        return self.folder / "pg"

    @property
    def valkey(self) -> Path:
        return self.folder / "valkey.sock"

    def prepare(self) -> None:
        """Make the folders, for nobody else's eyes."""
        for folder in (self.folder, self.postgres):
            with contextlib.suppress(FileExistsError):
                folder.mkdir(mode=0o700)
        _refuse_foreign(self.folder)

    def remove(self) -> None:
        """Best effort: whatever is left is empty and private."""
        for path in (self.valkey, self.postgres / _POSTGRES_SOCKET, self.postgres / f"{_POSTGRES_SOCKET}.lock"):
            path.unlink(missing_ok=True)
        for folder in (self.postgres, self.folder):
            with contextlib.suppress(OSError):
                folder.rmdir()


def sockets_of(data: Path, temporary: Path | None = None) -> Sockets:
    """The sockets of a data folder: inside it, or, when that path is too long, in the folder for temporary files."""
    inside = Sockets(data / "run")
    if _fits(inside):
        return inside
    name = f"pointsman-{os.geteuid()}-{zlib.crc32(os.fsencode(data)):08x}"
    for parent in (temporary or Path(os.environ.get("TMPDIR", "/tmp")), Path("/tmp")):  # noqa: S108  checked for its owner
        outside = Sockets(parent / name)
        if _fits(outside):
            return outside
    return inside


def _fits(sockets: Sockets) -> bool:
    return len(os.fsencode(sockets.postgres / _POSTGRES_SOCKET)) <= _LONGEST_PATH_BYTES


def _refuse_foreign(folder: Path) -> None:
    """In a shared folder somebody may have made the name first."""
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise Misconfigured(f"{folder} should be a private folder of this user, and is not. Remove it, or set TMPDIR.")
