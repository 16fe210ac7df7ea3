"""The audit log in LiteLLM's shape (contract 1.9), with what Pointsman knows beyond it."""

from typing import Any

import msgspec

_TABLES = {
    "model": "LiteLLM_ProxyModelTable",
    "credential": "LiteLLM_CredentialsTable",
    "team": "LiteLLM_TeamTable",
    "user": "LiteLLM_UserTable",
    "key": "LiteLLM_VerificationToken",
}
OBJECT_TYPES = {table: object_type for object_type, table in _TABLES.items()}


class AuditEntryView(msgspec.Struct, frozen=True, kw_only=True):
    """``before_value`` and ``updated_values`` show keyed fingerprints where secrets are."""

    id: str
    updated_at: str
    changed_by: str
    changed_by_api_key: str
    action: str
    table_name: str
    object_id: str
    before_value: dict[str, Any] | None
    updated_values: dict[str, Any] | None
    actor: str
    operation: str
    object_type: str
    task_id: str | None
    request_id: str | None
    source_address: str | None
    problem: dict[str, Any] | None
    position: int
    previous_hash: str
    hash: str


class AuditPage(msgspec.Struct, frozen=True, kw_only=True):
    """``next_cursor`` is null on the last page. Whoever goes on by cursor is told no totals: counting costs most."""

    audit_logs: list[AuditEntryView]
    total: int | msgspec.UnsetType = msgspec.UNSET
    page: int | msgspec.UnsetType = msgspec.UNSET
    page_size: int
    total_pages: int | msgspec.UnsetType = msgspec.UNSET
    next_cursor: str | None


def table_name(object_type: str) -> str:
    return _TABLES.get(object_type, object_type)
