"""The embedded Valkey (or Redis): on a private Unix socket, may lose the last second in a power cut."""

import contextlib
import socket
from pathlib import Path
from urllib.parse import quote

from cli.stack.processes import Program
from cli.stack.sockets import Sockets

_SETTINGS = {
    "port": "0",
    "unixsocketperm": "700",
    "daemonize": "no",
    "save": "",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "maxmemory-policy": "noeviction",
}


class Valkey:
    """One server on one data folder."""

    def __init__(self, binary: Path, data: Path, sockets: Sockets) -> None:
        self._binary = binary
        self._data = data
        self._sockets = sockets

    def prepare(self) -> None:
        self._data.mkdir(mode=0o700, exist_ok=True)

    def program(self) -> Program:
        settings = {**_SETTINGS, "dir": str(self._data), "unixsocket": str(self._sockets.valkey)}
        options = [part for name, value in settings.items() for part in (f"--{name}", value)]
        return Program(name="valkey", argv=(str(self._binary), *options), grace_s=10.0)

    def is_ready(self, pid: int) -> bool:  # noqa: ARG002  as PostgreSQL's
        """Whether it answers; while it reads its data it answers with an error."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1.0)
            connection.connect(str(self._sockets.valkey))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        return False

    def url(self) -> str:
        return f"unix://{quote(str(self._sockets.valkey))}?db=0"
