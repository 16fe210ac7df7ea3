"""The Celery application: three Celery tasks, named explicitly, that only ring through to this package's classes."""

import contextlib
import gc
import os
import random
import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec
import structlog
from celery import Celery, Task
from celery.signals import worker_init
from kombu.exceptions import OperationalError

from shared.contract.config_file import parse
from shared.domain.decision import Installation
from shared.encryption.keyring import BadKey, Keyring
from shared.messaging import rings
from shared.messaging.broker import celery_app
from shared.messaging.wakeups import Waker
from shared.outbox.addresses import Allowlist
from shared.outbox.routing import Routes
from shared.runtime.clock import now
from shared.runtime.config_file import ConfigFile
from shared.runtime.settings import Misconfigured, Settings, variable_of
from shared.store.engines import worker_engine
from worker.apply import Applied, Applier
from worker.attempts import Attempts
from worker.deliver import Deliverer
from worker.drain import Drain
from worker.retention import Retention
from worker.senders.connector import Connector
from worker.sweep import Sweeper

_log = structlog.get_logger(__name__)


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """Settings in the form the worker uses, so that what is unusable stops the start."""

    settings: Settings
    keyring: Keyring
    allow: Allowlist


def check(settings: Settings) -> Checked:
    """Raises Misconfigured."""
    try:
        keyring = Keyring.parse(settings.encryption_keys.reveal())
    except BadKey as error:
        raise Misconfigured(f"{variable_of('encryption_keys')} cannot be used: {error}") from None
    try:
        allow = Allowlist.parse(settings.webhook_allow)
    except ValueError as error:
        raise Misconfigured(f"{variable_of('webhook_allow')} cannot be used: {error}") from None
    return Checked(settings=settings, keyring=keyring, allow=allow)


class Workshop:
    """What the Celery tasks of one process work with. Made after the fork: connections do not survive one."""

    def __init__(self, app: Celery, checked: Checked) -> None:
        settings = checked.settings
        self._app = app
        engine = worker_engine(settings.database_url.reveal(), pool_size=max(2, settings.delivery_threads))
        self._waker = Waker(settings.redis_url.reveal())
        routes = Routes(slack=settings.slack_webhook_url is not None)
        config_file = ConfigFile(settings.config, parse)
        applier = Applier(
            engine,
            checked.keyring,
            routes,
            settings.batch_size,
            now,
            lambda: Installation(
                config_model_ids=config_file.ids(),
                stores_models=settings.store_models,
                has_team_models=settings.team_models,
            ),
        )
        attempts = Attempts(engine, applier, settings.max_attempts, now, random.random)
        self.drain = Drain(applier, attempts, settings.batch_size, self._tell)
        self.attempts = attempts
        self.sweeper = Sweeper(engine, self._ring_apply, self._ring_deliver)
        self.retention = Retention(engine, timedelta(days=settings.retention_days), now)
        self.deliverer = Deliverer(
            engine=engine,
            keyring=checked.keyring,
            connector=Connector(allow=checked.allow),
            slack_url=settings.slack_webhook_url,
            waits_s=settings.webhook_schedule,
            clock=now,
            jitter=random.random,
        )

    def _tell(self, applied: Applied) -> None:
        self._waker.wake(applied.task_ids)
        if applied.delivery_ids:
            self._ring_deliver(applied.delivery_ids)

    def _ring_apply(self, task_ids: Sequence[str], one_by_one: bool) -> None:
        with _ring_may_fail():
            rings.ring_apply(self._app, task_ids, one_by_one=one_by_one)

    def _ring_deliver(self, delivery_ids: Sequence[str]) -> None:
        with _ring_may_fail():
            rings.ring_deliver(self._app, delivery_ids)

    def ring_on(self) -> None:
        """There is more to apply than this ring had time for."""
        self._ring_apply((), one_by_one=False)

    def ring_another_deliverer(self) -> None:
        self._ring_deliver(())


@contextlib.contextmanager
def _ring_may_fail() -> Any:
    """The row is committed; the sweep rings again."""
    try:
        yield
    except (OperationalError, OSError) as error:
        _log.warning("ring.failed", error=type(error).__name__)


def make_app(checked: Checked) -> Celery:
    settings = checked.settings
    app = celery_app(settings.redis_url.reveal(), sweep_interval_s=settings.sweep_interval)
    workshops: dict[int, Workshop] = {}
    making = threading.Lock()

    def workshop() -> Workshop:
        pid = os.getpid()
        with making:
            if pid not in workshops:
                workshops[pid] = Workshop(app, checked)
            return workshops[pid]

    _register(app, workshop, settings)
    worker_init.connect(_share_memory, weak=False)
    return app


def _register(app: Celery, workshop: Any, settings: Settings) -> None:
    @app.task(name=rings.APPLY, bind=True)
    def apply(self: Task[Any, Any], task_ids: list[str], one_by_one: bool = False) -> None:
        shop: Workshop = workshop()
        delivery_info: dict[str, Any] = self.request.delivery_info or {}
        if one_by_one or delivery_info.get("redelivered"):
            # Redelivered: whoever had this ring before died over it, so what is due is tried with care.
            shop.drain.one_by_one([*task_ids, *shop.attempts.due(settings.batch_size)])
        if shop.drain.drain():
            shop.ring_on()

    @app.task(name=rings.DELIVER)
    def deliver(delivery_ids: list[str]) -> None:  # noqa: ARG001  (a hint; what is due goes first)
        shop: Workshop = workshop()
        while shop.deliverer.deliver_next() is not None:
            if shop.deliverer.is_anything_due():
                shop.ring_another_deliverer()

    @app.task(name=rings.SWEEP)
    def sweep() -> None:
        shop: Workshop = workshop()
        shop.sweeper.sweep()

    @app.task(name=rings.PURGE)
    def purge() -> None:
        shop: Workshop = workshop()
        shop.retention.purge()

    del apply, deliver, sweep, purge


def _share_memory(**_: object) -> None:
    """What the parent holds stays shared with its children: the collector does not touch it after the fork."""
    gc.collect()
    gc.freeze()
