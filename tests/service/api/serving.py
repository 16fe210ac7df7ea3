"""Runs the API in the test's own process and event loop."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx

from api.app import create_app
from shared.runtime.settings import Settings
from tests.conftest import MASTER_KEY

_DEADLINE_S = 30
_POLL_S = 0.005


@contextlib.asynccontextmanager
async def an_api(
    settings: Settings, *, key: str | None = MASTER_KEY, source: str = "203.0.113.9"
) -> AsyncIterator[httpx.AsyncClient]:
    """The API in this process, from its start to its end, and a client that has the master key."""
    app = create_app(settings)
    started, ending = asyncio.Event(), asyncio.Event()

    async def run() -> None:
        # In a task of its own, because a fixture may begin and end in different ones.
        async with app.lifespan():
            started.set()
            await ending.wait()

    running = asyncio.create_task(run())
    await started.wait()
    transport = httpx.ASGITransport(app=app, client=(source, 4711))
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://pointsman.test", headers=headers) as client:
            yield client
    finally:
        ending.set()
        await running


async def until(condition: Callable[[], Awaitable[Any]]) -> Any:
    """The first true value of the condition."""
    async with asyncio.timeout(_DEADLINE_S):
        while not (value := await condition()):  # noqa: ASYNC110  (what it waits for is outside of this process)
            await asyncio.sleep(_POLL_S)
        return value
