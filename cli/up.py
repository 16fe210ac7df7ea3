"""The command `pointsman up`: the whole of Pointsman on one machine, in one terminal."""

import contextlib
import os
import sys
from pathlib import Path

import click
from rich_click import RichCommand

from cli.stack.launch import PROCESSES, Address, Launch
from cli.stack.supervisor import StartFailed


@click.command(cls=RichCommand)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=".pointsman",
    show_default=True,
    help="Where everything is kept: data, keys, logs.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address that the API listens on.")
@click.option("--port", type=click.IntRange(1, 65535), default=4000, show_default=True, help="The API's port.")
def command(data_dir: Path, host: str, port: int) -> None:
    """Run everything on this machine: PostgreSQL, Valkey, API, workers and schedule. Ctrl-C ends it; the data stay.

    With POINTSMAN_DATABASE_URL or POINTSMAN_REDIS_URL set, that server is used instead of an embedded one.
    """
    launch = Launch(data_dir, Address(host, port), os.environ, PROCESSES, _say)
    try:
        launch.run()
    except StartFailed as failure:
        click.echo(f"pointsman: {failure}", err=True)
        sys.exit(1)


def _say(text: str) -> None:
    """The terminal may be gone by now; that must not keep anything from being ended in order."""
    with contextlib.suppress(OSError):
        click.echo(text)
