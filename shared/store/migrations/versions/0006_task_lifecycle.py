"""Cancelling and retrying tasks."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("task", sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("task", sa.Column("retry_of", sa.UUID(as_uuid=False), nullable=True))
    op.create_index("ix_task_retry_of", "task", ["retry_of"], postgresql_where=sa.text("retry_of IS NOT NULL"))
    op.create_index("ix_event_occurred_at", "event", ["occurred_at"])


def downgrade() -> None:
    op.drop_index("ix_event_occurred_at", "event")
    op.drop_index("ix_task_retry_of", "task")
    op.drop_column("task", "retry_of")
    op.drop_column("task", "cancel_requested_at")
