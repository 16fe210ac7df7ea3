"""The doorbell: Celery messages that say "there may be work", with ids as a hint."""

import queue
import threading
import time
from collections.abc import Iterable

import structlog
from celery import Celery

from shared.messaging.broker import APPLY_QUEUE, DELIVER_QUEUE

APPLY = "pointsman.apply"
DELIVER = "pointsman.deliver"
SWEEP = "pointsman.sweep"
HEADS = "pointsman.heads"
PURGE = "pointsman.purge"

# More ids than this in one message help nobody: the drain takes what is due, whatever the message names.
MAX_IDS = 100
# A ring takes about 0.7 ms of the ringer's time and 1.4 ms of the worker's. So the more changes one stands for, the
# longer the next one waits: a change alone is rung for at once, under load a few dozen rings a second do.
PAUSE_S_PER_ID = 0.000_25
LONGEST_PAUSE_S = 0.025
# A ring that waited this long is of no use: the sweep has rung again since.
EXPIRES_S = 30

_log = structlog.get_logger(__name__)


def ring_apply(app: Celery, task_ids: Iterable[str], *, one_by_one: bool = False) -> None:
    """Raises what the broker connection raises, within its timeouts."""
    _send(app, APPLY, APPLY_QUEUE, {"task_ids": list(task_ids)[:MAX_IDS], "one_by_one": one_by_one})


def ring_deliver(app: Celery, delivery_ids: Iterable[str]) -> None:
    """Raises what the broker connection raises, within its timeouts."""
    _send(app, DELIVER, DELIVER_QUEUE, {"delivery_ids": list(delivery_ids)[:MAX_IDS]})


def _send(app: Celery, name: str, queue_name: str, arguments: dict[str, object]) -> None:
    app.send_task(name, kwargs=arguments, queue=queue_name, expires=EXPIRES_S, retry=False, ignore_result=True)


class Bell:
    """Rings for accepted tasks from one thread of its own: the event loop never waits for Redis, nor does a client.

    Ids that come during a ring, or in the pause after it, share the next one. A failed ring is counted, logged and
    otherwise ignored: the sweep rings again.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._ids: queue.SimpleQueue[list[str] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="bell", daemon=True)
        self.failed_rings = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 5) -> None:
        self._ids.put(None)
        self._thread.join(timeout_s)

    def ring(self, task_ids: list[str]) -> None:
        self._ids.put(task_ids)

    def _run(self) -> None:
        while (ids := self._ids.get()) is not None:
            ids, is_last = self._gathered(ids)
            self._try_ring(ids)
            if is_last:
                return
            time.sleep(min(len(ids) * PAUSE_S_PER_ID, LONGEST_PAUSE_S))

    def _gathered(self, ids: list[str]) -> tuple[list[str], bool]:
        while not self._ids.empty():
            more = self._ids.get()
            if more is None:
                return ids, True
            ids = (ids + more)[:MAX_IDS]
        return ids, False

    def _try_ring(self, ids: list[str]) -> None:
        try:
            ring_apply(self._app, ids)
        except Exception as error:  # noqa: BLE001  (outermost loop of the thread; whatever it is, the sweep heals it)
            self.failed_rings += 1
            _log.warning("ring.failed", error=type(error).__name__, task_count=len(ids), failed_rings=self.failed_rings)
