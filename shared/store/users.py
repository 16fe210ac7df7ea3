"""Statements on users."""

import msgspec
from sqlalchemy import ARRAY, ColumnElement, Delete, Text, bindparam, delete, func, or_, select, true
from sqlalchemy.dialects.postgresql import JSONB, Insert

from shared.domain.rights import Scope
from shared.domain.users import User
from shared.store.rows import AnyRow, Selection, fields_of, insert_rows
from shared.store.tables import team, user

_FIELDS = User.__struct_fields__
_COLUMNS = (*_FIELDS, "revision")
_SHOWN = tuple(user.c[name] for name in _FIELDS)
# What a list can be sorted by; ``user_id`` makes every order a total one.
SORTED_BY = ("user_id", "user_email", "user_alias", "created_at", "updated_at")


class StoredUser(User, frozen=True, kw_only=True):
    revision: int


class UserFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which users a list shows, of those that the principal may see."""

    role: str | None = None
    user_ids: tuple[str, ...] = ()
    user_email: str | None = None
    """A part of the address."""
    search: str | None = None
    """A part of the id, the alias or the address."""
    team_id: str | None = None


# --- applying ---


def by_ids_locked(user_ids: list[str], *, to_change: bool) -> Selection:
    """Locks the users in the order of their ids: against every other, or only against being changed."""
    return select(*_SHOWN).where(_is_one_of(user_ids)).order_by(user.c.user_id).with_for_update(read=not to_change)


def with_emails(emails: list[str]) -> Selection:
    """Parameter: addresses in lower case. Index: ix_user_email."""
    email = func.lower(user.c.user_email)
    return select(email.label("email"), user.c.user_id).where(email.in_(emails))


def save() -> Insert:
    """Parameter: ``packed(list[StoredUser])``."""
    statement = insert_rows(user, *_COLUMNS)
    replaced = {name: statement.excluded[name] for name in _COLUMNS if name != "user_id"}
    return statement.on_conflict_do_update(index_elements=[user.c.user_id], set_=replaced)


def remove(user_ids: list[str]) -> Delete:
    return delete(user).where(_is_one_of(user_ids))


def from_row(row: AnyRow) -> User:
    fields = fields_of(row)
    return msgspec.convert({name: fields[name] for name in _FIELDS}, User)


def at_revision(state: User, revision: int) -> StoredUser:
    return StoredUser(**msgspec.structs.asdict(state), revision=revision)


# --- accepting ---


def known_ids(user_ids: list[str]) -> Selection:
    """With what makes the entity tag."""
    return select(user.c.user_id, user.c.version, user.c.updated_at).where(_is_one_of(user_ids))


# --- reading ---


def by_ids(user_ids: list[str]) -> Selection:
    """Index: the primary key."""
    return select(*_SHOWN).where(_is_one_of(user_ids))


def memberships(user_ids: list[str]) -> Selection:
    """Which of these users are in which teams. Index: ix_team_members."""
    wanted = select(func.unnest(bindparam("users", user_ids, type_=ARRAY(Text))).label("user_id")).subquery("wanted")
    return (
        select(wanted.c.user_id, team.c.team_id, team.c.team_alias)
        .select_from(wanted)
        .join(team, team.c.members.contains(_entry(wanted.c.user_id)))
        .order_by(team.c.created_at, team.c.team_id)
    )


def page(wanted: UserFilter, visible: Scope, *, sort_by: str, is_ascending: bool, limit: int, offset: int) -> Selection:
    """Index: ix_user_created_at_user_id for the usual order."""
    by = user.c[sort_by]
    order = (by.asc(), user.c.user_id.asc()) if is_ascending else (by.desc(), user.c.user_id.desc())
    return select(*_SHOWN).where(*_matches(wanted, visible)).order_by(*order).limit(limit).offset(offset)


def count(wanted: UserFilter, visible: Scope) -> Selection:
    return select(func.count().label("total")).select_from(user).where(*_matches(wanted, visible))


def _matches(wanted: UserFilter, visible: Scope) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [true() if visible.is_all else user.c.user_id == visible.user_id]
    if wanted.role:
        conditions.append(user.c.role == wanted.role)
    if wanted.user_ids:
        conditions.append(user.c.user_id.in_(wanted.user_ids))
    if wanted.user_email:
        conditions.append(user.c.user_email.icontains(wanted.user_email, autoescape=True))
    if wanted.search:
        shown = (user.c.user_id, user.c.user_alias, user.c.user_email)
        conditions.append(or_(*(text.icontains(wanted.search, autoescape=True) for text in shown)))
    if wanted.team_id:
        is_member = team.c.members.contains(_entry(user.c.user_id))
        conditions.append(select(team.c.team_id).where(team.c.team_id == wanted.team_id, is_member).exists())
    return conditions


def _entry(user_id: ColumnElement[str]) -> ColumnElement[object]:
    return func.jsonb_build_array(func.jsonb_build_object("user_id", user_id, type_=JSONB), type_=JSONB)


def _is_one_of(user_ids: list[str]) -> ColumnElement[bool]:
    return user.c.user_id == func.any(bindparam("user_ids", user_ids, type_=ARRAY(Text)))
