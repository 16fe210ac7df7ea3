"""What changes to a user mean: keys and memberships come and go with it."""

from collections import ChainMap
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import UNSET

from shared.domain import key_changes, keys, teams
from shared.domain.decision import Change, Context, Decision, Document, Event, ObjectRef, State, together
from shared.domain.keys import Key
from shared.domain.members import Member
from shared.domain.members import user_ids as member_ids
from shared.domain.preconditions import check_expected, require_expected
from shared.domain.problems import UnknownTeam, UserEmailTaken, UserExists, UserNotFound
from shared.domain.tasks import Lines
from shared.domain.teams import AddMembers, DeleteMember, Team
from shared.domain.users import (
    OBJECT_TYPE,
    CreateUser,
    DeleteUsers,
    UpdateUser,
    User,
    document,
    email_ref,
    ref,
)

# --- known to be impossible when accepting ---


def check_create(command: CreateUser, lines: Lines, context: Context) -> None:
    """Raises UserExists, UnknownTeam, BeyondOwnRights."""
    if lines[ref(command.user_id)].will_exist():
        raise UserExists(command.user_id)
    for team_id in command.team_ids:
        if not lines[keys.team_ref(team_id)].will_exist():
            raise UnknownTeam(team_id, "teams")
    if command.key is not None:
        key_changes.check_new(command.key, context)


def check_update(command: UpdateUser, lines: Lines, _context: Context) -> None:
    """Raises UserNotFound, PreconditionFailed."""
    line = lines[ref(command.user_id)]
    if not line.will_exist():
        raise UserNotFound(command.user_id)
    check_expected(command, line)


def check_delete(command: DeleteUsers, lines: Lines, _context: Context) -> None:
    """Raises UserNotFound, PreconditionFailed."""
    for user_id in command.user_ids:
        if not lines[ref(user_id)].will_exist():
            raise UserNotFound(user_id)
        check_expected(command, lines[ref(user_id)])


# --- what they mean ---


def create(state: State, command: CreateUser, context: Context) -> Decision:
    """Raises UserExists, UserEmailTaken, UnknownTeam and what making a key raises."""
    if state[ref(command.user_id)] is not None:
        raise UserExists(command.user_id)
    user = User(
        user_id=command.user_id,
        user_email=command.user_email,
        user_alias=command.user_alias,
        role=command.role,
        models=command.models,
        metadata=command.metadata,
        settings=_without_nulls(command.settings),
        version=1,
        created_at=context.now,
        created_by=context.principal.user_id,
        updated_at=context.now,
        updated_by=context.principal.user_id,
    )
    _require_free_email(user, state)
    made = [_decided("created", None, user, state, context)]
    if command.key is not None:
        made.append(key_changes.create(state, command.key, context))
    made += [_joined(user, team_id, state, context) for team_id in _teams_to_join(command, state)]
    key = made[1].result if command.key is not None else None
    return together(made, {**document(user), "teams": list(command.team_ids), "key": key})


def update(state: State, command: UpdateUser, context: Context) -> Decision:
    """Raises UserNotFound, PreconditionFailed, UserEmailTaken."""
    before = _existing(state, command.user_id)
    require_expected(command, before)
    given = {name: value for name, value in msgspec.structs.asdict(command).items() if name in _SET and value != UNSET}
    given["settings"] = _without_nulls({**before.settings, **command.settings})
    after = msgspec.structs.replace(before, **given)
    if after == before:
        return Decision(objects={}, changes=(), events=(), result=document(before))
    if after.user_email != before.user_email:
        _require_free_email(after, state)
    after = msgspec.structs.replace(
        after, version=before.version + 1, updated_at=context.now, updated_by=context.principal.user_id
    )
    return _decided("updated", before, after, state, context)


def with_models(before: User, models: tuple[str, ...], state: State, context: Context) -> Decision:
    """Because the models that it lists are called otherwise now."""
    after = msgspec.structs.replace(
        before, models=models, version=before.version + 1, updated_at=context.now, updated_by=context.principal.user_id
    )
    return _decided("updated", before, after, state, context)


