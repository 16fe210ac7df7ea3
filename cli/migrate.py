"""The command `pointsman migrate`."""

import os

import click
from rich_click import RichCommand

from shared.runtime import settings


@click.command(cls=RichCommand)
def command() -> None:
    """Bring the tables of POINTSMAN_DATABASE_URL up to date. Safe to run again, and beside a running Pointsman."""
    loaded = settings.load(os.environ)

    from shared.store import migrations  # after the settings: what is wrong with them is told at once

    migrations.upgrade(loaded.database_url.reveal())
