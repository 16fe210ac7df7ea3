"""Reads along everything that clients send to a Redis server, so that a test can search in it."""

import contextlib
import socket
import threading
from pathlib import Path
from typing import Self

_RECONNECT_EVERY_S = 0.05
_LOOK_EVERY_S = 0.2


class Monitor:
    """Writes the output of MONITOR to a file; comes back by itself when the server does."""

    def __init__(self, server: Path, output: Path) -> None:
        self._server = server
        self._output = output
        self._closing = threading.Event()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._run, name="monitor")

    def start(self) -> Self:
        """Returns once it is connected."""
        self._thread.start()
        assert self._listening.wait(10), "the server did not answer MONITOR"
        return self

    def close(self) -> None:
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closing.wait(_RECONNECT_EVERY_S):
            with (
                contextlib.suppress(OSError),
                socket.socket(socket.AF_UNIX) as connection,
                self._output.open("ab") as out,
            ):
                connection.settimeout(_LOOK_EVERY_S)
                connection.connect(str(self._server))
                connection.sendall(b"MONITOR\r\n")
                while not self._closing.is_set():
                    with contextlib.suppress(TimeoutError):
                        data = connection.recv(1 << 16)
                        if not data:
                            break
                        out.write(data)
                        out.flush()
                        self._listening.set()