_SET = ("user_email", "user_alias", "role", "models", "metadata")


def delete(state: State, command: DeleteUsers, context: Context) -> Decision:
    """Raises UserNotFound, PreconditionFailed."""
    user_ids = tuple(dict.fromkeys(command.user_ids))
    for user_id in user_ids:
        require_expected(command, _existing(state, user_id))
    left: dict[ObjectRef, Any] = {}
    gone: list[Decision] = []
    for decision in _deletions(user_ids, ChainMap(left, dict(state)), context):
        left.update(decision.objects)
        gone.append(decision)
    return together(
        gone,
        {
            "deleted_users": list(user_ids),
            "deleted_keys": [at.object_id for at in left if at.object_type == keys.OBJECT_TYPE],
            "left_teams": [at.object_id for at in left if at.object_type == teams.OBJECT_TYPE],
        },
    )


def _deletions(user_ids: tuple[str, ...], state: State, context: Context) -> Iterator[Decision]:
    """Each user, and what goes with it, on the state that the one before left."""
    for user_id in user_ids:
        yield _decided("deleted", _existing(state, user_id), None, state, context)
        for what in list(state.values()):
            if isinstance(what, Key) and what.user_id == user_id:
                yield key_changes.removed(what, state, context)
            elif isinstance(what, Team) and user_id in member_ids(what.members):
                yield teams.delete_member(state, DeleteMember(team_id=what.team_id, user_id=user_id), context)


def _existing(state: State, user_id: str) -> User:
    user: User | None = state[ref(user_id)]
    if user is None:
        raise UserNotFound(user_id)
    return user


def _teams_to_join(command: CreateUser, state: State) -> list[str]:
    """Those in which the user is not named yet. Raises UnknownTeam."""
    for team_id in command.team_ids:
        if state[keys.team_ref(team_id)] is None:
            raise UnknownTeam(team_id, "teams")
    return [
        team_id
        for team_id in dict.fromkeys(command.team_ids)
        if command.user_id not in member_ids(state[keys.team_ref(team_id)].members)
    ]


def _joined(user: User, team_id: str, state: State, context: Context) -> Decision:
    return teams.add_members(state, AddMembers(team_id=team_id, members=(Member(user_id=user.user_id),)), context)


def _decided(action: str, before: User | None, after: User | None, state: State, context: Context) -> Decision:
    known = after or before
    user_id = known.user_id if known else ""
    data: dict[str, Any] = {
        "user_id": user_id,
        "role": known.role if known else None,
        "version": known.version if known else 0,
        "task_id": context.task_id,
        "changed_by": context.principal.user_id,
    }
    return Decision(
        objects={**_emails(before, after, state), ref(user_id): after},
        changes=(
            Change(
                action=action,
                object_type=OBJECT_TYPE,
                object_id=user_id,
                before=None if before is None else document(before),
                after=None if after is None else document(after),
            ),
        ),
        events=(Event(type=f"user.{action}", object_type=OBJECT_TYPE, object_id=user_id, data=data),),
        result={} if after is None else document(after),
    )


def _without_nulls(settings: Document) -> Document:
    return {name: value for name, value in settings.items() if value is not None}


def _require_free_email(user: User, state: State) -> None:
    if user.user_email is not None and state[email_ref(user.user_email)] - {user.user_id}:
        raise UserEmailTaken(user.user_email)


def _emails(before: User | None, after: User | None, state: State) -> dict[ObjectRef, Any]:
    """Who has which address, for decisions on those addresses later in the same batch."""
    holders: dict[ObjectRef, Any] = {}
    for user, has_it in ((before, False), (after, True)):
        if user is None or user.user_email is None:
            continue
        where = email_ref(user.user_email)
        user_ids_there: frozenset[str] | None = holders.get(where, state.get(where))
        if user_ids_there is not None:
            holders[where] = user_ids_there | {user.user_id} if has_it else user_ids_there - {user.user_id}
    return holders
