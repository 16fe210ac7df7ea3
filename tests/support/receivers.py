"""Stand-ins for the other side of the internet: real sockets on loopback that answer what a test tells them to."""

import ssl
import threading
from collections import deque
from collections.abc import Mapping
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self

import msgspec

DEADLINE_S: Final = 20.0
"""How long a test waits for what must come. Generous: it is only ever spent by a test that fails."""


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """One request as it came in; header names are lower case, the body is the raw bytes."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the other side says.

    ``hang`` never answers; ``drip_head`` and ``drip`` never come to the end of the head or the body, byte by byte.
    """

    status: int = 200
    headers: Mapping[str, str] = {}
    body: bytes = b"ok"
    hang: bool = False
    drip_head: bool = False
    drip: bool = False
    drip_every_s: float = 0.05


class Receiver:
    """An HTTP server on an ephemeral loopback port. Use as a context manager; leaves no thread or socket behind.

    Answers are used up in order; after the last one, and when there are none, ``default`` is given.
    """

    def __init__(self, *answers: Answer, default: Answer | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.default = default or Answer()
        self._answers = deque(answers)
        self._received: list[Received] = []
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._server = _Server(self)
        self._scheme = "https" if tls else "http"
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    @property
    def url(self) -> str:
        """Where to send to, without a path."""
        return f"{self._scheme}://127.0.0.1:{self.port}"

    @property
    def requests(self) -> list[Received]:
        """All requests so far, oldest first."""
        with self._changed:
            return list(self._received)

    def answer_with(self, *answers: Answer) -> None:
        """Queues further answers."""
        with self._changed:
            self._answers.extend(answers)

    def wait_for(self, count: int, deadline_s: float = DEADLINE_S) -> list[Received]:
        """All requests so far, once there are at least this many. Raises ``TimeoutError`` at the deadline."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._received) >= count, deadline_s):
                raise TimeoutError(f"{len(self._received)} of {count} requests came within {deadline_s} s")
            return list(self._received)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def take(self, received: Received) -> Answer:
        """Called by the server's threads for each request."""
        with self._changed:
            self._received.append(received)
            answer = self._answers.popleft() if self._answers else self.default
            self._changed.notify_all()
        return answer

    def rest(self, seconds: float | None = None) -> bool:
        """Rests until the receiver closes or the time is over; says whether it closes."""
        return self._closing.wait(seconds)


class _Server(ThreadingHTTPServer):
    # Not daemons: server_close waits for every thread, so that none outlives its test.
    daemon_threads = False
    request_queue_size = 128

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The client hung up or refused the certificate; a test sees that on its own side."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]  the base class means any server
    protocol_version = "HTTP/1.1"
    # An idle connection kept by a client must not keep server_close waiting.
    timeout = 5

    def do_POST(self) -> None:
        self._respond()

    def do_GET(self) -> None:
        self._respond()

    def _respond(self) -> None:
        self.close_connection = True
        received = self._received()
        # Who is killed while sending has sent nothing: it says all of it again when it is back.
        if len(received.body) < int(received.headers.get("content-length", 0)):
            return
        answer = self.server.receiver.take(received)
        if answer.hang:
            self.server.receiver.rest()
        elif answer.drip or answer.drip_head:
            self._drip(answer)
        else:
            self._send(answer)

    def _received(self) -> Received:
        length = int(self.headers.get("content-length", 0))
        return Received(
            method=self.command, path=self.path, headers=_lowered(self.headers), body=self.rfile.read(length)
        )

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(answer.body)

    def _drip(self, answer: Answer) -> None:
        self.wfile.write(f"HTTP/1.1 {answer.status} Dripping\r\n".encode())
        self.wfile.write(b"X-Long: " if answer.drip_head else b"\r\n")
        while not self.server.receiver.rest(answer.drip_every_s):
            self.wfile.write(answer.body[:1] or b".")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class names it so
        """Nothing: the requests are kept."""


def _lowered(headers: Message) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
