"""The command ``pointsman api``."""

import gc

import click
import structlog
import uvicorn
from litestar import Litestar

from api.app import create_app
from api.protocol import LimitedProtocol
from shared.runtime.process import begin, or_exit
from shared.runtime.settings import Settings

SHUTDOWN_GRACE_S = 10


@click.command(help="Serve the HTTP API.")
def command() -> None:
    app, settings = or_exit(_prepare)
    structlog.get_logger(__name__).info("api.starting", listen=settings.listen)
    # What was imported stays for good: the collector need not walk through it again and again.
    gc.collect()
    gc.freeze()
    uvicorn.run(
        app,
        host=settings.listen_host,
        port=settings.listen_port,
        loop="uvloop",
        http=LimitedProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_GRACE_S,
    )


def _prepare() -> tuple[Litestar, Settings]:
    settings = begin("api")
    return create_app(settings), settings
