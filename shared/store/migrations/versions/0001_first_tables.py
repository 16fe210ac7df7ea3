"""The first tables."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

UUID = sa.UUID(as_uuid=False)
INSTANT = sa.DateTime(timezone=True)
GENESIS_HASH = "0" * 64


def upgrade() -> None:
    op.create_table(
        "audit_entry",
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("entry_id", UUID, nullable=False),
        sa.Column("recorded_at", INSTANT, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("actor_key", sa.Text(), nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=True),
        sa.Column("source_address", sa.Text(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("task_id", UUID, nullable=True),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("object_type", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Text(), nullable=False),
        sa.Column("before", JSONB(none_as_null=True), nullable=True),
        sa.Column("after", JSONB(none_as_null=True), nullable=True),
        sa.Column("problem", JSONB(none_as_null=True), nullable=True),
        sa.Column("previous_hash", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("position", name="pk_audit_entry"),
        sa.UniqueConstraint("entry_id", name="uq_audit_entry_entry_id"),
    )
    op.create_index(
        "ix_audit_entry_object_position", "audit_entry", ["object_type", "object_id", "position"], unique=False
    )
    op.create_index("ix_audit_entry_task_id", "audit_entry", ["task_id"], unique=False)
    op.create_table(
        "event",
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("occurred_at", INSTANT, nullable=False),
        sa.Column("object_type", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Text(), nullable=False),
        sa.Column("data", JSONB(none_as_null=True), nullable=False),
        sa.Column("task_id", UUID, nullable=True),
        sa.PrimaryKeyConstraint("event_id", name="pk_event"),
        comment="The outbox: what somebody has to be told, committed with the change itself.",
    )
    op.create_table(
        "head",
        sa.Column("single", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("position", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint("single", name=op.f("ck_head_single_row")),
        sa.PrimaryKeyConstraint("single", name="pk_head"),
        comment="The one serial point: where the audit chain ends and which revision the fleet has.",
    )
    op.create_table(
        "model",
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("model_name", sa.Text(), nullable=False),
        sa.Column("litellm_params", JSONB(none_as_null=True), nullable=False, comment="Every string is sealed."),
        sa.Column("model_info", JSONB(none_as_null=True), nullable=False),
        sa.Column("team_id", sa.Text(), nullable=True),
        sa.Column("public_name", sa.Text(), nullable=True),
        sa.Column("blocked", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("model_id", name="pk_model"),
    )
    op.create_index("ix_model_model_name", "model", ["model_name"], unique=False)
    op.create_index("ix_model_revision", "model", ["revision"], unique=False)
    op.create_table(
        "signing_secret",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column(
            "secret",
            sa.Text(),
            nullable=False,
            comment="The sealed whsec_ with which this user's callbacks are signed.",
        ),
        sa.Column("created_at", INSTANT, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name="pk_signing_secret"),
    )
    op.create_table(
        "task",
        sa.Column("task_id", UUID, nullable=False),
        sa.Column("seq", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("object_type", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Text(), nullable=False),
        sa.Column(
            "command", JSONB(none_as_null=True), nullable=True, comment="Secrets sealed; erased when the task succeeds."
        ),
        sa.Column("digest", sa.Text(), nullable=False, comment="Keyed digest of the request, to recognise it again."),
        sa.Column("principal", JSONB(none_as_null=True), nullable=False),
        sa.Column("submitted_by", sa.Text(), nullable=False),
        sa.Column(
            "origin",
            JSONB(none_as_null=True),
            nullable=False,
            comment="Request id, source address, litellm-changed-by.",
        ),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("webhook_url", sa.Text(), nullable=True, comment="Sealed."),
        sa.Column("status", sa.Text(), server_default=sa.text("'queued'"), nullable=False),
        sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_attempt_at", INSTANT, server_default=sa.text("now()"), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("progress", JSONB(none_as_null=True), nullable=True),
        sa.Column("result", JSONB(none_as_null=True), nullable=True),
        sa.Column("problem", JSONB(none_as_null=True), nullable=True),
        sa.Column("submitted_at", INSTANT, nullable=False),
        sa.Column("started_at", INSTANT, nullable=True),
        sa.Column("finished_at", INSTANT, nullable=True),
        sa.CheckConstraint("(finished_at IS NULL) = (status IN ('queued', 'running'))", name=op.f("ck_task_ended")),
        sa.CheckConstraint(
            "status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name=op.f("ck_task_status")
        ),
        sa.PrimaryKeyConstraint("task_id", name="pk_task"),
        sa.UniqueConstraint("seq", name="uq_task_seq"),
    )
    op.create_index("ix_task_finished_at", "task", ["finished_at"], unique=False)
    op.create_index(
        "ix_task_open_line",
        "task",
        ["object_type", "object_id", "seq"],
        unique=False,
        postgresql_where=sa.text("status IN ('queued', 'running')"),
    )
    op.create_index(
        "ix_task_open_seq", "task", ["seq"], unique=False, postgresql_where=sa.text("status IN ('queued', 'running')")
    )
    op.create_index("ix_task_submitted_by_seq", "task", ["submitted_by", "seq"], unique=False)
    op.create_index(
        "uq_task_idempotency_key",
        "task",
        ["submitted_by", "idempotency_key"],
        unique=True,
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
    op.create_table(
        "delivery",
        sa.Column("delivery_id", UUID, nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False, comment="callback or slack"),
        sa.Column("task_id", UUID, nullable=True),
        sa.Column("status", sa.Text(), server_default=sa.text("'pending'"), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_attempt_at", INSTANT, server_default=sa.text("now()"), nullable=False),
        sa.Column("created_at", INSTANT, server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", INSTANT, nullable=True),
        sa.CheckConstraint("destination IN ('callback', 'slack')", name=op.f("ck_delivery_destination")),
        sa.CheckConstraint("status IN ('pending', 'succeeded', 'failed')", name=op.f("ck_delivery_status")),
        sa.ForeignKeyConstraint(["event_id"], ["event.event_id"], name="fk_delivery_event_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("delivery_id", name="pk_delivery"),
    )
    op.create_index(
        "ix_delivery_due", "delivery", ["next_attempt_at"], unique=False, postgresql_where=sa.text("status = 'pending'")
    )
    op.create_index("ix_delivery_event_id", "delivery", ["event_id"], unique=False)
    op.create_index("ix_delivery_task_id", "delivery", ["task_id"], unique=False)
    op.create_table(
        "delivery_attempt",
        sa.Column("delivery_id", UUID, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("attempted_at", INSTANT, nullable=False),
        sa.Column("status_code", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("latency_ms", sa.Integer(), nullable=False),
        sa.Column("excerpt", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["delivery.delivery_id"], name="fk_delivery_attempt_delivery_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("delivery_id", "number", name="pk_delivery_attempt"),
    )
    op.execute(sa.text("INSERT INTO head (hash) VALUES (:hash)").bindparams(hash=GENESIS_HASH))


def downgrade() -> None:
    for table in ("signing_secret", "delivery_attempt", "delivery", "event", "audit_entry", "model", "task", "head"):
        op.drop_table(table)
