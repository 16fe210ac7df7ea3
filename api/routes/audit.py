"""``/audit``: the audit log, in LiteLLM's shape."""

import re
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from litestar import Request, Router, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import Stream

from api.openapi import Answer, described
from api.presentation import audit_view
from api.reads import Reads
from shared.audit import export
from shared.audit.chain import GENESIS, Head
from shared.audit.export import MEDIA_TYPE
from shared.audit.heads import SignedHead
from shared.contract.audit import OBJECT_TYPES, AuditEntryView, AuditPage
from shared.domain.problems import AuditEntryNotFound, InvalidQuery
from shared.domain.rights import Principal, authorise, may_ever
from shared.store import audit
from shared.store.audit import EntryFilter
from shared.store.rows import AnyRow, Selection

_Request = Request[Principal, Any, Any]
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_Since = Annotated[str | None, QueryParameter(description="Recorded at this time or later.")]
_Until = Annotated[str | None, QueryParameter(description="Recorded at this time or earlier.")]
_EXPORT_CHUNK = 500

HeadSigner = Callable[[Head], SignedHead | None]


@get(
    "/audit",
    operation_class=described(
        {200: Answer(shape=AuditPage, text="A page of audit entries.")}, problems=("not_permitted",)
    ),
    summary="List audit entries, newest first",
    tags=["audit"],
)
async def list_entries(
    request: _Request,
    reads: NamedDependency[Reads],
    page: Annotated[int, QueryParameter(ge=1, le=1_000_000)] = 1,
    page_size: Annotated[int, QueryParameter(ge=1, le=100)] = 10,
    cursor: Annotated[
        str | None, QueryParameter(description="The `next_cursor` of the page before; instead of `page`.")
    ] = None,
    action: FromQuery[str | None] = None,
    operation: FromQuery[str | None] = None,
    object_id: FromQuery[str | None] = None,
    object_type: FromQuery[str | None] = None,
    table_name: FromQuery[str | None] = None,
    actor: FromQuery[str | None] = None,
    changed_by: FromQuery[str | None] = None,
    changed_by_api_key: FromQuery[str | None] = None,
    task_id: FromQuery[str | None] = None,
    since: _Since = None,
    until: _Until = None,
    start_date: FromQuery[str | None] = None,
    end_date: FromQuery[str | None] = None,
) -> AuditPage:
    """Where secrets are, `before_value` and `updated_values` show keyed fingerprints. A time without zone is UTC."""
    authorise(request.user, "audit.read")
    wanted = EntryFilter(
        action=action,
        operation=operation,
        object_id=object_id,
        object_type=object_type or (OBJECT_TYPES.get(table_name, table_name) if table_name else None),
        actor=actor,
        changed_by=changed_by,
        actor_key=changed_by_api_key,
        task_id=_uuid(task_id),
        since=_instant("start_date", start_date) if since is None else _instant("since", since),
        until=_instant("end_date", end_date) if until is None else _instant("until", until),
    )
    if cursor is not None:
        rows = await reads.rows(audit.page(wanted, limit=page_size + 1, before=_position_of(cursor)))
        return AuditPage(**_of_page(rows, page_size))
    counted = await reads.row(audit.count(wanted))
    total: int = counted[0] if counted else 0
    rows = await reads.rows(audit.page(wanted, limit=page_size + 1, offset=(page - 1) * page_size))
    return AuditPage(**_of_page(rows, page_size), total=total, page=page, total_pages=-(-total // page_size))


@get(
    "/audit/export",
    operation_class=described(
        {200: Answer(shape=str, text="A line for the export itself, then one for each entry.", media_type=MEDIA_TYPE)},
        problems=("not_permitted",),
    ),
    summary="Export the audit log as JSON Lines",
    tags=["audit"],
    media_type=MEDIA_TYPE,
)
async def export_log(
    request: _Request,
    reads: NamedDependency[Reads],
    head_signer: NamedDependency[HeadSigner],
    after: Annotated[int, QueryParameter(ge=0, le=2**63 - 1, description="Only entries beyond this position.")] = 0,
) -> Stream:
    """In the order of the chain, up to where it ends now. `pointsman audit verify` checks the file offline."""
    authorise(request.user, "audit.read")
    head = await _place(reads, audit.head_now())
    start = GENESIS if after == 0 else await _place(reads, audit.hash_at(after))
    first = export.opening(head, start, head_signer(head))
    return Stream(_lines(reads, first, start.position, head.position), media_type=MEDIA_TYPE)


async def _lines(reads: Reads, first: bytes, after: int, until: int) -> AsyncGenerator[bytes]:
    """A chunk holds no connection while the client reads it. Entries never change, so no snapshot is needed."""
    yield first
    while rows := await reads.rows(audit.in_order(after, _EXPORT_CHUNK, until)):
        yield export.entry_lines(audit.from_row(row) for row in rows)
        after = rows[-1].position


async def _place(reads: Reads, statement: Selection) -> Head:
    row = await reads.row(statement)
    if row is None:
        raise InvalidQuery("after", "there is no entry at this position")
    return Head(row.position, row.hash)


def _of_page(rows: Sequence[AnyRow], size: int) -> dict[str, Any]:
    """``rows`` holds one more than the page if there are further ones."""
    return {
        "audit_logs": [audit_view(row) for row in rows[:size]],
        "next_cursor": str(rows[size - 1].position) if len(rows) > size else None,
        "page_size": size,
    }


def _position_of(cursor: str) -> int:
    """Raises InvalidQuery."""
    if not cursor.isascii() or not cursor.isdecimal() or int(cursor) >= 2**63:
        raise InvalidQuery("cursor", "is not one that a page gave out")
    return int(cursor)


def _uuid(task_id: str | None) -> str | None:
    """Raises InvalidQuery."""
    if task_id is not None and _UUID.fullmatch(task_id) is None:
        raise InvalidQuery("task_id", "is no task's id")
    return task_id


def _instant(parameter: str, text: str | None) -> datetime | None:
    """Raises InvalidQuery."""
    if text is None:
        return None
    try:
        # A plus sign that the client did not escape has become a blank.
        at = datetime.fromisoformat(re.sub(r" (?=\d\d:\d\d$)", "+", text))
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidQuery(parameter, "is no date or time, as 2026-01-31T12:00:00Z") from None


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


router = Router("/", route_handlers=[list_entries, export_log, show_entry])
