"""Versions of models, and what their lists need to stay flat in cost."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A trusted extension since PostgreSQL 13: the database's owner may add it.
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    op.create_table(
        "model_revision",
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("task_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column(
            "state",
            JSONB(none_as_null=True),
            nullable=True,
            comment="The model after the change, values sealed; null if it was deleted.",
        ),
        sa.PrimaryKeyConstraint("model_id", "revision", name="pk_model_revision"),
        comment="What every stored model was, version by version.",
    )
    op.add_column("head", sa.Column("model_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.execute("UPDATE head SET model_count = (SELECT count(*) FROM model)")
    op.create_index("ix_model_created_at_model_id", "model", ["created_at", "model_id"])
    op.create_index("ix_model_updated_at_model_id", "model", ["updated_at", "model_id"])
    op.create_index("ix_model_shown_name", "model", [sa.text("coalesce(public_name, model_name)"), "model_id"])
    op.create_index(
        "ix_model_search",
        "model",
        [sa.text("(lower(coalesce(public_name, model_name))) gin_trgm_ops")],
        postgresql_using="gin",
    )


def downgrade() -> None:
    for index in (
        "ix_model_search",
        "ix_model_shown_name",
        "ix_model_updated_at_model_id",
        "ix_model_created_at_model_id",
    ):
        op.drop_index(index, "model")
    op.drop_column("head", "model_count")
    op.drop_table("model_revision")
