"""``/audit``: the audit log, in LiteLLM's shape."""

import re
from datetime import datetime
from typing import Annotated, Any

from litestar import Request, Router, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from api.openapi import Answer, described
from api.presentation import audit_view
from api.reads import Reads
from shared.contract.audit import OBJECT_TYPES, AuditEntryView, AuditPage
from shared.domain.problems import AuditEntryNotFound
from shared.domain.rights import Principal, authorise, may_ever
from shared.store import audit

_Request = Request[Principal, Any, Any]
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@get(
    "/audit",
    operation_class=described(
        {200: Answer(shape=AuditPage, text="A page of audit entries.")}, problems=("not_permitted", "invalid_query")
    ),
    summary="List audit entries, newest first",
    tags=["audit"],
)
async def list_entries(
    request: _Request,
    reads: NamedDependency[Reads],
    page: Annotated[int, QueryParameter(ge=1, le=1_000_000)] = 1,
    page_size: Annotated[int, QueryParameter(ge=1, le=100)] = 10,
    action: FromQuery[str | None] = None,
    object_id: FromQuery[str | None] = None,
    table_name: FromQuery[str | None] = None,
    changed_by: FromQuery[str | None] = None,
    changed_by_api_key: FromQuery[str | None] = None,
    start_date: FromQuery[datetime | None] = None,
    end_date: FromQuery[datetime | None] = None,
) -> AuditPage:
    """Where secrets are, `before_value` and `updated_values` show keyed fingerprints."""
    authorise(request.user, "audit.read")
    wanted = {
        "action": action,
        "object_id": object_id,
        "object_type": OBJECT_TYPES.get(table_name, table_name) if table_name else None,
        "changed_by": changed_by,
        "actor_key": changed_by_api_key,
    }
    filters = {name: value for name, value in wanted.items() if value is not None}
    total_row = await reads.row(audit.count(filters, start_date, end_date))
    total = total_row[0] if total_row else 0
    rows = await reads.rows(
        audit.page(limit=page_size, offset=(page - 1) * page_size, filters=filters, since=start_date, until=end_date)
    )
    return AuditPage(
        audit_logs=[audit_view(row) for row in rows],
        total=total,
        page=page,
        page_size=page_size,
        total_pages=-(-total // page_size),
    )


@get(
    "/audit/{entry_id:str}",
    operation_class=described(
        {200: Answer(shape=AuditEntryView, text="The entry.")}, problems=("audit_entry_not_found",)
    ),
    summary="Show an audit entry",
    tags=["audit"],
)
async def show_entry(request: _Request, entry_id: FromPath[str], reads: NamedDependency[Reads]) -> AuditEntryView:
    is_seen = may_ever(request.user, "audit.read")
    row = await reads.row(audit.by_entry_id(entry_id)) if is_seen and _UUID.fullmatch(entry_id) else None
    if row is None:
        raise AuditEntryNotFound(entry_id)
    return audit_view(row)


router = Router("/", route_handlers=[list_entries, show_entry])
