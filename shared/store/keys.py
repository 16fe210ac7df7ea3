"""Statements on virtual keys."""

from datetime import datetime

import msgspec
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Delete,
    Text,
    and_,
    bindparam,
    case,
    delete,
    func,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import Insert

from shared.domain.keys import Key
from shared.domain.rights import Scope
from shared.store.rows import AnyRow, Selection, fields_of, insert_rows
from shared.store.tables import api_key

_FIELDS = Key.__struct_fields__
_COLUMNS = (*_FIELDS, "revision")
_SHOWN = (*(api_key.c[name] for name in _FIELDS), api_key.c.last_used_at)
# What a list can be sorted by; ``token`` makes every order a total one.
SORTED_BY = ("created_at", "updated_at", "expires", "key_alias", "user_id", "team_id")


class StoredKey(Key, frozen=True, kw_only=True):
    revision: int


class KeyFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which keys a list shows, of those that the principal may see."""

    user_id: str | None = None
    team_id: str | None = None
    organization_id: str | None = None
    key_alias: str | None = None
    token: str | None = None
    search: str | None = None
    """A part of the alias, the shown name or the user's id."""
    status: str | None = None
    """``active``, ``blocked`` or ``expired``."""


# --- applying ---


def by_tokens_locked(tokens: list[str], *, to_change: bool) -> Selection:
    """Locks the keys in the order of their tokens: against every other, or only against being changed."""
    return (
        select(*(api_key.c[name] for name in _FIELDS))
        .where(_is_one_of(tokens))
        .order_by(api_key.c.token)
        .with_for_update(read=not to_change)
    )


def of_users(user_ids: list[str]) -> Selection:
    """Index: ix_api_key_user_id."""
    return select(api_key.c.token).where(api_key.c.user_id.in_(user_ids))


def of_teams(team_ids: list[str]) -> Selection:
    """Index: ix_api_key_team_id."""
    return select(api_key.c.token).where(api_key.c.team_id.in_(team_ids))


def lock_names(names: list[str]) -> Selection:
    """Until the commit nobody else gives, or takes, one of these names, which are unique although nothing stores them.

    Ordered, so that two batches cannot deadlock.
    """
    given = select(func.unnest(bindparam("names", names, type_=ARRAY(Text))).label("name")).order_by("name").subquery()
    return select(func.pg_advisory_xact_lock(func.hashtextextended(given.c.name, 0)))


def with_aliases(aliases: list[str]) -> Selection:
    """Index: ix_api_key_key_alias."""
    return select(api_key.c.key_alias, api_key.c.token).where(api_key.c.key_alias.in_(aliases))


def save() -> Insert:
    """Parameter: ``packed(list[StoredKey])``. When a key was last used stays."""
    statement = insert_rows(api_key, *_COLUMNS)
    replaced = {name: statement.excluded[name] for name in _COLUMNS if name != "token"}
    return statement.on_conflict_do_update(index_elements=[api_key.c.token], set_=replaced)


def remove(tokens: list[str]) -> Delete:
    return delete(api_key).where(_is_one_of(tokens))


def from_row(row: AnyRow) -> Key:
    fields = fields_of(row)
    return msgspec.convert({name: fields[name] for name in _FIELDS}, Key)


def at_revision(key: Key, revision: int) -> StoredKey:
    return StoredKey(**msgspec.structs.asdict(key), revision=revision)


# --- accepting ---


def known_tokens(tokens: list[str]) -> Selection:
    """With what their lines have to say: owners, and what makes the entity tag."""
    return select(api_key.c.token, api_key.c.user_id, api_key.c.team_id, api_key.c.version, api_key.c.updated_at).where(
        _is_one_of(tokens)
    )


# --- reading ---


def by_tokens(tokens: list[str]) -> Selection:
    """Index: the primary key."""
    return select(*_SHOWN).where(_is_one_of(tokens))


