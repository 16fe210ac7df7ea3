"""The shapes of answers that are put together as documents, as the OpenAPI document describes them."""

from typing import Any

import msgspec

from shared.domain.problems import FieldError


class ErrorMember(msgspec.Struct, frozen=True, kw_only=True):
    """LiteLLM's error envelope."""

    message: str
    type: str
    param: str | None
    code: str


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 9457, with LiteLLM's envelope beside it. `type` names the problem: `urn:pointsman:problem:<code>`.

    `detail` is a text; on the routes of `/model/info` it is `{"error": text}`, where LiteLLM's clients look.
    """

    error: ErrorMember
    type: str
    title: str
    status: int
    detail: str | dict[str, str]
    errors: list[FieldError] | msgspec.UnsetType = msgspec.UNSET
    request_id: str | msgspec.UnsetType = msgspec.UNSET


class ModelRow(msgspec.Struct, frozen=True, kw_only=True):
    """A stored deployment, as a write answers it. Secrets are removed."""

    model_id: str
    model_name: str
    litellm_params: dict[str, Any]
    model_info: dict[str, Any]
    blocked: bool
    version: int
    created_at: str
    created_by: str
    updated_at: str
    updated_by: str


class KeysRotated(msgspec.Struct, frozen=True, kw_only=True):
    """What a rotation came to: values and rows that it sealed anew, and what it had to leave as it was."""

    sealed_with: str
    values: int
    rows: int
    passes: int
    unreadable: int
    left: int


class ModelEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment as reads show it. Secrets are removed; all else is as it was sent.

    `model_info` holds what was sent, the prices among `litellm_params`, and `id`, `db_model`, `blocked`, `created_at`,
    `created_by`, `updated_at` and `updated_by`.
    """

    model_name: str
    litellm_params: dict[str, Any]
    model_info: dict[str, Any]


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    data: list[ModelEntry]


class Deletion(msgspec.Struct, frozen=True, kw_only=True):
    message: str
    model_id: str


class ModelName(msgspec.Struct, frozen=True, kw_only=True):
    """A model group in OpenAI's shape."""

    id: str
    object: str
    created: int
    owned_by: str


class ModelNames(msgspec.Struct, frozen=True, kw_only=True):
    data: list[ModelName]
    object: str


class ModelGroups(msgspec.Struct, frozen=True, kw_only=True):
    """For each public name what its deployments add up to: providers, mode, limits, prices, abilities."""

    data: list[dict[str, Any]]


class CredentialChanged(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of every write to a credential."""

    success: bool
    message: str
    credential_name: str


class WebhookRow(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint, as a write answers it. What may be a token in its URL shows as `***`.

    `secret` is there in the answer that made it, and never again.
    """

    webhook_id: str
    url: str
    event_types: list[str]
    team_id: str | None
    description: str | None
    enabled: bool
    disabled_reason: str | None
    overlap_until: str | None
    version: int
    created_at: str
    created_by: str
    updated_at: str
    updated_by: str
    secret: str | msgspec.UnsetType = msgspec.UNSET


class WebhookDeleted(msgspec.Struct, frozen=True, kw_only=True):
    webhook_id: str
    deleted: bool


class WebhookReplayed(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent again: one delivery, or all that failed since a time."""

    webhook_id: str
    delivery_id: str | None
    since: str | None


class TeamRow(msgspec.Struct, frozen=True, kw_only=True):
    """A team. LiteLLM's other fields stand beside these, as they were sent or null.

    `models` are what is listed by hand and the names of the team's own models; empty means all. The aliases under
    `litellm_model_table` lead from the names of its own models to what they are called inside.
    """

    team_id: str
    team_alias: str | None
    admins: list[str]
    members: list[str]
    members_with_roles: list[dict[str, Any]]
    models: list[str]
    metadata: dict[str, Any]
    blocked: bool
    litellm_model_table: dict[str, Any] | None
    version: int
    created_at: str
    created_by: str
    updated_at: str
    updated_by: str


class TeamUpdated(msgspec.Struct, frozen=True, kw_only=True):
    team_id: str
    data: TeamRow


class TeamMembersAdded(TeamRow, frozen=True, kw_only=True):
    """The team, and who was added."""

    updated_users: list[dict[str, Any]]
    updated_team_memberships: list[dict[str, Any]]


class MemberUpdated(msgspec.Struct, frozen=True, kw_only=True):
    """The member, with the limits that were set."""

    team_id: str
    user_id: str | None
    user_email: str | None
    role: str
    max_budget_in_team: float | None
    budget_duration: str | None
    tpm_limit: int | None
    rpm_limit: int | None
    allowed_models: list[str] | None


class TeamDeletion(msgspec.Struct, frozen=True, kw_only=True):
    """The ids of the teams that are gone, and of what went with them."""

    deleted_teams: list[str]
    deleted_models: list[str]
    deleted_keys: list[str]


class TeamMemberDeleted(TeamRow, frozen=True, kw_only=True):
    """The team, and the hashes of the keys that went with the member."""

    deleted_keys: list[str]


class TeamInfo(msgspec.Struct, frozen=True, kw_only=True):
    team_id: str
    team_info: TeamRow
    keys: list[dict[str, Any]]
    team_memberships: list[dict[str, Any]]


class ListedTeam(TeamRow, frozen=True, kw_only=True):
    keys: list[dict[str, Any]]
    team_memberships: list[dict[str, Any]]


class TeamPage(msgspec.Struct, frozen=True, kw_only=True):
    """Each team also has `members_count` and `keys_count`."""

    teams: list[dict[str, Any]]
    total: int
    page: int
    page_size: int
    total_pages: int


class TeamPermissions(msgspec.Struct, frozen=True, kw_only=True):
    team_id: str
    team_member_permissions: list[str]
    all_available_permissions: list[str]


class SigningSecret(msgspec.Struct, frozen=True, kw_only=True):
    """`whsec_…`: what callbacks are verified with."""

    secret: str


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """`ready`, or what is wrong."""

    database: str
    worker: str
    redis: str
    config_file: str


class ReadinessReport(msgspec.Struct, frozen=True, kw_only=True):
    """`status` is `healthy`, `unhealthy`, or, while changes are accepted, `degraded`: Redis away, a file broken."""

    status: str
    db: str
    parts: Parts
    pointsman_version: str
