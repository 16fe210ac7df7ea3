"""The API's address: whether it is free, and whether the API answers there that it is ready."""

import errno
import socket
from dataclasses import dataclass

from shared.domain.tasks import NO_PROGRESS
from shared.runtime.settings import Misconfigured

_ANSWER_S = 2.0
_LARGEST_ANSWER = 4096
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104  compared with, not bound to


@dataclass(frozen=True, slots=True)
class Address:
    """Where the API listens."""

    host: str
    port: int

    @property
    def listen(self) -> str:
        return f"{_bracketed(self.host)}:{self.port}"

    @property
    def url(self) -> str:
        """As this machine reaches it."""
        return f"http://{_bracketed(self._reachable)}:{self.port}"

    @property
    def _reachable(self) -> str:
        return _EVERYWHERE.get(self.host, self.host)

    def refuse_taken(self) -> None:
        """
        Raises:
            Misconfigured: nobody can listen there now.
        """
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                self.host or None, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            with socket.socket(family, kind, protocol) as trial:
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                trial.bind(address)
                trial.listen(1)
        except OSError as error:
            raise Misconfigured(self._explain(error)) from None

    def is_ready(self) -> bool:
        """Whether GET /health/readiness answers 200."""
        return self._readiness().split(b" ")[1:2] == [b"200"]

    def is_stalled(self) -> bool:
        """Whether it answers that due work makes no progress. No answer says nothing about that."""
        return NO_PROGRESS.encode("ascii") in self._readiness()

    def _readiness(self) -> bytes:
        """The beginning of the answer, which has all of it; empty if there is none."""
        request = f"GET /health/readiness HTTP/1.1\r\nHost: {_bracketed(self._reachable)}\r\nConnection: close\r\n\r\n"
        answer = b""
        try:
            with socket.create_connection((self._reachable, self.port), timeout=_ANSWER_S) as connection:
                connection.sendall(request.encode("ascii"))
                while len(answer) < _LARGEST_ANSWER and (more := connection.recv(_LARGEST_ANSWER)):
                    answer += more
        except OSError:
            return b""
        return answer

    def _explain(self, error: OSError) -> str:
        if error.errno == errno.EADDRINUSE:
            return f"Port {self.port} on {self.host} is in use by another program. Choose another one with --port."
        return f"The API cannot listen on {self.listen}: {error.strerror}. Choose another --host or --port."


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
