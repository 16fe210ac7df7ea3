"""How every process begins: settings, logs, warnings; what it cannot use ends it with exit code 78."""

import os
import sys
from collections.abc import Callable
from typing import TypeVar

import structlog

from shared.runtime.logs import configure
from shared.runtime.settings import Misconfigured, Settings, load, unknown_variables

EX_CONFIG = 78

T = TypeVar("T")


def begin(process: str) -> Settings:
    """Raises Misconfigured."""
    settings = load(os.environ)
    configure(log_format=settings.log_format, log_level=settings.log_level, process=process)
    for warning in unknown_variables(os.environ):
        structlog.get_logger(__name__).warning("settings.unknown", message=warning)
    return settings


def or_exit(start: Callable[[], T]) -> T:
    """Run a process's start; what is misconfigured is said on standard error, without a traceback."""
    try:
        return start()
    except Misconfigured as error:
        print(f"pointsman: {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(EX_CONFIG) from None
