import signal

from cli.stack.privileges import as_owner


def test_the_present_user_needs_no_other_command() -> None:
    assert as_owner(None, ["postgres", "-D", "data"], signal.SIGINT) == ("postgres", "-D", "data")
