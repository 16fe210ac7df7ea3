"""The receivers: one process, many paths. ``/good/…`` answers at once and notes how long the event took to come."""

import asyncio
import contextlib
import sys
import time
from datetime import datetime
from typing import Any

import msgspec

_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
_ERROR = b"HTTP/1.1 500 Error\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"
_LONG_S = 3600


class Receiver:
    def __init__(self) -> None:
        self._delays_s: list[float] = []
        self._arrived_at: list[float] = []

    async def serve(self, port: int) -> None:
        server = await asyncio.start_server(self._answer, "127.0.0.1", port, backlog=512)
        async with server:
            await server.serve_forever()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            path = head.split(" ", 2)[1]
            lengths = (line[15:] for line in head.split("\r\n") if line.lower().startswith("content-length:"))
            length = int(next(lengths, "0"))
            await self._say(path, await reader.readexactly(length), writer)
        writer.close()

    async def _say(self, path: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        if path.startswith("/good"):
            self._note(msgspec.json.decode(body))
            writer.write(_OK)
        elif path == "/report":
            writer.write(self._report())
        elif path == "/hang":
            await asyncio.sleep(_LONG_S)
        elif path == "/drip":
            while not writer.is_closing():
                writer.write(b"H")
                await writer.drain()
                await asyncio.sleep(1)
        else:
            writer.write(_ERROR)
        await writer.drain()

    def _note(self, message: Any) -> None:
        now = time.time()
        self._delays_s.append(now - datetime.fromisoformat(message["timestamp"]).timestamp())
        self._arrived_at.append(now)

    def _report(self) -> bytes:
        """What came since the last report, as JSON."""
        report = msgspec.json.encode({"delays_s": self._delays_s, "arrived_at": self._arrived_at})
        self._delays_s, self._arrived_at = [], []
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(report) + report


if __name__ == "__main__":
    asyncio.run(Receiver().serve(int(sys.argv[1])))
