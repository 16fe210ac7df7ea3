"""Puts the API together."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from importlib.metadata import version

import redis.asyncio
from litestar import Litestar, Router
from litestar.di import Provide
from litestar.exceptions import HTTPException
from sqlalchemy.ext.asyncio import AsyncEngine

from api import errors, openapi
from api.auth import Authenticator, Limits
from api.catalogue import Catalogue
from api.intake import Intake
from api.limits import STORE, SharedCounts
from api.lookups import Judge
from api.reads import Reads
from api.refusals import RefusalLog
from api.routes import (
    audit,
    credentials,
    document,
    encryption,
    health,
    key_reads,
    keys,
    model_reads,
    models,
    task_control,
    tasks,
    team_reads,
    teams,
    users,
    webhook_reads,
    webhooks,
)
from api.routes.audit import HeadSigner
from api.seal_budget import SealBudget
from api.submission import Submitter
from api.teams import Teams
from api.unreadable import UnreadableNotes
from api.virtual_keys import VirtualKeys
from api.waiting import Waiting
from shared.audit import heads
from shared.contract.config_file import parse
from shared.domain.decision import Installation
from shared.domain.problems import Refusal
from shared.encryption.keyring import BadKey, Keyring
from shared.encryption.signing import BadSigningKey, SigningKey
from shared.messaging.broker import celery_app
from shared.messaging.rings import Bell
from shared.outbox.addresses import Allowlist
from shared.runtime.clock import now
from shared.runtime.config_file import ConfigFile
from shared.runtime.settings import Misconfigured, Settings, variable_of
from shared.store.engines import async_engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What handlers are given, by the names of these fields; ``engine`` and ``redis_client`` end with the process."""

    engine: AsyncEngine
    redis_client: redis.asyncio.Redis
    bell: Bell
    keyring: Keyring
    reads: Reads
    virtual_keys: VirtualKeys
    waiting: Waiting
    submitter: Submitter
    catalogue: Catalogue
    teams: Teams
    readiness: health.Readiness
    budget: SealBudget
    unreadable_notes: UnreadableNotes
    refusals: RefusalLog
    head_signer: HeadSigner
    judge: Judge


def create_app(settings: Settings) -> Litestar:
    """Raises Misconfigured."""
    services = _services(settings)
    authenticated = Router(
        "/",
        route_handlers=[
            models.router,
            model_reads.router,
            credentials.router,
            keys.router,
            key_reads.router,
            users.router,
            teams.router,
            team_reads.router,
            tasks.router,
            task_control.router,
            audit.router,
            webhooks.router,
            encryption.router,
            webhook_reads.router,
        ],
        middleware=[_authenticator(settings, services.virtual_keys).before],
    )
    return Litestar(
        route_handlers=[authenticated, health.router, document.router],
        dependencies={field.name: _constant(getattr(services, field.name)) for field in fields(services)},
        exception_handlers={
            Refusal: errors.on_refusal,
            HTTPException: errors.on_http_exception,
            Exception: errors.on_exception,
        },
        after_exception=[services.refusals.on_exception],
        openapi_config=openapi.config(version("pointsman")),
        request_max_body_size=settings.max_body_bytes,
        stores={STORE: SharedCounts(settings.redis_url.reveal())},
        lifespan=[lambda _app: _running(services)],
        logging_config=None,
    )


def _services(settings: Settings) -> Services:
    """Connects to nothing yet."""
    keyring = _keyring(settings)
    redis_url = settings.redis_url.reveal()
    engine = async_engine(settings.database_url.reveal())
    redis_client = redis.asyncio.Redis.from_url(redis_url, socket_timeout=2, socket_connect_timeout=2)
    bell = Bell(celery_app(redis_url))
    reads = Reads(engine)
    waiting = Waiting(reads, redis_url, settings.max_waiters)
    config_file = ConfigFile(settings.config, parse)
    allow = _allowlist(settings)
    submitter = Submitter(
        keyring=keyring,
        intake=Intake(engine, bell.ring),
        waiting=waiting,
        reads=reads,
        allow=allow,
        installation=lambda: Installation(
            config_model_ids=config_file.ids(),
            stores_models=settings.store_models,
            has_team_models=settings.team_models,
        ),
        default_wait_s=settings.default_wait,
        max_wait_s=settings.max_wait,
        requires_if_match=settings.require_if_match,
    )
    return Services(
        engine=engine,
        redis_client=redis_client,
        bell=bell,
        keyring=keyring,
        reads=reads,
        virtual_keys=VirtualKeys(reads),
        waiting=waiting,
        submitter=submitter,
        catalogue=Catalogue(reads, keyring, config_file),
        teams=Teams(reads),
        readiness=health.Readiness(reads, redis_client, config_file, settings.stall_after, version("pointsman")),
        budget=SealBudget(engine, keyring),
        unreadable_notes=UnreadableNotes(engine),
        refusals=RefusalLog(engine, keyring),
        head_signer=_head_signer(settings),
        judge=Judge(allow),
    )


@asynccontextmanager
async def _running(services: Services) -> AsyncGenerator[None]:
    services.bell.start()
    services.budget.start()
    services.unreadable_notes.start()
    services.waiting.start()
    services.virtual_keys.start()
    try:
        yield
    finally:
        await services.virtual_keys.stop()
        await services.waiting.stop()
        await services.refusals.stop()
        await services.budget.stop()
        await services.unreadable_notes.stop()
        services.bell.stop()
        await services.redis_client.aclose()
        await services.engine.dispose()


def _authenticator(settings: Settings, keys: VirtualKeys) -> Authenticator:
    limits = Limits(
        failures_of_source=settings.failures_per_minute,
        writes_of_key=settings.key_writes_per_minute,
        writes_of_source=settings.source_writes_per_minute,
    )
    return Authenticator(settings.master_key.reveal(), keys, limits)


def _constant(value: object) -> Provide:
    return Provide(lambda: value, sync_to_thread=False, use_cache=True)


def _keyring(settings: Settings) -> Keyring:
    try:
        return Keyring.parse(settings.encryption_keys.reveal())
    except BadKey as error:
        raise Misconfigured(f"{variable_of('encryption_keys')} cannot be used: {error}") from None


def _head_signer(settings: Settings) -> HeadSigner:
    """For the first line of an export; signs nothing if there is no key to sign with."""
    if settings.audit_signing_key is None:
        return lambda _: None
    try:
        key = SigningKey.parse(settings.audit_signing_key.reveal())
    except BadSigningKey as error:
        raise Misconfigured(f"{variable_of('audit_signing_key')} cannot be used: {error}") from None
    return lambda head: heads.sign(head, key, now())


def _allowlist(settings: Settings) -> Allowlist:
    try:
        return Allowlist.parse(settings.webhook_allow)
    except ValueError as error:
        raise Misconfigured(f"{variable_of('webhook_allow')} cannot be used: {error}") from None
