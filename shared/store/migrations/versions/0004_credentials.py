"""Credentials, and lines that wait for each other."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0004"
down_revision = "0002"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)
OPEN_TASK = sa.text("status IN ('queued', 'running')")
OPEN_TASK_WITH_NEEDS = sa.text("needs IS NOT NULL AND status IN ('queued', 'running')")


def upgrade() -> None:
    op.create_table(
        "credential",
        sa.Column("credential_name", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=True),
        sa.Column("credential_values", JSONB(none_as_null=True), nullable=False, comment="Every string is sealed."),
        sa.Column("credential_info", JSONB(none_as_null=True), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("credential_name", name="pk_credential"),
    )
    op.add_column("model", sa.Column("credential_name", sa.Text(), nullable=True))
    op.create_index("ix_model_credential_name", "model", ["credential_name"])
    op.add_column(
        "task",
        sa.Column("line", sa.Text(), sa.Computed("object_type || '/' || object_id", persisted=True), nullable=False),
    )
    op.add_column(
        "task",
        sa.Column(
            "needs",
            ARRAY(sa.Text()),
            nullable=True,
            comment="Other lines of which everything accepted earlier comes first.",
        ),
    )
    op.drop_index("ix_task_open_line", "task")
    op.create_index("ix_task_open_line", "task", ["line", "seq"], postgresql_where=OPEN_TASK)
    op.create_index(
        "ix_task_open_needs", "task", ["needs"], postgresql_using="gin", postgresql_where=OPEN_TASK_WITH_NEEDS
    )


def downgrade() -> None:
    op.drop_index("ix_task_open_needs", "task")
    op.drop_index("ix_task_open_line", "task")
    op.create_index("ix_task_open_line", "task", ["object_type", "object_id", "seq"], postgresql_where=OPEN_TASK)
    op.drop_column("task", "needs")
    op.drop_column("task", "line")
    op.drop_index("ix_model_credential_name", "model")
    op.drop_column("model", "credential_name")
    op.drop_table("credential")
