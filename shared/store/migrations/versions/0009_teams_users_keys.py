"""Teams, users and virtual keys."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)
ROLES = "role IN ('proxy_admin', 'proxy_admin_viewer', 'internal_user', 'internal_user_viewer')"
SETTINGS = "LiteLLM's other fields, as they were sent."


def upgrade() -> None:
    op.create_index("ix_model_team_id", "model", ["team_id"])
    _create_team()
    _create_user()
    _create_api_key()


def downgrade() -> None:
    op.drop_table("api_key")
    op.drop_table("user")
    op.drop_table("team")
    op.drop_index("ix_model_team_id", "model")


def _create_team() -> None:
    op.create_table(
        "team",
        sa.Column("team_id", sa.Text(), nullable=False),
        sa.Column("team_alias", sa.Text(), nullable=True),
        _list("models", comment="What was listed by hand; empty means all."),
        _document("members", comment="A list of user_id, user_email and role (admin or user)."),
        _document("model_aliases", comment="What was set by hand; those of models are derived."),
        sa.Column("blocked", sa.Boolean(), nullable=False),
        _document("metadata"),
        _document("settings", comment=SETTINGS),
        *_history(),
        sa.PrimaryKeyConstraint("team_id", name="pk_team"),
    )
    op.create_index("ix_team_team_alias", "team", ["team_alias"])
    op.create_index("ix_team_created_at_team_id", "team", ["created_at", "team_id"])
    op.create_index(
        "ix_team_members", "team", ["members"], postgresql_using="gin", postgresql_ops={"members": "jsonb_path_ops"}
    )


def _create_user() -> None:
    op.create_table(
        "user",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("user_email", sa.Text(), nullable=True),
        sa.Column("user_alias", sa.Text(), nullable=True),
        sa.Column("role", sa.Text(), nullable=False),
        _list("models"),
        _document("metadata"),
        _document("settings", comment=SETTINGS),
        *_history(),
        sa.PrimaryKeyConstraint("user_id", name="pk_user"),
        sa.CheckConstraint(ROLES, name=op.f("ck_user_role")),
    )
    op.create_index("ix_user_created_at_user_id", "user", ["created_at", "user_id"])
    op.create_index("ix_user_email", "user", [sa.text("lower(user_email)")])


def _create_api_key() -> None:
    op.create_table(
        "api_key",
        sa.Column("token", sa.Text(), nullable=False, comment="SHA-256 of the key, in hex; the key itself is nowhere."),
        sa.Column("key_name", sa.Text(), nullable=False, comment="sk-... and the last four characters."),
        sa.Column("key_alias", sa.Text(), nullable=True),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("team_id", sa.Text(), nullable=True),
        _list("models"),
        _list("allowed_routes", comment="Empty means all."),
        sa.Column("expires", INSTANT, nullable=True),
        sa.Column("blocked", sa.Boolean(), nullable=False),
        sa.Column(
            "default_wait",
            sa.Float(),
            nullable=True,
            comment="Seconds that a write waits if the client says nothing; goes before ours.",
        ),
        sa.Column(
            "previous_token",
            sa.Text(),
            nullable=True,
            comment="The token before the last regeneration, accepted until revoke_at.",
        ),
        sa.Column("revoke_at", INSTANT, nullable=True),
        _document("metadata"),
        _document("settings", comment=SETTINGS),
        sa.Column(
            "last_used_at", INSTANT, nullable=True, comment="Written now and then by the API; no change of the key."
        ),
        *_history(),
        sa.PrimaryKeyConstraint("token", name="pk_api_key"),
    )
    for name in ("key_alias", "user_id", "team_id"):
        op.create_index(f"ix_api_key_{name}", "api_key", [name])
    op.create_index("ix_api_key_created_at_token", "api_key", ["created_at", "token"])
    op.create_index(
        "ix_api_key_previous_token",
        "api_key",
        ["previous_token"],
        postgresql_where=sa.text("previous_token IS NOT NULL"),
    )


def _list(name: str, comment: str | None = None) -> sa.Column[list[str]]:
    return sa.Column(name, ARRAY(sa.Text()), nullable=False, comment=comment)


def _document(name: str, comment: str | None = None) -> sa.Column[object]:
    return sa.Column(name, JSONB(none_as_null=True), nullable=False, comment=comment)


def _history() -> list[sa.Column[object]]:
    return [
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False),
    ]
