"""The command ``pointsman worker``."""

import socket
import sys
from typing import Any

import click
import structlog
from celery.signals import setup_logging

from shared.messaging.broker import APPLY_QUEUE, DELIVER_QUEUE
from shared.runtime.process import begin, or_exit
from shared.runtime.settings import Settings
from worker.app import Checked, check, make_app

_QUEUES = {"apply": APPLY_QUEUE, "deliver": DELIVER_QUEUE}


@click.command(help="Carry out accepted changes, and send their announcements.")
@click.option(
    "--queues",
    default="apply,deliver",
    show_default=True,
    help="What to work on. Run `apply` and `deliver` apart, so that slow receivers never hold up changes.",
)
def command(queues: str) -> None:
    names = [name.strip() for name in queues.split(",")]
    unknown = [name for name in names if name not in _QUEUES]
    if unknown:
        raise click.BadParameter(f"{', '.join(unknown)}: expected apply, deliver or both", param_hint="--queues")
    _run(or_exit(lambda: _prepare("worker-" + "-".join(names))), names)


def _prepare(process: str) -> Checked:
    return check(begin(process))


def _pool(names: list[str], settings: Settings) -> dict[str, Any]:
    """Applying needs processes, which can be killed one by one; delivering waits for others, which threads do well."""
    if names == ["deliver"]:
        return {"pool_cls": "threads", "concurrency": 2}
    return {"pool_cls": "prefork", "concurrency": settings.worker_processes}


def _run(checked: Checked, names: list[str]) -> None:
    """Start the worker as ``celery worker`` does; that command itself would load all of Celery's others, 12 MB."""
    # Celery leaves logging alone when somebody handles this signal.
    setup_logging.connect(_logs_are_set_up, weak=False)
    structlog.get_logger(__name__).info("celery.starting", queues=names)
    app: Any = make_app(checked)  # its attributes that are made on demand are not typed
    worker = app.Worker(
        **_pool(names, checked.settings),
        hostname=f"{'-'.join(names)}@{socket.gethostname()}",
        queues=[_QUEUES[name] for name in names],
        loglevel=checked.settings.log_level,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )
    worker.start()
    sys.exit(worker.exitcode)


def _logs_are_set_up(**_: object) -> None:
    """``begin`` did it."""
