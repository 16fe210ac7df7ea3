"""Webhook endpoints, and what deliver workers agree on about each destination."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True)
_PENDING = sa.text("status = 'pending'")


def upgrade() -> None:
    op.create_table(
        "webhook_endpoint",
        sa.Column("webhook_id", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False, comment="Sealed."),
        sa.Column("event_types", ARRAY(sa.Text()), nullable=False),
        sa.Column("team_id", sa.Text()),
        sa.Column("description", sa.Text()),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("disabled_reason", sa.Text()),
        sa.Column("secret", sa.Text(), nullable=False, comment="Sealed."),
        sa.Column("previous_secret", sa.Text(), comment="Sealed, as the secret it was."),
        sa.Column("overlap_until", _INSTANT),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("updated_at", _INSTANT, nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False),
        sa.CheckConstraint("enabled = (disabled_reason IS NULL)", name=op.f("ck_webhook_endpoint_disabled_reason")),
        sa.PrimaryKeyConstraint("webhook_id", name="pk_webhook_endpoint"),
    )
    op.create_index("ix_webhook_endpoint_event_types", "webhook_endpoint", ["event_types"], postgresql_using="gin")
    op.create_table(
        "destination",
        sa.Column("destination_id", sa.Text(), nullable=False),
        sa.Column(
            "lease_id",
            sa.UUID(as_uuid=False),
            comment="Who sends to it now; nobody else does until the lease has run out.",
        ),
        sa.Column("leased_until", _INSTANT),
        sa.Column("served_at", _INSTANT, comment="When it was last its turn."),
        sa.Column("consecutive_failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "pauses",
            sa.Integer(),
            server_default=sa.text("0"),
            nullable=False,
            comment="How often in a row it was paused.",
        ),
        sa.Column("failing_since", _INSTANT, comment="The first failure after the last success."),
        sa.Column("last_success_at", _INSTANT),
        sa.Column("last_error", sa.Text()),
        sa.Column(
            "paused_until", _INSTANT, comment="Nothing is sent before: the circuit is open, or Slack's window runs."
        ),
        sa.PrimaryKeyConstraint("destination_id", name="pk_destination"),
        comment="What the deliver workers agree on about one destination.",
    )
    op.create_table(
        "unreadable_secret",
        sa.Column("object_type", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False, comment="The key that it would need."),
        sa.Column("seen_at", _INSTANT, server_default=sa.func.now(), nullable=False),
        sa.Column("told_at", _INSTANT),
        sa.PrimaryKeyConstraint("object_type", "object_id", "field", "key_id", name="pk_unreadable_secret"),
        comment="Values that did not open when somebody needed them.",
    )
    op.create_index(
        "ix_unreadable_secret_untold", "unreadable_secret", ["seen_at"], postgresql_where=sa.text("told_at IS NULL")
    )
    # What the release before still writes, and what it left behind, takes turns as one destination.
    op.execute("INSERT INTO destination (destination_id) VALUES ('unsorted')")
    _widen_delivery()


def _widen_delivery() -> None:
    op.alter_column("delivery", "destination", comment="callback, slack or webhook")
    op.add_column(
        "delivery",
        sa.Column(
            "destination_id",
            sa.Text(),
            server_default=sa.text("'unsorted'"),
            nullable=False,
            comment="The row of destination whose turn it takes; unsorted is what an earlier release wrote.",
        ),
    )
    op.add_column("delivery", sa.Column("webhook_id", sa.Text(), comment="The endpoint, if it is one."))
    op.add_column(
        "delivery",
        sa.Column(
            "schedule_from",
            sa.Integer(),
            server_default=sa.text("0"),
            nullable=False,
            comment="The attempts before the last replay: the schedule starts anew with each.",
        ),
    )
    op.add_column(
        "delivery",
        sa.Column("give_up_at", _INSTANT, comment="Not tried any more after this, however few attempts were made."),
    )
    op.drop_constraint(op.f("ck_delivery_destination"), "delivery")
    op.create_check_constraint(
        op.f("ck_delivery_destination"), "delivery", "destination IN ('callback', 'slack', 'webhook')"
    )
    op.create_index(
        "ix_delivery_line",
        "delivery",
        ["destination_id", "next_attempt_at", "delivery_id"],
        postgresql_where=_PENDING,
    )
    op.drop_index("ix_delivery_due", "delivery")
    op.create_index(
        "ix_delivery_webhook_id_delivery_id",
        "delivery",
        ["webhook_id", "delivery_id"],
        postgresql_where=sa.text("webhook_id IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_delivery_webhook_id_delivery_id", "delivery")
    op.create_index("ix_delivery_due", "delivery", ["next_attempt_at"], postgresql_where=_PENDING)
    op.drop_index("ix_delivery_line", "delivery")
    # The release before knows no webhook endpoints, so it could not send these.
    op.execute("DELETE FROM delivery WHERE destination = 'webhook'")
    op.drop_constraint(op.f("ck_delivery_destination"), "delivery")
    op.create_check_constraint(op.f("ck_delivery_destination"), "delivery", "destination IN ('callback', 'slack')")
    for name in ("give_up_at", "schedule_from", "webhook_id", "destination_id"):
        op.drop_column("delivery", name)
    op.alter_column("delivery", "destination", comment="callback or slack")
    op.drop_table("unreadable_secret")
    op.drop_table("destination")
    op.drop_table("webhook_endpoint")
