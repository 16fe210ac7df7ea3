"""Migrations. Each one runs while the previous release still serves; one migrator at a time."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, make_url, text

# Any constant serves, as long as every Pointsman takes the same one.
_MIGRATION_LOCK = 7_061_735_511
_LOCK_TIMEOUT = "60s"


def upgrade(database_url: str, revision: str = "head") -> None:
    """Bring the database to this release's schema. Safe to run from several places at once.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database cannot be reached or refuses.
    """
    engine = create_engine(make_url(database_url).set(drivername="postgresql+psycopg"))
    try:
        with engine.connect() as connection, connection.begin():
            connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
            config = configuration()
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    finally:
        engine.dispose()


def configuration() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config
