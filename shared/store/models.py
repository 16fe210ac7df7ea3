"""Statements on models and their revisions."""

from datetime import datetime
from functools import cache
from typing import Any, Literal

import msgspec
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    CompoundSelect,
    Delete,
    FromClause,
    Text,
    and_,
    bindparam,
    delete,
    false,
    func,
    literal,
    not_,
    or_,
    select,
    true,
    tuple_,
    union_all,
)
from sqlalchemy.dialects.postgresql import Insert, distinct_on

from shared.domain.model_lists import Limit
from shared.domain.models import Model
from shared.domain.rights import Scope
from shared.store.rows import AnyRow, Selection, fields_of, insert_rows
from shared.store.tables import api_key, head, model, model_revision, task, team, user

_FIELDS = Model.__struct_fields__
_COLUMNS = (*_FIELDS, "revision")
_is_one_of_these = model.c.model_id == func.any(bindparam("model_ids", type_=ARRAY(Text)))
_shown_name = func.coalesce(model.c.public_name, model.c.model_name)
_SORT_KEYS: dict[str, ColumnElement[Any]] = {
    "model_name": _shown_name,
    "created_at": model.c.created_at,
    "updated_at": model.c.updated_at,
    "status": model.c.blocked,
    "costs": func.coalesce(model.c.model_info["input_cost_per_token"], model.c.litellm_params["input_cost_per_token"]),
}


EVERYTHING = Scope(is_all=True)


class StoredModel(Model, frozen=True, kw_only=True):
    """A model and the revision of the fleet at which it last changed."""

    revision: int


