import subprocess
import sys
from importlib.metadata import version

import click
import pytest
from click.testing import CliRunner

from cli.main import group

_HEAVY = ("litestar", "celery", "sqlalchemy", "cli.up", "api", "worker")


def test_the_list_of_commands_loads_none_of_them() -> None:
    program = (
        "import sys; from cli.main import group; group(['--help'], standalone_mode=False);"
        f"print('loaded:', [name for name in {_HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    assert "loaded: []" in done.stdout


@pytest.mark.parametrize("name", ["up", "migrate", "api", "worker", "schedule"])
def test_every_command_is_listed_with_a_line_of_help(name: str) -> None:
    context = click.Context(group)
    command = group.get_command(context, name)
    assert name in group.list_commands(context)
    assert command is not None
    assert command.short_help


def test_the_command_that_is_called_is_loaded() -> None:
    assert "--data-dir" in CliRunner().invoke(group, ["up", "--help"]).output


def test_an_unknown_command_is_refused() -> None:
    outcome = CliRunner().invoke(group, ["upp"])
    assert outcome.exit_code == 2
    assert "No such command 'upp'" in outcome.output


def test_the_version_is_the_installed_one() -> None:
    assert CliRunner().invoke(group, ["--version"]).output == f"pointsman {version('pointsman')}\n"


def test_a_start_without_settings_says_which_are_missing_and_ends_with_78() -> None:
    program = "from cli.main import main; main()"
    done = subprocess.run([sys.executable, "-P", "-c", program, "migrate"], env={}, capture_output=True, text=True)
    assert done.returncode == 78
    assert "POINTSMAN_DATABASE_URL is not set" in done.stderr
    assert "Traceback" not in done.stderr
