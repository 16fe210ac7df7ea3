"""Alembic's entry: runs on the connection that ``upgrade`` hands over, inside its transaction."""

from alembic import context

from shared.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, compare_server_default=True
)
context.run_migrations()
