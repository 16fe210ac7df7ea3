"""The Celery application: four Celery tasks, named explicitly, that only ring through to this package's classes."""

import contextlib
import gc
import os
import random
import threading
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import structlog
from celery import Celery, Task
from celery.signals import worker_init, worker_shutting_down
from kombu.exceptions import OperationalError
from sqlalchemy import Engine

from shared.contract.config_file import parse
from shared.contract.events import is_pattern
from shared.domain.decision import Installation
from shared.encryption.keyring import BadKey, Keyring
from shared.encryption.signing import BadSigningKey, SigningKey
from shared.messaging import rings
from shared.messaging.broker import celery_app
from shared.messaging.wakeups import Waker
from shared.outbox.addresses import Allowlist
from shared.outbox.routing import Routes
from shared.runtime.clock import now
from shared.runtime.config_file import ConfigFile
from shared.runtime.failpoints import reach
from shared.runtime.settings import Misconfigured, Secret, Settings, variable_of
from shared.store.engines import worker_engine
from worker.alarms import Alarms
from worker.apply import Applied, Applier
from worker.attempts import Attempts
from worker.chores.rekey import Rekeying
from worker.chores.runner import Chores
from worker.deliver import Deliverer
from worker.drain import Drain
from worker.heads import HeadWriter
from worker.recording import Recording
from worker.retention import Retention
from worker.senders.connector import Connector
from worker.sending import Sending
from worker.sweep import Sweeper

_log = structlog.get_logger(__name__)


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """Settings in the form the worker uses, so that what is unusable stops the start."""

    settings: Settings
    keyring: Keyring
    allow: Allowlist
    slack_urls: dict[str, Secret]
    """By team; "" is the operator's own channel."""
    signing_key: SigningKey | None = None

    @property
    def routes(self) -> Routes:
        return Routes(
            slack="" in self.slack_urls,
            slack_events=self.settings.slack_events,
            slack_teams=frozenset(self.slack_urls) - {""},
        )


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
    return Checked(
        settings=settings,
        keyring=keyring,
        allow=allow,
        slack_urls=_slack_urls(settings),
        signing_key=_signing_key(settings),
    )


def _signing_key(settings: Settings) -> SigningKey | None:
    """Raises Misconfigured."""
    has_place = bool(settings.audit_heads_file or settings.audit_heads_url)
    if settings.audit_signing_key is None:
        if has_place:
            raise Misconfigured(
                f"{variable_of('audit_signing_key')} is not set, so there is nothing to sign the audit log's heads "
                "with. `pointsman audit keygen` makes a key."
            )
        return None
    try:
        key = SigningKey.parse(settings.audit_signing_key.reveal())
    except BadSigningKey as error:
        raise Misconfigured(f"{variable_of('audit_signing_key')} cannot be used: {error}") from None
    return key if has_place else None


def _slack_urls(settings: Settings) -> dict[str, Secret]:
    unknown = [pattern for pattern in settings.slack_events if not is_pattern(pattern)]
    if unknown:
        raise Misconfigured(f"{variable_of('slack_events')} cannot be used: {unknown[0]!r} is no event type")
    urls = {} if settings.slack_webhook_url is None else {"": settings.slack_webhook_url}
    given = "" if settings.slack_teams is None else settings.slack_teams.reveal()
    for number, item in enumerate((part.strip() for part in given.split(",") if part.strip()), start=1):
        team_id, _, url = item.partition("=")
        if not team_id.strip() or not url.strip().startswith(("https://", "http://")):
            raise Misconfigured(f"{variable_of('slack_teams')} cannot be used: entry {number} is not team=https://…")
        urls[team_id.strip()] = Secret(url.strip())
    return urls


