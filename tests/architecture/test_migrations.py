from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, make_url

from shared.store import migrations
from shared.store.tables import metadata


def differences(database_url: str) -> list[object]:
    engine = create_engine(make_url(database_url).set(drivername="postgresql+psycopg"))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True, "compare_type": True})
        found = compare_metadata(context, metadata)
    engine.dispose()
    return found


def test_all_migrations_together_make_the_declared_tables(empty_database_url: str) -> None:
    assert differences(empty_database_url)
    migrations.upgrade(empty_database_url)
    assert differences(empty_database_url) == []


def test_every_migration_can_be_run_by_itself(empty_database_url: str) -> None:
    for script in reversed(list(_scripts().walk_revisions())):
        migrations.upgrade(empty_database_url, script.revision)


def test_running_them_again_changes_nothing(empty_database_url: str) -> None:
    migrations.upgrade(empty_database_url)
    migrations.upgrade(empty_database_url)
    assert differences(empty_database_url) == []


def test_there_is_one_line_of_migrations() -> None:
    assert len(_scripts().get_heads()) == 1


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(migrations.configuration())
