"""All tables, constraints and indexes."""

from typing import get_args

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

from shared.domain.rights import Role
from shared.domain.tasks import TRANSITIONS

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_UUID = UUID(as_uuid=False)
_INSTANT = DateTime(timezone=True)
_DOCUMENT = JSONB(none_as_null=True)

OPEN_TASK = text("status IN ('queued', 'running')")
PENDING_DELIVERY = text("status = 'pending'")

head = Table(
    "head",
    metadata,
    Column("single", Boolean, primary_key=True, server_default=text("true")),
    Column("position", BigInteger, nullable=False, server_default=text("0")),
    Column("hash", Text, nullable=False),
    Column("revision", BigInteger, nullable=False, server_default=text("0")),
    Column("model_count", BigInteger, nullable=False, server_default=text("0")),
    CheckConstraint("single", name="single_row"),
    comment="The one serial point: where the audit chain ends and which revision the fleet has.",
)

task = Table(
    "task",
    metadata,
    Column("task_id", _UUID, primary_key=True),
    Column("seq", BigInteger, Identity(always=True), nullable=False, unique=True),
    Column("operation", Text, nullable=False),
    Column("object_type", Text, nullable=False),
    Column("object_id", Text, nullable=False),
    Column("line", Text, Computed("object_type || '/' || object_id", persisted=True), nullable=False),
    Column("needs", ARRAY(Text), comment="Other lines of which everything accepted earlier comes first."),
    Column("command", _DOCUMENT, comment="Secrets sealed; erased when the task succeeds."),
    Column("digest", Text, nullable=False, comment="Keyed digest of the request, to recognise it again."),
    Column("principal", _DOCUMENT, nullable=False),
    Column("submitted_by", Text, nullable=False),
    Column("origin", _DOCUMENT, nullable=False, comment="Request id, source address, litellm-changed-by."),
    Column("idempotency_key", Text),
    Column("webhook_url", Text, comment="Sealed."),
    Column("status", Text, nullable=False, server_default=text("'queued'")),
    Column("version", Integer, nullable=False, server_default=text("1")),
    Column("attempt", Integer, nullable=False, server_default=text("0")),
    Column("next_attempt_at", _INSTANT, nullable=False, server_default=func.now()),
    Column("cancel_requested_at", _INSTANT),
    Column("retry_of", _UUID),
    Column("last_error", Text),
    Column("progress", _DOCUMENT),
    Column("cursor", _DOCUMENT, comment="Where a long task goes on after a chunk."),
    Column("result", _DOCUMENT),
    Column("problem", _DOCUMENT),
    Column("submitted_at", _INSTANT, nullable=False),
    Column("started_at", _INSTANT),
    Column("finished_at", _INSTANT),
    Column("cancelled_by", _DOCUMENT, comment="Who asked for it: principal and origin."),
    CheckConstraint(
        "status IN ({})".format(", ".join(f"'{status}'" for status in TRANSITIONS)),
        name="status",
    ),
    CheckConstraint("(finished_at IS NULL) = (status IN ('queued', 'running'))", name="ended"),
    Index("ix_task_open_seq", "seq", postgresql_where=OPEN_TASK),
    Index("ix_task_open_line", "line", "seq", postgresql_where=OPEN_TASK),
    Index(
        "ix_task_open_needs",
        "needs",
        postgresql_using="gin",
        postgresql_where=text("needs IS NOT NULL AND status IN ('queued', 'running')"),
    ),
    Index("ix_task_finished_at", "finished_at"),
    Index("ix_task_retry_of", "retry_of", postgresql_where=text("retry_of IS NOT NULL")),
    Index("ix_task_submitted_by_seq", "submitted_by", "seq"),
    Index(
        "uq_task_idempotency_key",
        "submitted_by",
        "idempotency_key",
        unique=True,
        postgresql_where=text("idempotency_key IS NOT NULL"),
    ),
)

