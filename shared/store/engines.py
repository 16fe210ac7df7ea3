"""Engines, made by the process that uses them and after it has forked. Every wait has a limit."""

import msgspec
from sqlalchemy import Engine, create_engine, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

CONNECT_TIMEOUT_S = 3
API_STATEMENT_TIMEOUT_S = 5
# A worker that froze while it held locks is disconnected by the server after this, so it cannot commit late; it may
# hold the head row, for which all others wait. Deciding a batch of a hundred of the largest commands takes 3 s.
WORKER_IDLE_IN_TRANSACTION_S = 5
WORKER_UNANSWERED_S = 15
WORKER_STATEMENT_TIMEOUT_S = 20

# SQLSTATE classes and codes of failures that pass by themselves (PostgreSQL manual, appendix A).
_TRANSIENT_CLASSES = ("08", "53", "57")
_TRANSIENT_CODES = ("40001", "40P01", "55P03", "25P03", "58030")


def async_engine(database_url: str, *, pool_size: int = 5) -> AsyncEngine:
    """The API's engine. It does not look at a connection before its use, which would take a round trip each time."""
    return create_async_engine(
        make_url(database_url).set(drivername="postgresql+asyncpg"),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=API_STATEMENT_TIMEOUT_S,
        json_serializer=_encode,
        json_deserializer=msgspec.json.decode,
        # The rows of a failed statement are nothing for the log that tells of it.
        hide_parameters=True,
        connect_args={
            "timeout": CONNECT_TIMEOUT_S,
            "command_timeout": API_STATEMENT_TIMEOUT_S,
            "server_settings": {
                "application_name": "pointsman-api",
                "statement_timeout": f"{API_STATEMENT_TIMEOUT_S}s",
                "idle_in_transaction_session_timeout": f"{API_STATEMENT_TIMEOUT_S}s",
            },
        },
    )


def worker_engine(database_url: str, *, pool_size: int = 2) -> Engine:
    """A worker process's engine; make it after the fork."""
    options = (
        f"-c statement_timeout={WORKER_STATEMENT_TIMEOUT_S}s"
        f" -c idle_in_transaction_session_timeout={WORKER_IDLE_IN_TRANSACTION_S}s"
    )
    return create_engine(
        make_url(database_url).set(drivername="postgresql+psycopg"),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=CONNECT_TIMEOUT_S,
        pool_pre_ping=True,
        json_serializer=_encode,
        json_deserializer=msgspec.json.decode,
        # The rows of a failed statement are nothing for the log that tells of it.
        hide_parameters=True,
        connect_args={
            "application_name": "pointsman-worker",
            "connect_timeout": CONNECT_TIMEOUT_S,
            "options": options,
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": WORKER_UNANSWERED_S * 1000,
        },
    )


def is_transient(error: BaseException) -> bool:
    """Whether the failure can pass by itself: connection, deadlock, serialisation, timeout. The only judge of it."""
    if isinstance(error, PoolTimeout | OSError | TimeoutError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    code = getattr(error.orig, "sqlstate", None)
    if code is None:
        return error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)
    return code.startswith(_TRANSIENT_CLASSES) or code in _TRANSIENT_CODES


def is_unstorable_text(error: BaseException) -> bool:
    """Whether the server refuses a text as such: one with a NUL."""
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) in ("22021", "22P05")


def _encode(value: object) -> str:
    return msgspec.json.encode(value).decode()
