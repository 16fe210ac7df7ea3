"""What applying is compared with: Celery tasks that do nothing, on the same broker with the same settings and pool.

``python -m benchmarks.noop URL`` is their worker. The functions are for the one who publishes.
"""

import sys
import time
from typing import Any, cast

import msgspec
import redis
from celery import Celery
from celery.signals import setup_logging

from shared.messaging.broker import APPLY_QUEUE, celery_app
from shared.runtime.settings import Settings

DATABASE = 1
NOTHING = "benchmarks.nothing"
ANSWER = "benchmarks.answer"
_ANSWERS = "benchmarks:answers"
_LONGEST_S = 60.0


def url(redis_url: str) -> str:
    """Another database of the same server, so that nobody takes the other's messages."""
    return redis_url.replace("db=0", f"db={DATABASE}")


def make_app(redis_url: str) -> Celery:
    app = celery_app(redis_url)
    client = redis.Redis.from_url(redis_url)

    @app.task(name=NOTHING)
    def nothing() -> None:
        """As much as its name says."""

    @app.task(name=ANSWER)
    def answer() -> None:
        client.lpush(_ANSWERS, b"1")

    del nothing, answer
    return app


class Publisher:
    """Publishes and sees what became of it, from outside the worker."""

    def __init__(self, redis_url: str) -> None:
        self._app = celery_app(redis_url)
        self._redis = redis.Redis.from_url(redis_url, socket_timeout=None)

    def round_trip_ms(self) -> float:
        """From before publishing to the Celery task's own sign of life."""
        started = time.perf_counter()
        self._publish(ANSWER)
        if cast("Any", self._redis.brpop([_ANSWERS], timeout=5)) is None:
            raise TimeoutError("the no-op's worker does not answer")
        return (time.perf_counter() - started) * 1000

    def per_second(self, count: int) -> float:
        """From the first publish until all are acknowledged, the worker working all the while."""
        started = time.perf_counter()
        for _ in range(count):
            self._publish(NOTHING)
        while self._is_any_left():
            if time.perf_counter() - started > _LONGEST_S:
                raise TimeoutError("the no-op's worker does not finish")
            time.sleep(0.005)
        return count / (time.perf_counter() - started)

    def _publish(self, name: str) -> None:
        self._app.send_task(name, queue=APPLY_QUEUE, retry=False, ignore_result=True)

    def _is_any_left(self) -> bool:
        """Whether one waits or is not acknowledged, in kombu's own books; a worker takes it from one to the other."""
        return bool(self._redis.llen(APPLY_QUEUE)) or bool(self._redis.hlen("unacked"))


def work(redis_url: str, processes: int) -> None:
    """The pool that ``worker.run`` makes for the apply queue."""
    setup_logging.connect(_silence, weak=False)
    pool = ["--pool", "prefork", "--concurrency", str(processes)]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    make_app(redis_url).start(["worker", *pool, *quiet, "-n", "noop@%h", "--queues", APPLY_QUEUE])


def _silence(**_: object) -> None:
    """No logs: the no-op has nothing to say."""


if __name__ == "__main__":
    defaults = {field.name: field.default for field in msgspec.structs.fields(Settings)}
    work(sys.argv[1], defaults["worker_processes"])
