"""Structured logs: one line an event, JSON in production, readable in a terminal."""

import contextlib
import logging
import re
import sys
from collections.abc import MutableMapping
from functools import lru_cache
from typing import Any

import msgspec
import structlog

_SECRET_NAMES = re.compile(r"(?i)(secret|password|passwd|authorization|api_?key|master_key|token$)")
_SECRET_VALUES = re.compile(r"(?:sk-|whsec_|xox[abprs]-)[A-Za-z0-9_\-/+=]{6,}|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)")

_encoder = msgspec.json.Encoder(enc_hook=repr)


def configure(*, log_format: str, log_level: str, process: str) -> None:
    """Send structlog's and the standard library's events through the same steps to standard error.

    Each has its own way there: through the standard library's a line takes four times as long.
    """
    level = getattr(logging, log_level.upper())
    as_console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    first: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _bind(process),
    ]
    last: list[Any] = [
        structlog.processors.format_exc_info,
        mask,
        structlog.dev.ConsoleRenderer() if as_console else _as_json,
    ]
    structlog.configure(
        processors=[*first, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _Lines(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=first,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for chatty in ("httpx", "httpcore", "celery.worker.strategy", "celery.app.trace", "kombu", "amqp"):
        logging.getLogger(chatty).setLevel(max(level, logging.WARNING))


class _Lines:
    """Writes finished lines. Like the standard library's handlers, it fails silently: no work stops for its log."""

    def msg(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(line + "\n")
            sys.stderr.flush()

    debug = info = warning = error = critical = exception = msg


def _as_json(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
    return _encoder.encode(event).decode()


def mask(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The last net under the rule that secrets are never logged: hides what is named or looks like one."""
    for name, value in event.items():
        if _is_secret_name(name):
            event[name] = "***"
        elif isinstance(value, str) and _may_hold_secret(value):
            event[name] = _SECRET_VALUES.sub("***", value)
    return event


@lru_cache(maxsize=1024)  # the same few names in every line
def _is_secret_name(name: str) -> bool:
    return _SECRET_NAMES.search(name) is not None


def _may_hold_secret(value: str) -> bool:
    """What every secret value holds; far quicker than the search for the whole."""
    return "sk-" in value or "://" in value or "xox" in value or "whsec_" in value


def _bind(process: str) -> Any:
    def add_process(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event.setdefault("process", process)
        return event

    return add_process
