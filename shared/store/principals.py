"""Statements on what virtual keys stand for."""

from collections.abc import Iterable
from functools import cache

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    DateTime,
    ScalarSelect,
    Text,
    Update,
    bindparam,
    cast,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB

from shared.domain.principals import TRUST_FLAG, Standing
from shared.store.rows import AnyRow, Selection
from shared.store.tables import api_key, team, user


@cache
def by_tokens() -> Selection:
    """The keys with these tokens, and with all that says what they stand for. Parameter: ``tokens``.

    Index: the primary keys, ix_api_key_previous_token, ix_team_members.
    """
    tokens = bindparam("tokens", type_=ARRAY(Text))
    own_team = team.alias("own_team")
    return (
        select(
            api_key.c.token,
            api_key.c.previous_token,
            api_key.c.user_id,
            api_key.c.team_id,
            user.c.role,
            api_key.c.blocked,
            func.coalesce(own_team.c.blocked, False).label("is_team_blocked"),
            api_key.c.expires,
            api_key.c.revoke_at,
            api_key.c.allowed_routes,
            api_key.c.models,
            api_key.c.default_wait.label("default_wait_s"),
            or_(_is_trusted(api_key.c.metadata), func.coalesce(_is_trusted(own_team.c.metadata), False)).label(
                "is_trusted"
            ),
            _memberships().label("memberships"),
        )
        .outerjoin(user, user.c.user_id == api_key.c.user_id)
        .outerjoin(own_team, own_team.c.team_id == api_key.c.team_id)
        .where(or_(api_key.c.token == func.any(tokens), api_key.c.previous_token == func.any(tokens)))
    )


@cache
def note_use() -> Update:
    """Says when keys were last used. Parameters: ``tokens`` and ``used_at``, of the same length.

    Passes over those that a worker holds: they are noted the next time. Index: the primary key.
    """
    tokens, times = bindparam("tokens", type_=ARRAY(Text)), bindparam("used_at", type_=ARRAY(DateTime(timezone=True)))
    used = func.unnest(tokens, times).table_valued("token", "used_at", name="used").render_derived()
    held = (
        select(api_key.c.token, used.c.used_at)
        .join(used, api_key.c.token == used.c.token)
        .order_by(api_key.c.token)
        .with_for_update(skip_locked=True, of=api_key)
        .cte("held")
    )
    return update(api_key).where(api_key.c.token == held.c.token).values(last_used_at=held.c.used_at)


def standings(rows: Iterable[AnyRow]) -> dict[str, Standing]:
    """By token, those from before a regeneration included."""
    found: dict[str, Standing] = {}
    for row in rows:
        standing = _standing(row, row.token)
        found[row.token] = standing
        if row.previous_token is not None:
            found.setdefault(row.previous_token, _standing(row, row.previous_token))
    return found


def _standing(row: AnyRow, token: str) -> Standing:
    return Standing(
        token=token,
        current_token=row.token,
        user_id=row.user_id,
        team_id=row.team_id,
        role=row.role,
        blocked=row.blocked,
        is_team_blocked=row.is_team_blocked,
        expires=row.expires,
        revoke_at=row.revoke_at,
        allowed_routes=tuple(row.allowed_routes),
        models=tuple(row.models),
        memberships=row.memberships or {},
        default_wait_s=row.default_wait_s,
        is_trusted=row.is_trusted,
    )


def _is_trusted(metadata: ColumnElement[object]) -> ColumnElement[bool]:
    return cast(metadata, JSONB).contains({TRUST_FLAG: True})


def _memberships() -> ScalarSelect[object]:
    """Of the key's user: team id -> whether as its admin."""
    is_member = team.c.members.contains(_entry(user_id=api_key.c.user_id))
    is_admin = team.c.members.contains(_entry(user_id=api_key.c.user_id, role="admin"))
    return select(func.jsonb_object_agg(team.c.team_id, is_admin)).where(is_member).correlate(api_key).scalar_subquery()


def _entry(**fields: ColumnElement[str] | str) -> ColumnElement[object]:
    pairs = [part for name, value in fields.items() for part in (name, value)]
    return func.jsonb_build_array(func.jsonb_build_object(*pairs, type_=JSONB), type_=JSONB)
