"""Child processes that do one piece of Pointsman's work, and may be killed at a failpoint on the way.

They are forked from a server that has everything imported: a process in a few hundredths of a second.
"""

import asyncio
import contextlib
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from api.intake import Intake
from shared.messaging.broker import celery_app
from shared.runtime import failpoints
from shared.runtime.settings import load
from tests.service.api.serving import an_api, until
from worker.app import Workshop, check

Request = tuple[str, str, Any, Mapping[str, str]]
"""Method, path, body, headers."""

DEADLINE_S = 60
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.chaos.victims"])


@contextlib.contextmanager
def workshop(environment: Mapping[str, str]) -> Iterator[Workshop]:
    settings = load(environment)
    app = celery_app(settings.redis_url.reveal(), sweep_interval_s=1)
    shop = Workshop(app, check(settings))
    yield shop
    shop.sweeper._engine.dispose()
    shop._waker.close()
    app.close()


def work_in(shop: Workshop, *, one_by_one: bool = False) -> None:
    """What the ring, the deliverer and the sweep would do, one after the other."""
    if one_by_one:
        shop.drain.one_by_one(shop.attempts.due(100))
    shop.drain.drain()
    while shop.chores.go_on():
        pass
    shop.deliverer.deliver()
    shop.sweeper.sweep()


def work(environment: Mapping[str, str], *, one_by_one: bool = False) -> None:
    with workshop(environment) as shop:
        work_in(shop, one_by_one=one_by_one)


def purge(environment: Mapping[str, str]) -> None:
    """What the schedule asks for now and then."""
    with workshop(environment) as shop:
        shop.retention.purge()


def submit(environment: Mapping[str, str], requests: Sequence[Request]) -> None:
    """The API, from its start to its answers to these requests, which come at once and share a commit."""
    _wait_for_all(len(requests))

    async def ask() -> None:
        async with an_api(load(environment)) as client:
            sending = (
                client.request(method, path, json=body, headers=headers) for method, path, body, headers in requests
            )
            await asyncio.gather(*sending)

    asyncio.run(ask())


def _wait_for_all(count: int) -> None:
    """Before the intake of this process commits anything. Some requests have more to look up than others."""
    flush_all = Intake._flush_all

    async def flush_all_at_once(intake: Intake) -> None:
        async def are_all_there() -> bool:
            return len(intake._pending) == count

        await until(are_all_there)
        await flush_all(intake)

    Intake._flush_all = flush_all_at_once


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
