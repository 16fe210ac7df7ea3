"""A connection for commands that only look. They need no setting but the database's address."""

import os
from collections.abc import Generator
from contextlib import contextmanager

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from shared.runtime.settings import Misconfigured, only
from shared.store.engines import worker_engine


@contextmanager
def snapshot() -> Generator[Connection]:
    """Everything that is read in here is of one moment; nothing can be written.

    Raises:
        Misconfigured: the database is not named, or cannot be used.
    """
    url = only(os.environ, "database_url")
    if url is None:
        raise Misconfigured("POINTSMAN_DATABASE_URL is not set: it says which database to look into.")
    engine = worker_engine(url.reveal(), pool_size=1)
    try:
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with engine.connect().execution_options(**options) as connection:
            yield connection
    except SQLAlchemyError as error:
        cause = str(getattr(error, "orig", None) or error).strip().splitlines()
        raise Misconfigured(f"The database cannot be used: {cause[0] if cause else type(error).__name__}") from None
    finally:
        engine.dispose()
