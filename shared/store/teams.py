"""Statements on teams."""

from typing import Literal

import msgspec
from sqlalchemy import ARRAY, ColumnElement, Delete, Text, and_, bindparam, delete, false, func, or_, select, true
from sqlalchemy.dialects.postgresql import JSONB, Insert

from shared.domain.members import Member
from shared.domain.teams import Team
from shared.store.rows import AnyRow, Selection, fields_of, insert_rows
from shared.store.tables import api_key, audit_entry, model, task, team

_FIELDS = Team.__struct_fields__
_COLUMNS = (*_FIELDS, "revision")
_SORT_KEYS: dict[str, ColumnElement[object]] = {
    "team_id": team.c.team_id,
    "team_alias": team.c.team_alias,
    "created_at": team.c.created_at,
    "updated_at": team.c.updated_at,
}


class StoredTeam(Team, frozen=True, kw_only=True):
    revision: int


class TeamFilter(msgspec.Struct, frozen=True, kw_only=True):
    """What a list of teams is narrowed down to; None narrows nothing."""

    within: frozenset[str] | None = None
    """The teams that may be seen at all."""
    user_id: str | None = None
    organization_id: str | None = None
    team_id: str | None = None
    is_prefix: bool = False
    """``team_id`` is how the id begins."""
    alias: str | None = None
    search: str | None = None


def by_ids(team_ids: list[str]) -> Selection:
    """Index: the primary key."""
    return select(*(team.c[name] for name in _FIELDS)).where(_is_one_of(team_ids))


def by_ids_locked(team_ids: list[str], *, to_change: bool) -> Selection:
    """Locks the teams in the order of their ids: against every other, or only against being changed."""
    return by_ids(team_ids).order_by(team.c.team_id).with_for_update(read=not to_change)


def with_creation(team_ids: list[str]) -> Selection:
    """Which of these are stored, and the task that created each, if nothing has changed it since.

    Index: the primary keys, and ix_audit_entry_object_position.
    """
    creation = (
        select(audit_entry.c.task_id)
        .where(
            audit_entry.c.object_type == "team",
            audit_entry.c.object_id == team.c.team_id,
            audit_entry.c.action == "created",
            team.c.version == 1,
        )
        .order_by(audit_entry.c.position.desc())
        .limit(1)
        .correlate(team)
        .scalar_subquery()
    )
    return (
        select(
            team.c.team_id,
            team.c.version,
            team.c.updated_at,
            task.c.task_id,
            task.c.digest,
            task.c.submitted_by,
        )
        .select_from(team.outerjoin(task, task.c.task_id == creation))
        .where(_is_one_of(team_ids))
    )


def own_names(team_ids: list[str]) -> Selection:
    """The models of these teams with their public names, oldest first. Index: ix_model_team_id."""
    return (
        select(model.c.team_id, model.c.model_id, model.c.public_name)
        .where(model.c.team_id == func.any(bindparam("team_ids", team_ids, type_=ARRAY(Text))))
        .order_by(model.c.created_at, model.c.model_id)
    )


def key_counts(team_ids: list[str]) -> Selection:
    """How many keys each of these teams has, if any. Index: ix_api_key_team_id."""
    return (
        select(api_key.c.team_id, func.count().label("key_count"))
        .where(api_key.c.team_id == func.any(bindparam("team_ids", team_ids, type_=ARRAY(Text))))
        .group_by(api_key.c.team_id)
    )


def everything(wanted: TeamFilter) -> Selection:
    """In the order of their creation. Index: ix_team_created_at_team_id, or ix_team_members for those of a user."""
    return _narrowed(select(*(team.c[name] for name in _FIELDS)), wanted).order_by(team.c.created_at, team.c.team_id)


def page(
    wanted: TeamFilter, *, limit: int, offset: int, sort_by: str | None, sort_order: Literal["asc", "desc"]
) -> Selection:
    """One page. Index: the one of the sort key; a search for a part of a name reads all teams that are wanted."""
    key = _SORT_KEYS.get(sort_by or "", team.c.created_at)
    order = (key, team.c.team_id) if sort_order == "asc" else (key.desc(), team.c.team_id.desc())
    statement = _narrowed(select(*(team.c[name] for name in _FIELDS)), wanted)
    return statement.order_by(*order).limit(limit).offset(offset)


def count(wanted: TeamFilter) -> Selection:
    return _narrowed(select(func.count()).select_from(team), wanted)


def save() -> Insert:
    """Parameter: ``packed(list[StoredTeam])``."""
    statement = insert_rows(team, *_COLUMNS)
    replaced = {name: statement.excluded[name] for name in _COLUMNS if name != "team_id"}
    return statement.on_conflict_do_update(index_elements=[team.c.team_id], set_=replaced)


def remove(team_ids: list[str]) -> Delete:
    return delete(team).where(_is_one_of(team_ids))


def from_row(row: AnyRow) -> Team:
    fields = dict(fields_of(row))
    fields["models"] = tuple(fields["models"])
    fields["members"] = tuple(msgspec.convert(entry, Member) for entry in fields["members"])
    return Team(**fields)


def at_revision(state: Team, revision: int) -> StoredTeam:
    return StoredTeam(**msgspec.structs.asdict(state), revision=revision)


def _is_one_of(team_ids: list[str]) -> ColumnElement[bool]:
    return team.c.team_id == func.any(bindparam("team_ids", team_ids, type_=ARRAY(Text)))


def _narrowed(statement: Selection, wanted: TeamFilter) -> Selection:
    conditions: list[ColumnElement[bool]] = [true()]
    if wanted.within is not None:
        conditions.append(_is_one_of(sorted(wanted.within)) if wanted.within else false())
    if wanted.user_id is not None:
        conditions.append(team.c.members.contains(bindparam("member", [{"user_id": wanted.user_id}], type_=JSONB)))
    if wanted.organization_id is not None:
        conditions.append(team.c.settings["organization_id"].astext == wanted.organization_id)
    if wanted.team_id is not None:
        begins = team.c.team_id.startswith(wanted.team_id, autoescape=True)
        conditions.append(begins if wanted.is_prefix else team.c.team_id == wanted.team_id)
    if wanted.alias is not None:
        conditions.append(_contains(team.c.team_alias, wanted.alias))
    if wanted.search is not None:
        conditions.append(or_(_contains(team.c.team_alias, wanted.search), _contains(team.c.team_id, wanted.search)))
    return statement.where(and_(*conditions))


def _contains(column: ColumnElement[str], part: str) -> ColumnElement[bool]:
    return func.lower(column).contains(part.lower(), autoescape=True)