class Workshop:
    """What the Celery tasks of one process work with. Made after the fork: connections do not survive one."""

    def __init__(self, app: Celery, checked: Checked) -> None:
        settings = checked.settings
        self._app = app
        engine = worker_engine(settings.database_url.reveal(), pool_size=4)
        self._waker = Waker(settings.redis_url.reveal())
        routes = checked.routes
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
        self.chores = Chores(
            engine,
            applier,
            {"encryption.rotate": Rekeying(checked.keyring)},
            max_attempts=settings.max_attempts,
            clock=now,
            jitter=random.random,
            told=self._tell,
            meanwhile=self.drain.drain,
        )
        self.sweeper = Sweeper(engine, self._ring_apply, self._ring_deliver, Alarms(engine, routes, now).announce)
        self.retention = Retention(engine, timedelta(days=settings.retention_days), now)
        self.deliverer = Deliverer(
            engine=engine,
            sending=Sending(
                engine=engine,
                keyring=checked.keyring,
                connector=Connector(allow=checked.allow),
                slack_urls=checked.slack_urls,
                clock=now,
            ),
            recording=Recording(
                waits_s=settings.webhook_schedule,
                slack_window_s=settings.slack_window,
                disable_after_s=settings.webhook_disable_after,
                clock=now,
                jitter=random.random,
            ),
            limit=settings.delivery_threads,
            told=lambda task_ids: self._ring_apply(task_ids, one_by_one=False),
        )
        key = checked.signing_key
        self._head_writer = None if key is None else _head_writer(engine, key, checked)

    def _tell(self, applied: Applied) -> None:
        self._waker.wake(applied.task_ids)
        reach("apply.after_wake")
        if applied.delivery_ids:
            self._ring_deliver(applied.delivery_ids)
        reach("apply.after_ring")

    def _ring_apply(self, task_ids: Sequence[str], one_by_one: bool) -> None:
        with _ring_may_fail():
            rings.ring_apply(self._app, task_ids, one_by_one=one_by_one)

    def _ring_deliver(self, delivery_ids: Sequence[str]) -> None:
        with _ring_may_fail():
            rings.ring_deliver(self._app, delivery_ids)

    def write_head(self) -> None:
        if self._head_writer is not None:
            self._head_writer.write()

    def ring_on(self) -> None:
        """There is more to apply than this ring had time for."""
        self._ring_apply((), one_by_one=False)


def _head_writer(engine: Engine, key: SigningKey, checked: Checked) -> HeadWriter:
    settings = checked.settings
    return HeadWriter(
        engine,
        key,
        now,
        file=Path(settings.audit_heads_file) if settings.audit_heads_file else None,
        url=settings.audit_heads_url,
        connector=Connector(allow=checked.allow),
    )


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

    def stop_delivering(**_: object) -> None:
        for shop in workshops.values():
            shop.deliverer.stop()

    worker_shutting_down.connect(stop_delivering, weak=False)
    return app


def _register(app: Celery, workshop: Any, settings: Settings) -> None:
    @app.task(name=rings.APPLY, bind=True)
    def apply(self: Task[Any, Any], task_ids: list[str], one_by_one: bool = False) -> None:
        shop: Workshop = workshop()
        delivery_info: dict[str, Any] = self.request.delivery_info or {}
        if one_by_one or delivery_info.get("redelivered"):
            # Redelivered: whoever had this ring before died over it, so what is due is tried with care.
            shop.drain.one_by_one([*task_ids, *shop.attempts.due(settings.batch_size)])
        has_more = shop.drain.drain()
        if shop.chores.go_on() or has_more:
            shop.ring_on()

    @app.task(name=rings.DELIVER)
    def deliver(delivery_ids: list[str]) -> None:  # noqa: ARG001  (a hint; what is due goes first)
        shop: Workshop = workshop()
        shop.deliverer.deliver()

    @app.task(name=rings.SWEEP)
    def sweep() -> None:
        shop: Workshop = workshop()
        shop.sweeper.sweep()

    @app.task(name=rings.PURGE)
    def purge() -> None:
        shop: Workshop = workshop()
        shop.retention.purge()

    @app.task(name=rings.HEADS)
    def heads() -> None:
        shop: Workshop = workshop()
        shop.write_head()

    del apply, deliver, sweep, purge, heads


def _share_memory(**_: object) -> None:
    """What the parent holds stays shared with its children: the collector does not touch it after the fork."""
    gc.collect()
    gc.freeze()
