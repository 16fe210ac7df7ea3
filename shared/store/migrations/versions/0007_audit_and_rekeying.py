"""The audit log is append-only for the database too; long tasks keep their place; seals are counted by key."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_REFUSE = """
CREATE FUNCTION refuse_change_of_audit_entry() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit_entry is append-only: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END
$$
"""
# For each statement: it also refuses one that meets no row, and costs an INSERT nothing.
_TRIGGER = """
CREATE TRIGGER audit_entry_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entry
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_audit_entry()
"""


def upgrade() -> None:
    op.execute(_REFUSE)
    op.execute(_TRIGGER)
    op.add_column(
        "task",
        sa.Column(
            "cursor", JSONB(none_as_null=True), nullable=True, comment="Where a long task goes on after a chunk."
        ),
    )
    op.create_table(
        "seal_count",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("seals", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key_id", name="pk_seal_count"),
        comment="How many values each key has sealed, as far as processes have reported it.",
    )


def downgrade() -> None:
    op.drop_table("seal_count")
    op.drop_column("task", "cursor")
    op.execute("DROP TRIGGER audit_entry_is_append_only ON audit_entry")
    op.execute("DROP FUNCTION refuse_change_of_audit_entry()")