def all_of_user(user_id: str, visible: Scope, *, limit: int) -> Selection:
    """The user's keys that may be seen, oldest first. Index: ix_api_key_user_id."""
    oldest_first = (api_key.c.created_at, api_key.c.token)
    return select(*_SHOWN).where(api_key.c.user_id == user_id, is_visible(visible)).order_by(*oldest_first).limit(limit)


def all_of_teams(team_ids: list[str], visible: Scope, *, limit: int) -> Selection:
    """The keys of these teams that may be seen, oldest first. Index: ix_api_key_team_id."""
    statement = select(*_SHOWN).where(api_key.c.team_id.in_(team_ids), is_visible(visible))
    return statement.order_by(api_key.c.created_at, api_key.c.token).limit(limit)


def counts_of_users(user_ids: list[str]) -> Selection:
    """Index: ix_api_key_user_id."""
    owned = select(api_key.c.user_id, func.count().label("total")).where(api_key.c.user_id.in_(user_ids))
    return owned.group_by(api_key.c.user_id)


def page(
    wanted: KeyFilter, visible: Scope, now: datetime, *, sort_by: str, is_ascending: bool, limit: int, offset: int
) -> Selection:
    """Index: ix_api_key_created_at_token for the usual order."""
    by = api_key.c[sort_by]
    order = (by.asc(), api_key.c.token.asc()) if is_ascending else (by.desc(), api_key.c.token.desc())
    return select(*_SHOWN).where(*_matches(wanted, visible, now)).order_by(*order).limit(limit).offset(offset)


def count(wanted: KeyFilter, visible: Scope, now: datetime) -> Selection:
    return select(func.count().label("total")).select_from(api_key).where(*_matches(wanted, visible, now))


def aliases(search: str | None, team_id: str | None, visible: Scope, *, limit: int, offset: int) -> Selection:
    """Each with the number of all of them."""
    conditions = [is_visible(visible), api_key.c.key_alias.is_not(None)]
    if search:
        conditions.append(api_key.c.key_alias.icontains(search, autoescape=True))
    if team_id:
        conditions.append(api_key.c.team_id == team_id)
    return (
        select(api_key.c.key_alias, func.count().over().label("total"))
        .where(*conditions)
        .order_by(api_key.c.key_alias)
        .limit(limit)
        .offset(offset)
    )


def is_visible(visible: Scope) -> ColumnElement[bool]:
    """The rights to read, as a condition."""
    if visible.is_all:
        return true()
    of_team = api_key.c.team_id.in_(visible.team_ids)
    if visible.user_id is None:
        return of_team
    within = or_(api_key.c.team_id.is_(None), api_key.c.team_id.in_(visible.within))
    return or_(of_team, and_(api_key.c.user_id == visible.user_id, within))


def _matches(wanted: KeyFilter, visible: Scope, now: datetime) -> list[ColumnElement[bool]]:
    equal = {
        api_key.c.user_id: wanted.user_id,
        api_key.c.team_id: wanted.team_id,
        api_key.c.key_alias: wanted.key_alias,
        api_key.c.token: wanted.token,
        api_key.c.settings["organization_id"].astext: wanted.organization_id,
    }
    conditions = [is_visible(visible), *(column == value for column, value in equal.items() if value)]
    if wanted.search:
        shown = (api_key.c.key_alias, api_key.c.key_name, api_key.c.user_id)
        conditions.append(or_(*(text.icontains(wanted.search, autoescape=True) for text in shown)))
    if wanted.status:
        conditions.append(_status(now) == wanted.status)
    return conditions


def _status(now: datetime) -> ColumnElement[str]:
    return case((api_key.c.blocked, "blocked"), (api_key.c.expires <= now, "expired"), else_="active")


def _is_one_of(tokens: list[str]) -> ColumnElement[bool]:
    return api_key.c.token == func.any(bindparam("tokens", tokens, type_=ARRAY(Text)))
