"""The commands ``pointsman worker`` and ``pointsman schedule``."""

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
def worker_command(queues: str) -> None:
    names = [name.strip() for name in queues.split(",")]
    unknown = [name for name in names if name not in _QUEUES]
    if unknown:
        raise click.BadParameter(f"{', '.join(unknown)}: expected apply, deliver or both", param_hint="--queues")
    checked = or_exit(lambda: _prepare("worker-" + "-".join(names)))
    _start(checked, ["worker", *_pool(names, checked.settings), "--queues", ",".join(_QUEUES[name] for name in names)])


@click.command(help="Ring for whatever nobody rings for, every few seconds. Run one.")
def schedule_command() -> None:
    _start(or_exit(lambda: _prepare("schedule")), ["beat"])


def _prepare(process: str) -> Checked:
    return check(begin(process))


def _pool(names: list[str], settings: Settings) -> list[str]:
    """Applying needs processes, which can be killed one by one; delivering waits for others, which threads do well."""
    if names == ["deliver"]:
        size = ["--pool", "threads", "--concurrency", "2"]
    else:
        size = ["--pool", "prefork", "--concurrency", str(settings.worker_processes)]
    return [*size, "--without-gossip", "--without-mingle", "--without-heartbeat", "-n", f"{'-'.join(names)}@%h"]


def _start(checked: Checked, arguments: list[str]) -> None:
    # Celery leaves logging alone when somebody handles this signal.
    setup_logging.connect(_logs_are_set_up, weak=False)
    structlog.get_logger(__name__).info("celery.starting", arguments=arguments)
    app = make_app(checked)
    app.start([*arguments, "--loglevel", checked.settings.log_level])


def _logs_are_set_up(**_: object) -> None:
    """``begin`` did it."""
