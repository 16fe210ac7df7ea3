"""Puts the API together."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib.metadata import version

import redis.asyncio
from litestar import Litestar, Router
from litestar.di import Provide
from litestar.exceptions import HTTPException

from api import errors, openapi
from api.auth import Authenticator
from api.catalogue import Catalogue
from api.intake import Intake
from api.lookups import Judge
from api.reads import Reads
from api.routes import audit, health, model_reads, models, tasks, webhook_reads, webhooks
from api.submission import Submitter
from api.waiting import Waiting
from shared.contract.config_file import parse
from shared.domain.decision import Installation
from shared.domain.problems import Refusal
from shared.encryption.keyring import BadKey, Keyring
from shared.messaging.broker import celery_app
from shared.messaging.rings import Bell
from shared.outbox.addresses import Allowlist
from shared.runtime.config_file import ConfigFile
from shared.runtime.settings import Misconfigured, Settings, variable_of
from shared.store.engines import async_engine


def create_app(settings: Settings) -> Litestar:
    """Raises Misconfigured."""
    keyring = _keyring(settings)
    allow = _allowlist(settings)
    engine = async_engine(settings.database_url.reveal())
    redis_client = redis.asyncio.Redis.from_url(settings.redis_url.reveal(), socket_timeout=2, socket_connect_timeout=2)
    bell = Bell(celery_app(settings.redis_url.reveal()))
    reads = Reads(engine)
    waiting = Waiting(reads, settings.redis_url.reveal(), settings.max_waiters)
    config_file = ConfigFile(settings.config, parse)
    submitter = Submitter(
        keyring=keyring,
        intake=Intake(engine, bell.ring),
        waiting=waiting,
        reads=reads,
        allow=allow,
        installation=lambda: Installation(config_model_ids=config_file.ids(), stores_models=settings.store_models),
        default_wait_s=settings.default_wait,
        max_wait_s=settings.max_wait,
    )
    readiness = health.Readiness(reads, redis_client, config_file, settings.stall_after, version("pointsman"))
    catalogue = Catalogue(reads, keyring, config_file)

    @asynccontextmanager
    async def running(_app: Litestar) -> AsyncGenerator[None]:
        bell.start()
        waiting.start()
        try:
            yield
        finally:
            await waiting.stop()
            bell.stop()
            await redis_client.aclose()
            await engine.dispose()

    authenticated = Router(
        "/",
        route_handlers=[
            models.router,
            model_reads.router,
            tasks.router,
            audit.router,
            webhooks.router,
            webhook_reads.router,
        ],
        guards=[Authenticator(settings.master_key.reveal()).guard],
    )
    values = {
        "submitter": submitter,
        "reads": reads,
        "waiting": waiting,
        "keyring": keyring,
        "readiness": readiness,
        "catalogue": catalogue,
        "judge": Judge(allow),
    }
    return Litestar(
        route_handlers=[authenticated, health.router],
        dependencies={name: _constant(value) for name, value in values.items()},
        exception_handlers={
            Refusal: errors.on_refusal,
            HTTPException: errors.on_http_exception,
            Exception: errors.on_exception,
        },
        openapi_config=openapi.config(version("pointsman")),
        request_max_body_size=settings.max_body_bytes,
        lifespan=[running],
        logging_config=None,
    )


def _constant(value: object) -> Provide:
    return Provide(lambda: value, sync_to_thread=False, use_cache=True)


def _keyring(settings: Settings) -> Keyring:
    try:
        return Keyring.parse(settings.encryption_keys.reveal())
    except BadKey as error:
        raise Misconfigured(f"{variable_of('encryption_keys')} cannot be used: {error}") from None


def _allowlist(settings: Settings) -> Allowlist:
    try:
        return Allowlist.parse(settings.webhook_allow)
    except ValueError as error:
        raise Misconfigured(f"{variable_of('webhook_allow')} cannot be used: {error}") from None
