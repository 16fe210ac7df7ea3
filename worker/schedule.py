"""The command ``pointsman schedule``. It only rings, so it loads neither the store nor the senders."""

import click
import structlog
from celery.signals import setup_logging

from shared.messaging.broker import celery_app
from shared.runtime.process import begin, or_exit


@click.command(help="Ring for whatever nobody rings for, every few seconds. Run one.")
def command() -> None:
    settings = or_exit(lambda: begin("schedule"))
    # Celery leaves logging alone when somebody handles this signal.
    setup_logging.connect(_logs_are_set_up, weak=False)
    structlog.get_logger(__name__).info("celery.starting", sweep_interval_s=settings.sweep_interval)
    app = celery_app(
        settings.redis_url.reveal(),
        sweep_interval_s=settings.sweep_interval,
        heads_interval_s=settings.heads_interval_s,
    )
    app.Beat(loglevel=settings.log_level, quiet=True).run()


def _logs_are_set_up(**_: object) -> None:
    """``begin`` did it."""
