"""What comes before the body is limited too; on a real socket, because only there a head comes in pieces."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest_asyncio
import uvicorn

from api.app import create_app
from api.protocol import MAX_HEAD_BYTES, LimitedProtocol
from shared.runtime.settings import Settings
from tests.service.api.serving import until
from tests.support.fleet import free_port

Ask = Callable[..., Any]


@pytest_asyncio.fixture
async def ask(a_settings: Callable[[], Settings]) -> AsyncIterator[Ask]:
    """Sends bytes as they are, piece by piece, and gives everything that is answered until the connection ends."""
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(create_app(a_settings()), port=port, http=LimitedProtocol, log_config=None, lifespan="on")
    )
    serving = asyncio.create_task(server.serve())

    async def has_started() -> bool:
        return server.started

    await until(has_started)

    async def send(*pieces: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer

    yield send
    server.should_exit = True
    await serving


BEGINNING = b"GET /health/liveliness HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Long: "
LONG = b"x" * MAX_HEAD_BYTES


async def test_a_head_that_is_not_too_large_is_read(ask: Ask) -> None:
    answer = await ask(BEGINNING, LONG[: MAX_HEAD_BYTES // 2], b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_one_that_is_too_large_is_refused(ask: Ask) -> None:
    answer = await ask(BEGINNING + LONG + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b'"urn:pointsman:problem:head_too_large"' in answer


async def test_one_without_an_end_is_refused_too(ask: Ask) -> None:
    answer = await ask(BEGINNING, LONG)
    assert answer.startswith(b"HTTP/1.1 431 ")


async def test_each_request_of_a_connection_has_the_limit_to_itself(ask: Ask) -> None:
    first = BEGINNING.replace(b"Connection: close\r\n", b"") + LONG[: MAX_HEAD_BYTES // 2] + b"\r\n\r\n"
    answer = await ask(first, first, BEGINNING + b"\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 ") == 3