class ModelRevision(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a model; ``state`` is its document, or None if this change deleted it."""

    model_id: str
    revision: int
    version: int
    operation: str
    changed_at: datetime
    changed_by: str
    task_id: str
    state: dict[str, Any] | None


class ListFilter(msgspec.Struct, frozen=True, kw_only=True):
    """What a page of models is narrowed down to; None narrows nothing."""

    search: str | None = None
    name: str | None = None
    model_id: str | None = None
    team_id: str | None = None
    blocked: bool | None = None
    wildcard_only: bool = False
    access_group: str | None = None
    scope: Scope = EVERYTHING
    """Whose models may be seen at all."""
    limits: tuple[Limit, ...] = ()
    """What lists of models let through; each of them must."""
    hidden_ids: tuple[str, ...] = ()
    """Stored models that the configuration file has taken over. At most a handful."""

    @property
    def narrows(self) -> bool:
        return msgspec.structs.replace(self, hidden_ids=()) != ListFilter()


@cache
def by_ids() -> Selection:
    """Parameter: ``model_ids``. Index: the primary key."""
    return select(*(model.c[name] for name in _FIELDS)).where(_is_one_of_these)


@cache
def by_ids_locked() -> Selection:
    """Locks the models, in the order of their ids, until the commit. Parameter: ``model_ids``."""
    return by_ids().order_by(model.c.model_id).with_for_update()


@cache
def of_teams_locked() -> Selection:
    """Locks these models and those of the teams, in the order of their ids. Parameters: ``model_ids``, ``team_ids``.

    Index: the primary key and ix_model_team_id.
    """
    is_of_these_teams = model.c.team_id == func.any(bindparam("team_ids", type_=ARRAY(Text)))
    wanted = select(*(model.c[name] for name in _FIELDS)).where(or_(_is_one_of_these, is_of_these_teams))
    return wanted.order_by(model.c.model_id).with_for_update()


@cache
def known_ids() -> Selection:
    """Which of these ids are stored. Parameter: ``model_ids``."""
    return select(model.c.model_id).where(_is_one_of_these)


@cache
def with_creation() -> Selection:
    """Which of these ids are stored, and the task that created each, if nothing has changed it since.

    Parameter: ``model_ids``. Index: three primary keys.
    """
    its_creation = and_(
        model_revision.c.model_id == model.c.model_id,
        model_revision.c.revision == model.c.revision,
        model_revision.c.operation == literal("model.create"),
    )
    joined = model.outerjoin(model_revision, its_creation).outerjoin(task, task.c.task_id == model_revision.c.task_id)
    return (
        select(
            model.c.model_id,
            model.c.version,
            model.c.updated_at,
            model.c.team_id,
            task.c.task_id,
            task.c.digest,
            task.c.submitted_by,
        )
        .select_from(joined)
        .where(_is_one_of_these)
    )


def everything(wanted: ListFilter) -> Selection:
    """All that are wanted, in the order of their creation. Index: ix_model_shown_name for those of one name."""
    statement = select(*(model.c[name] for name in _FIELDS)).order_by(model.c.created_at, model.c.model_id)
    return _narrowed(statement, wanted)


def page(
    wanted: ListFilter, *, limit: int, offset: int, sort_by: str | None, sort_order: Literal["asc", "desc"]
) -> Selection:
    """One page. Index: the one of the sort key, or ix_model_search for a search of three letters and more.

    Sorting by ``costs`` or ``status`` reads all models that are wanted; so do a filter that has no index, and limits.
    """
    key = _SORT_KEYS.get(sort_by or "", model.c.created_at)
    order = (key, model.c.model_id) if sort_order == "asc" else (key.desc(), model.c.model_id.desc())
    if sort_by == "costs":
        # Whatever the direction, a model without a price comes after those with one.
        order = (key.is_(None), *order)
    return _narrowed(select(*(model.c[name] for name in _FIELDS)), wanted).order_by(*order).limit(limit).offset(offset)


def count(wanted: ListFilter) -> Selection:
    """How many there are; without a filter the worker has counted already."""
    if not wanted.narrows:
        return select(head.c.model_count - len(wanted.hidden_ids))
    return _narrowed(select(func.count()).select_from(model), wanted)


def is_any(wanted: ListFilter) -> Selection:
    """A row if there is such a model. Index: ix_model_shown_name for those of one name."""
    return _narrowed(select(model.c.model_id), wanted).limit(1)


def names(wanted: ListFilter) -> Selection:
    """The public names, each once. Index: ix_model_shown_name."""
    return _narrowed(select(_shown_name.label("name")), wanted).distinct().order_by(_shown_name)


def shown_names(model_ids: list[str]) -> Selection:
    """With the team to which each name belongs. Index: the primary key."""
    return select(model.c.model_id, model.c.team_id, _shown_name.label("name")).where(model.c.model_id.in_(model_ids))


def on_whose_lists(model_ids: list[str]) -> CompoundSelect[*tuple[Any, ...]]:
    """What shares the names of these models, or lists them: ``model_id``, ``kind`` and ``object_id``.

    Kinds: ``other`` for another model of the group, ``hidden_in`` for a team that means its own by the name, and
    ``team``, ``key`` and ``user``. For a model of a team only the team's keys count. Index: ix_model_shown_name; the
    lists themselves have none, as renaming a group is rare.
    """
    named = select(model.c.model_id, model.c.team_id, _shown_name.label("name")).where(model.c.model_id.in_(model_ids))
    wanted = named.subquery("wanted")
    same_name = and_(_shown_name == wanted.c.name, model.c.model_id != wanted.c.model_id)
    is_free = wanted.c.team_id.is_(None)
    whose = {
        "other": (model.c.model_id, same_name, model.c.team_id.is_not_distinct_from(wanted.c.team_id)),
        "hidden_in": (model.c.team_id, same_name, and_(is_free, model.c.team_id.is_not(None))),
        "team": (team.c.team_id, _lists(team, wanted), is_free),
        "key": (api_key.c.token, _lists(api_key, wanted), or_(is_free, api_key.c.team_id == wanted.c.team_id)),
        "user": (user.c.user_id, _lists(user, wanted), is_free),
    }
    return union_all(
        *(
            select(wanted.c.model_id, literal(kind).label("kind"), object_id.label("object_id")).where(*conditions)
            for kind, (object_id, *conditions) in whose.items()
        )
    )


def listed_for(team_id: str | None, user_id: str | None) -> Selection:
    """The lists of models of this team, or of this user. Index: the primary keys."""
    if team_id is not None:
        return select(team.c.models).where(team.c.team_id == team_id)
    return select(user.c.models).where(user.c.user_id == user_id)


@cache
def save() -> Insert:
    """Writes the new states of models. Parameter: ``packed(list[StoredModel])``."""
    statement = insert_rows(model, *_COLUMNS)
    replaced = {name: statement.excluded[name] for name in _COLUMNS if name != "model_id"}
    return statement.on_conflict_do_update(index_elements=[model.c.model_id], set_=replaced)


@cache
def remove() -> Delete:
    """Parameter: ``model_ids``."""
    return delete(model).where(_is_one_of_these)


def from_row(row: AnyRow) -> Model:
    return Model(**fields_of(row))


def at_revision(state: Model, revision: int) -> StoredModel:
    return StoredModel(**msgspec.structs.asdict(state), revision=revision)


# --- revisions ---


@cache
def keep_revisions() -> Insert:
    """Parameter: ``packed(list[ModelRevision])``."""
    return insert_rows(model_revision, *ModelRevision.__struct_fields__)


def last_with_versions(pairs: list[tuple[str, int]]) -> Selection:
    """The newest revision of each (model id, version); an id that was deleted and used again has several."""
    return (
        select(model_revision.c.model_id, model_revision.c.version, model_revision.c.state)
        .ext(distinct_on(model_revision.c.model_id, model_revision.c.version))
        .where(tuple_(model_revision.c.model_id, model_revision.c.version).in_(pairs))
        .order_by(model_revision.c.model_id, model_revision.c.version, model_revision.c.revision.desc())
    )


def history(model_id: str, *, limit: int, before_revision: int | None = None) -> Selection:
    """Newest first. Index: the primary key."""
    statement = select(*model_revision.c).where(model_revision.c.model_id == model_id)
    if before_revision is not None:
        statement = statement.where(model_revision.c.revision < before_revision)
    return statement.order_by(model_revision.c.revision.desc()).limit(limit)


def revision_from_row(row: AnyRow) -> ModelRevision:
    return ModelRevision(**fields_of(row))


def _narrowed(statement: Selection, wanted: ListFilter) -> Selection:
    conditions: list[ColumnElement[bool]] = [true()]
    if wanted.search:
        conditions.append(func.lower(_shown_name).like(f"%{_literally(wanted.search.lower())}%"))
    if wanted.name is not None:
        conditions.append(_shown_name == wanted.name)
    if wanted.model_id is not None:
        conditions.append(model.c.model_id == wanted.model_id)
    if wanted.team_id is not None:
        conditions.append(model.c.team_id == wanted.team_id)
    if wanted.blocked is not None:
        conditions.append(model.c.blocked if wanted.blocked else model.c.blocked.is_(false()))
    if wanted.wildcard_only:
        conditions.append(_shown_name.like("%*%"))
    if wanted.hidden_ids:
        hidden = bindparam("hidden_ids", list(wanted.hidden_ids), type_=ARRAY(Text))
        conditions.append(not_(model.c.model_id == func.any(hidden)))
    if not wanted.scope.is_all:
        conditions.append(_is_seen(wanted.scope))
    conditions.extend(_is_let_through(limit) for limit in wanted.limits)
    if wanted.access_group is not None:
        conditions.append(model.c.model_info["access_groups"].contains([wanted.access_group]))
    return statement.where(*conditions)


def _is_seen(scope: Scope) -> ColumnElement[bool]:
    of_teams = model.c.team_id == func.any(bindparam("seen_teams", sorted(scope.team_ids), type_=ARRAY(Text)))
    return or_(model.c.team_id.is_(None), of_teams) if scope.is_open else of_teams


def _is_let_through(limit: Limit) -> ColumnElement[bool]:
    listed = bindparam(None, sorted(limit.names), type_=ARRAY(Text))
    ways: list[ColumnElement[bool]] = [
        _shown_name == func.any(listed),
        model.c.model_info["access_groups"].has_any(listed),
        *(_shown_name.like(_like(pattern), escape="\\") for pattern in limit.patterns),
    ]
    if limit.spares_teams:
        ways.append(model.c.team_id.is_not(None))
    return or_(*ways)


def _like(pattern: str) -> str:
    """Only the star is special."""
    return _literally(pattern).replace("*", "%")


def _literally(part: str) -> str:
    return part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _lists(holder: FromClause, wanted: FromClause) -> ColumnElement[bool]:
    return wanted.c.name == func.any(holder.c.models)
