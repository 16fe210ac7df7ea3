"""HTTP/1.1 as uvicorn speaks it, with a limit to what comes before a body: uvicorn keeps a head of any length."""

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from shared.contract.errors import CATALOGUE, CONTENT_TYPE, body
from shared.domain.problems import HeadTooLarge

MAX_HEAD_BYTES = 64 * 1024
"""Of the request line and all headers. The longest that clients need is a list of ids in a query."""


class LimitedProtocol(HttpToolsProtocol):
    """Answers 431 (RFC 6585) and closes the connection as soon as a head is too long, however it comes."""

    _awaits_head = True
    _unread_bytes = 0
    _is_too_large = False

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._awaits_head = True
        self._unread_bytes = 0

    def on_headers_complete(self) -> None:
        self._awaits_head = False
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD_BYTES:
            self._is_too_large = True
            # For the parser, which has whatever is raised here answered by ``send_400_response``.
            raise HeadTooLarge(MAX_HEAD_BYTES)
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._awaits_head and not self.transport.is_closing():
            self._unread_bytes += len(data)
            if self._unread_bytes > MAX_HEAD_BYTES:
                self._refuse()

    def send_400_response(self, msg: str) -> None:
        if self._is_too_large:
            self._refuse()
        else:
            super().send_400_response(msg)

    def _refuse(self) -> None:
        problem = HeadTooLarge(MAX_HEAD_BYTES).problem()
        content = msgspec.json.encode(body(problem))
        head = f"content-type: {CONTENT_TYPE}\r\ncontent-length: {len(content)}\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[CATALOGUE[problem.code].status] + head.encode("ascii") + content)
        self.transport.close()
