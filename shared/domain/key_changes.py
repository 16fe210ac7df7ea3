"""What changes to a virtual key mean."""

from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from shared.domain.decision import Change, Context, Decision, Document, Event, ObjectRef, State, together
from shared.domain.keys import (
    OBJECT_TYPE,
    BlockKey,
    ChangeOfOne,
    CreateKey,
    DeleteKeys,
    Key,
    KeyFields,
    RegenerateKey,
    UnblockKey,
    UpdateKey,
    alias_ref,
    document,
    ref,
    team_ref,
)
from shared.domain.preconditions import check_expected, require_expected
from shared.domain.problems import KeyAliasTaken, KeyExists, KeyNotFound, UnknownTeam
from shared.domain.reach import (
    check_disowning,
    check_owner,
    check_reach,
    check_regeneration,
    check_team,
    check_trust,
    check_unblocking,
)
from shared.domain.rights import Ownership, Principal
from shared.domain.tasks import Lines

# --- known to be impossible when accepting ---


def check_create(command: CreateKey, lines: Lines, context: Context) -> None:
    """Raises KeyExists, UnknownTeam, BeyondOwnRights."""
    if lines[ref(command.token)].will_exist():
        raise KeyExists
    _check_team(command.team_id, lines)
    check_new(command, context)


def check_new(command: CreateKey, context: Context) -> None:
    """Raises BeyondOwnRights."""
    check_owner(context.principal, command.user_id)
    check_team(context.principal, command.team_id)
    check_reach(context.principal, command.allowed_routes, command.models)
    check_trust(context.principal, {}, command.metadata)


def check_change(command: ChangeOfOne, lines: Lines, context: Context) -> None:
    """Raises KeyNotFound, PreconditionFailed, UnknownTeam, BeyondOwnRights."""
    line = lines[ref(command.token)]
    if not line.will_exist():
        raise KeyNotFound
    check_expected(command, line)
    check_team(context.principal, line.will_belong().team_id)
    if isinstance(command, RegenerateKey):
        check_regeneration(context.principal, line.will_belong().user_id)
    if isinstance(command, UpdateKey | RegenerateKey):
        _check_team(command.fields.team_id, lines)


def check_delete(command: DeleteKeys, lines: Lines, _context: Context) -> None:
    """Raises KeyNotFound, PreconditionFailed."""
    for token in command.tokens:
        if not lines[ref(token)].will_exist():
            raise KeyNotFound
        check_expected(command, lines[ref(token)])


def _check_team(team_id: str | UnsetType | None, lines: Lines) -> None:
    if team_id and not lines[team_ref(team_id)].will_exist():
        raise UnknownTeam(team_id, "team_id")


# --- what they mean ---


def create(state: State, command: CreateKey, context: Context) -> Decision:
    """Raises KeyExists, KeyAliasTaken, UnknownTeam, BeyondOwnRights."""
    _require_team(command.team_id, state)
    if state[ref(command.token)] is not None:
        raise KeyExists
    check_new(command, context)
    key = Key(
        token=command.token,
        key_name=command.key_name,
        key_alias=command.key_alias,
        user_id=command.user_id,
        team_id=command.team_id,
        models=command.models,
        allowed_routes=command.allowed_routes,
        expires=_after(command.duration_s, context),
        blocked=command.blocked,
        default_wait=command.default_wait,
        metadata=command.metadata,
        settings=_without_nulls(command.settings),
        version=1,
        created_at=context.now,
        created_by=context.principal.user_id,
        updated_at=context.now,
        updated_by=context.principal.user_id,
    )
    _require_free_alias(key, state)
    return _decided("created", None, key, state, context)


def update(state: State, command: UpdateKey, context: Context) -> Decision:
    """Raises KeyNotFound, PreconditionFailed, KeyAliasTaken, UnknownTeam, BeyondOwnRights."""
    before = _existing(state, command, context)
    after = _set(before, command.fields, state, context)
    if after == before:
        return Decision(objects={}, changes=(), events=(), result=document(before))
    return _decided("updated", before, _next(after, before, context), state, context)


def regenerate(state: State, command: RegenerateKey, context: Context) -> Decision:
    """Raises KeyNotFound, KeyExists and what ``update`` raises."""
    before = _existing(state, command, context)
    if state[ref(command.new_token)] is not None:
        raise KeyExists
    check_regeneration(context.principal, before.user_id)
    kept = _set(before, command.fields, state, context)
    # Whoever holds the new key can do with it what it may, so that is judged even where nothing is set.
    check_reach(context.principal, kept.allowed_routes, kept.models)
    after = msgspec.structs.replace(
        kept,
        token=command.new_token,
        key_name=command.new_key_name,
        previous_token=before.token if command.grace_s else None,
        revoke_at=context.now + timedelta(seconds=command.grace_s) if command.grace_s else None,
    )
    return _decided("rotated", before, _next(after, before, context), state, context)


def block(state: State, command: BlockKey, context: Context) -> Decision:
    """Raises KeyNotFound, PreconditionFailed."""
    return _blocked("blocked", _existing(state, command, context), state, context)


def unblock(state: State, command: UnblockKey, context: Context) -> Decision:
    """Raises KeyNotFound, PreconditionFailed."""
    return _blocked("unblocked", _existing(state, command, context), state, context)


def delete(state: State, command: DeleteKeys, context: Context) -> Decision:
    """Raises KeyNotFound, PreconditionFailed."""
    named = [_named(state, token, context) for token in dict.fromkeys(command.tokens)]
    for key in named:
        require_expected(command, key)
    gone = [removed(key, state, context) for key in named]
    return together(gone, {"deleted_keys": list(dict.fromkeys(command.tokens))})


