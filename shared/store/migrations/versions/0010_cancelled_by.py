"""Who called a task off, for the audit log."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "task",
        sa.Column("cancelled_by", JSONB(), nullable=True, comment="Who asked for it: principal and origin."),
    )


def downgrade() -> None:
    op.drop_column("task", "cancelled_by")
