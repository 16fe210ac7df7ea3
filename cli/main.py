"""The command `pointsman`. Its parts are named here and imported only when one is called."""

import sys
from importlib import import_module

import click
from rich_click import RichGroup

from cli import EXIT_MISCONFIGURED

# name: what to load, and the line in the list of commands, which is shown without loading it.
_COMMANDS = {
    "up": ("cli.up:command", "Run everything on this machine: servers, API, workers and schedule."),
    "migrate": ("cli.migrate:command", "Bring the database's tables up to date."),
    "api": ("api.run:command", "Run the HTTP API."),
    "worker": ("worker.run:command", "Run a Celery worker, which applies and delivers."),
    "schedule": ("worker.schedule:command", "Run the schedule, which rings for what nobody rings for."),
    "audit": ("cli.audit:command", "Export the audit log, and prove that it is whole."),
    "keys": ("cli.keys:command", "Make, check and change the keys that seal secrets."),
}


class LazyGroup(RichGroup):
    """Lists its commands from the table, and loads the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """A stand-in, enough for the list of commands."""
        if cmd_name not in _COMMANDS:
            return None
        return click.Command(cmd_name, short_help=_COMMANDS[cmd_name][1])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, _, rest = super().resolve_command(ctx, args)
        return name, _load(name) if name else None, rest


def _load(name: str) -> click.Command:
    module, _, attribute = _COMMANDS[name][0].partition(":")
    command: click.Command = getattr(import_module(module), attribute)
    return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pointsman", prog_name="pointsman", message="%(prog)s %(version)s")
def group() -> None:
    """Set the points of an LLM gateway fleet."""


def main() -> None:
    """The console script. A start that cannot succeed is told in words, never as a traceback."""
    from shared.runtime.settings import Misconfigured  # a list of commands needs no settings

    try:
        group(prog_name="pointsman")
    except Misconfigured as problem:
        click.echo(f"pointsman: {problem}", err=True)
        sys.exit(EXIT_MISCONFIGURED)