def removed(key: Key, state: State, context: Context) -> Decision:
    """One key less, be it for itself or with its owner."""
    return Decision(
        objects={**_aliases(key, None, state), ref(key.token): None},
        changes=(_change("deleted", key, None),),
        events=(_event("key.deleted", key, context),),
        result={},
    )


def with_models(before: Key, models: tuple[str, ...], state: State, context: Context) -> Decision:
    """Because the models that it lists are called otherwise now."""
    after = _next(msgspec.structs.replace(before, models=models), before, context)
    return _decided("updated", before, after, state, context)


def _existing(state: State, command: ChangeOfOne, context: Context) -> Key:
    key = _named(state, command.token, context)
    require_expected(command, key)
    return key


def _named(state: State, token: str, context: Context) -> Key:
    key: Key | None = state[ref(token)]
    if key is None:
        raise KeyNotFound
    check_team(context.principal, key.team_id)
    return key


def _set(before: Key, fields: KeyFields, state: State, context: Context) -> Key:
    """The key with these fields, its version still the old one."""
    if fields.team_id is not UNSET:
        _require_team(fields.team_id, state)
    given = {name: value for name, value in msgspec.structs.asdict(fields).items() if value is not UNSET}
    if fields.duration_s is not UNSET:
        given["expires"] = _after(given.pop("duration_s"), context)
    given["settings"] = _without_nulls({**before.settings, **fields.settings})
    after = msgspec.structs.replace(before, **given)
    if after.key_alias != before.key_alias:
        _require_free_alias(after, state)
    _require_rights(before, after, context.principal)
    return after


def _require_rights(before: Key, after: Key, principal: Principal) -> None:
    """Raises BeyondOwnRights, NotPermitted."""
    if after.user_id != before.user_id:
        check_owner(principal, after.user_id)
        if after.user_id is None:
            check_disowning(principal, before.team_id)
    if before.blocked and not after.blocked:
        check_unblocking(principal, Ownership(team_id=before.team_id, user_id=before.user_id))
    if (after.allowed_routes, after.models) != (before.allowed_routes, before.models):
        check_reach(principal, after.allowed_routes, after.models)
    check_trust(principal, before.metadata, after.metadata)


def _next(after: Key, before: Key, context: Context) -> Key:
    return msgspec.structs.replace(
        after, version=before.version + 1, updated_at=context.now, updated_by=context.principal.user_id
    )


def _blocked(action: str, before: Key, state: State, context: Context) -> Decision:
    is_blocked = action == "blocked"
    if before.blocked == is_blocked:
        return Decision(objects={}, changes=(), events=(), result=document(before))
    after = _next(msgspec.structs.replace(before, blocked=is_blocked), before, context)
    return _decided(action, before, after, state, context)


def _decided(action: str, before: Key | None, after: Key, state: State, context: Context) -> Decision:
    objects = _aliases(before, after, state)
    if before is not None and before.token != after.token:
        objects[ref(before.token)] = None
    return Decision(
        objects={**objects, ref(after.token): after},
        changes=(_change(action, before, after),),
        events=(_event(_EVENTS[action], after, context),),
        result=document(after),
    )


_EVENTS = {
    "created": "key.created",
    "updated": "key.updated",
    "rotated": "key.regenerated",
    "blocked": "key.blocked",
    "unblocked": "key.unblocked",
}


def _change(action: str, before: Key | None, after: Key | None) -> Change:
    """Under the token by which the key was known when the task was accepted."""
    return Change(
        action=action,
        object_type=OBJECT_TYPE,
        object_id=(before or after).token,  # pyright: ignore[reportOptionalMemberAccess]
        before=None if before is None else document(before),
        after=None if after is None else document(after),
    )


def _event(event_type: str, key: Key, context: Context) -> Event:
    data: dict[str, Any] = {
        "token": key.token,
        "key_name": key.key_name,
        "version": key.version,
        "task_id": context.task_id,
        "changed_by": context.principal.user_id,
    }
    for name in ("key_alias", "user_id", "team_id"):
        if getattr(key, name) is not None:
            data[name] = getattr(key, name)
    return Event(type=event_type, object_type=OBJECT_TYPE, object_id=key.token, data=data)


def _after(duration_s: int | None, context: Context) -> datetime | None:
    return None if duration_s is None else context.now + timedelta(seconds=duration_s)


def _without_nulls(settings: Document) -> Document:
    return {name: value for name, value in settings.items() if value is not None}


def _require_team(team_id: str | UnsetType | None, state: State) -> None:
    if team_id and state[team_ref(team_id)] is None:
        raise UnknownTeam(team_id, "team_id")


def _require_free_alias(key: Key, state: State) -> None:
    if key.key_alias is not None and state[alias_ref(key.key_alias)]:
        raise KeyAliasTaken(key.key_alias)


def _aliases(before: Key | None, after: Key | None, state: State) -> dict[ObjectRef, Any]:
    """Who has which alias, for decisions on those aliases later in the same batch."""
    holders: dict[ObjectRef, Any] = {}
    for key, has_it in ((before, False), (after, True)):
        if key is None or key.key_alias is None:
            continue
        where = alias_ref(key.key_alias)
        tokens: frozenset[str] | None = holders.get(where, state.get(where))
        if tokens is not None:
            holders[where] = tokens | {key.token} if has_it else tokens - {key.token}
    return holders