model = Table(
    "model",
    metadata,
    Column("model_id", Text, primary_key=True),
    Column("model_name", Text, nullable=False, index=True),
    Column("litellm_params", _DOCUMENT, nullable=False, comment="Every string is sealed."),
    Column("model_info", _DOCUMENT, nullable=False),
    Column("team_id", Text, index=True),
    Column("public_name", Text),
    Column("blocked", Boolean, nullable=False),
    Column("credential_name", Text, index=True),
    Column("version", Integer, nullable=False),
    Column("revision", BigInteger, nullable=False, index=True),
    Column("created_at", _INSTANT, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("updated_at", _INSTANT, nullable=False),
    Column("updated_by", Text, nullable=False),
    Index("ix_model_created_at_model_id", "created_at", "model_id"),
    Index("ix_model_updated_at_model_id", "updated_at", "model_id"),
    Index("ix_model_shown_name", text("coalesce(public_name, model_name)"), "model_id"),
)
Index(
    "ix_model_search",
    func.lower(func.coalesce(model.c.public_name, model.c.model_name)).label("shown_name"),
    postgresql_using="gin",
    postgresql_ops={"shown_name": "gin_trgm_ops"},
)

audit_entry = Table(
    "audit_entry",
    metadata,
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("entry_id", _UUID, nullable=False, unique=True),
    Column("recorded_at", _INSTANT, nullable=False),
    Column("actor", Text, nullable=False),
    Column("actor_key", Text, nullable=False),
    Column("changed_by", Text),
    Column("source_address", Text),
    Column("request_id", Text),
    Column("task_id", _UUID, index=True),
    Column("operation", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("object_type", Text, nullable=False),
    Column("object_id", Text, nullable=False),
    Column("before", _DOCUMENT),
    Column("after", _DOCUMENT),
    Column("problem", _DOCUMENT),
    Column("previous_hash", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Index("ix_audit_entry_object_position", "object_type", "object_id", "position"),
)

event = Table(
    "event",
    metadata,
    Column("event_id", Text, primary_key=True),
    Column("type", Text, nullable=False),
    Column("occurred_at", _INSTANT, nullable=False, index=True),
    Column("object_type", Text, nullable=False),
    Column("object_id", Text, nullable=False),
    Column("data", _DOCUMENT, nullable=False),
    Column("task_id", _UUID),
    comment="The outbox: what somebody has to be told, committed with the change itself.",
)

delivery = Table(
    "delivery",
    metadata,
    Column("delivery_id", _UUID, primary_key=True),
    Column("event_id", Text, ForeignKey(event.c.event_id, ondelete="CASCADE"), nullable=False, index=True),
    Column("destination", Text, nullable=False, comment="callback, slack or webhook"),
    Column(
        "destination_id",
        Text,
        nullable=False,
        server_default=text("'unsorted'"),
        comment="The row of destination whose turn it takes; unsorted is what an earlier release wrote.",
    ),
    Column("webhook_id", Text, comment="The endpoint, if it is one."),
    Column("task_id", _UUID, index=True),
    Column("status", Text, nullable=False, server_default=text("'pending'")),
    Column("attempt", Integer, nullable=False, server_default=text("0")),
    Column(
        "schedule_from",
        Integer,
        nullable=False,
        server_default=text("0"),
        comment="The attempts before the last replay: the schedule starts anew with each.",
    ),
    Column("next_attempt_at", _INSTANT, nullable=False, server_default=func.now()),
    Column("created_at", _INSTANT, nullable=False, server_default=func.now()),
    Column("give_up_at", _INSTANT, comment="Not tried any more after this, however few attempts were made."),
    Column("finished_at", _INSTANT),
    CheckConstraint("status IN ('pending', 'succeeded', 'failed')", name="status"),
    CheckConstraint("destination IN ('callback', 'slack', 'webhook')", name="destination"),
    Index("ix_delivery_line", "destination_id", "next_attempt_at", "delivery_id", postgresql_where=PENDING_DELIVERY),
    Index(
        "ix_delivery_webhook_id_delivery_id",
        "webhook_id",
        "delivery_id",
        postgresql_where=text("webhook_id IS NOT NULL"),
    ),
)

destination = Table(
    "destination",
    metadata,
    Column("destination_id", Text, primary_key=True),
    Column("lease_id", _UUID, comment="Who sends to it now; nobody else does until the lease has run out."),
    Column("leased_until", _INSTANT),
    Column("served_at", _INSTANT, comment="When it was last its turn."),
    Column("consecutive_failures", Integer, nullable=False, server_default=text("0")),
    Column("pauses", Integer, nullable=False, server_default=text("0"), comment="How often in a row it was paused."),
    Column("failing_since", _INSTANT, comment="The first failure after the last success."),
    Column("last_success_at", _INSTANT),
    Column("last_error", Text),
    Column("paused_until", _INSTANT, comment="Nothing is sent before: the circuit is open, or Slack's window runs."),
    comment="What the deliver workers agree on about one destination.",
)

webhook_endpoint = Table(
    "webhook_endpoint",
    metadata,
    Column("webhook_id", Text, primary_key=True),
    Column("url", Text, nullable=False, comment="Sealed."),
    Column("event_types", ARRAY(Text), nullable=False),
    Column("team_id", Text),
    Column("description", Text),
    Column("enabled", Boolean, nullable=False),
    Column("disabled_reason", Text),
    Column("secret", Text, nullable=False, comment="Sealed."),
    Column("previous_secret", Text, comment="Sealed, as the secret it was."),
    Column("overlap_until", _INSTANT),
    Column("version", Integer, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("updated_at", _INSTANT, nullable=False),
    Column("updated_by", Text, nullable=False),
    CheckConstraint("enabled = (disabled_reason IS NULL)", name="disabled_reason"),
    Index("ix_webhook_endpoint_event_types", "event_types", postgresql_using="gin"),
)

unreadable_secret = Table(
    "unreadable_secret",
    metadata,
    Column("object_type", Text, nullable=False),
    Column("object_id", Text, nullable=False),
    Column("field", Text, nullable=False),
    Column("key_id", Text, nullable=False, comment="The key that it would need."),
    Column("seen_at", _INSTANT, nullable=False, server_default=func.now()),
    Column("told_at", _INSTANT),
    PrimaryKeyConstraint("object_type", "object_id", "field", "key_id"),
    Index("ix_unreadable_secret_untold", "seen_at", postgresql_where=text("told_at IS NULL")),
    comment="Values that did not open when somebody needed them.",
)

delivery_attempt = Table(
    "delivery_attempt",
    metadata,
    Column("delivery_id", _UUID, ForeignKey(delivery.c.delivery_id, ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("attempted_at", _INSTANT, nullable=False),
    Column("status_code", Integer),
    Column("error", Text),
    Column("latency_ms", Integer, nullable=False),
    Column("excerpt", Text, nullable=False),
    PrimaryKeyConstraint("delivery_id", "number"),
)

signing_secret = Table(
    "signing_secret",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("secret", Text, nullable=False, comment="The sealed whsec_ with which this user's callbacks are signed."),
    Column("created_at", _INSTANT, nullable=False, server_default=func.now()),
)

model_revision = Table(
    "model_revision",
    metadata,
    Column("model_id", Text, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("version", Integer, nullable=False),
    Column("operation", Text, nullable=False),
    Column("changed_at", _INSTANT, nullable=False),
    Column("changed_by", Text, nullable=False),
    Column("task_id", _UUID, nullable=False),
    Column("state", _DOCUMENT, comment="The model after the change, values sealed; null if it was deleted."),
    PrimaryKeyConstraint("model_id", "revision"),
    comment="What every stored model was, version by version.",
)

seal_count = Table(
    "seal_count",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("seals", BigInteger, nullable=False),
    comment="How many values each key has sealed, as far as processes have reported it.",
)

credential = Table(
    "credential",
    metadata,
    Column("credential_name", Text, primary_key=True),
    Column("display_name", Text),
    Column("credential_values", _DOCUMENT, nullable=False, comment="Every string is sealed."),
    Column("credential_info", _DOCUMENT, nullable=False),
    Column("version", Integer, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("updated_at", _INSTANT, nullable=False),
    Column("updated_by", Text, nullable=False),
)

team = Table(
    "team",
    metadata,
    Column("team_id", Text, primary_key=True),
    Column("team_alias", Text, index=True),
    Column("models", ARRAY(Text), nullable=False, comment="What was listed by hand; empty means all."),
    Column("members", _DOCUMENT, nullable=False, comment="A list of user_id, user_email and role (admin or user)."),
    Column("model_aliases", _DOCUMENT, nullable=False, comment="What was set by hand; those of models are derived."),
    Column("blocked", Boolean, nullable=False),
    Column("metadata", _DOCUMENT, nullable=False),
    Column("settings", _DOCUMENT, nullable=False, comment="LiteLLM's other fields, as they were sent."),
    Column("version", Integer, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("updated_at", _INSTANT, nullable=False),
    Column("updated_by", Text, nullable=False),
    Index("ix_team_created_at_team_id", "created_at", "team_id"),
    Index("ix_team_members", "members", postgresql_using="gin", postgresql_ops={"members": "jsonb_path_ops"}),
)

user = Table(
    "user",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("user_email", Text),
    Column("user_alias", Text),
    Column("role", Text, nullable=False),
    Column("models", ARRAY(Text), nullable=False),
    Column("metadata", _DOCUMENT, nullable=False),
    Column("settings", _DOCUMENT, nullable=False, comment="LiteLLM's other fields, as they were sent."),
    Column("version", Integer, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("updated_at", _INSTANT, nullable=False),
    Column("updated_by", Text, nullable=False),
    CheckConstraint("role IN ({})".format(", ".join(f"'{role}'" for role in get_args(Role))), name="role"),
    Index("ix_user_created_at_user_id", "created_at", "user_id"),
    Index("ix_user_email", text("lower(user_email)")),
)

api_key = Table(
    "api_key",
    metadata,
    Column("token", Text, primary_key=True, comment="SHA-256 of the key, in hex; the key itself is nowhere."),
    Column("key_name", Text, nullable=False, comment="sk-... and the last four characters."),
    Column("key_alias", Text, index=True),
    Column("user_id", Text, index=True),
    Column("team_id", Text, index=True),
    Column("models", ARRAY(Text), nullable=False),
    Column("allowed_routes", ARRAY(Text), nullable=False, comment="Empty means all."),
    Column("expires", _INSTANT),
    Column("blocked", Boolean, nullable=False),
    Column("default_wait", Float, comment="Seconds that a write waits if the client says nothing; goes before ours."),
    Column("previous_token", Text, comment="The token before the last regeneration, accepted until revoke_at."),
    Column("revoke_at", _INSTANT),
    Column("metadata", _DOCUMENT, nullable=False),
    Column("settings", _DOCUMENT, nullable=False, comment="LiteLLM's other fields, as they were sent."),
    Column("last_used_at", _INSTANT, comment="Written now and then by the API; no change of the key."),
    Column("version", Integer, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("updated_at", _INSTANT, nullable=False),
    Column("updated_by", Text, nullable=False),
    Index("ix_api_key_created_at_token", "created_at", "token"),
    Index("ix_api_key_previous_token", "previous_token", postgresql_where=text("previous_token IS NOT NULL")),
)
