"""Child processes that do one piece of Pointsman's work, and may be killed at a failpoint on the way.

They are forked from a server that has everything imported: a process in a few hundredths of a second.
"""

import asyncio
import multiprocessing
from collections.abc import Callable, Mapping
from typing import Any

from shared.messaging.broker import celery_app
from shared.runtime import failpoints
from shared.runtime.settings import load
from tests.service.api.serving import an_api
from worker.app import Workshop, check

DEADLINE_S = 60
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.chaos.victims"])


def work(environment: Mapping[str, str], *, one_by_one: bool = False) -> None:
    """What the ring, the deliverer and the sweep would do, one after the other."""
    settings = load(environment)
    shop = Workshop(celery_app(settings.redis_url.reveal(), sweep_interval_s=1), check(settings))
    if one_by_one:
        shop.drain.one_by_one(shop.attempts.due(100))
    shop.drain.drain()
    while shop.chores.go_on():
        pass
    shop.deliverer.deliver()
    shop.sweeper.sweep()


def submit(environment: Mapping[str, str], method: str, path: str, body: Any, headers: Mapping[str, str]) -> None:
    """The API, from its start to its answer to this request."""

    async def ask() -> None:
        async with an_api(load(environment)) as client:
            await client.request(method, path, json=body, headers=headers)

    asyncio.run(ask())


def run(do: Callable[..., None], *arguments: Any, failpoint: str | None = None, **more: Any) -> int | None:
    """Runs it in a child; the exit code, which is the negative number of the signal that ended it."""
    child = _context.Process(target=_run, args=(do, arguments, more, failpoint))
    child.start()
    child.join(DEADLINE_S)
    if child.exitcode is None:
        child.kill()
        child.join()
        raise TimeoutError(f"the child hangs, with {failpoint}")
    return child.exitcode


def _run(do: Callable[..., None], arguments: tuple[Any, ...], more: Mapping[str, Any], failpoint: str | None) -> None:
    if failpoint is not None:
        failpoints.arm_from(failpoint)
    do(*arguments, **more)
