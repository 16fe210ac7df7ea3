"""A model that is renamed as the last of its group takes the name along wherever it is listed."""

from collections import ChainMap
from collections.abc import Callable, Iterator
from typing import Any

from shared.domain import key_changes, model_lists, models, teams, user_changes
from shared.domain.decision import Context, Decision, ObjectRef, State, together
from shared.domain.keys import Key
from shared.domain.model_lists import Group
from shared.domain.models import Model, RollbackModel, UpdateModel
from shared.domain.teams import Team
from shared.domain.users import User


def update(state: State, command: UpdateModel, context: Context) -> Decision:
    """As ``models.update``, and raises what it does."""
    return _with_lists(models.update(state, command, context), state, command, context)


def rollback(state: State, command: RollbackModel, context: Context) -> Decision:
    """As ``models.rollback``, and raises what it does."""
    return _with_lists(models.rollback(state, command, context), state, command, context)


def _with_lists(decision: Decision, state: State, command: UpdateModel | RollbackModel, context: Context) -> Decision:
    before: Model = state[models.ref(command.model_id)]
    after: Model | None = decision.objects.get(models.ref(command.model_id))
    group = _left(state, command)
    if after is None or group is None or after.team_id != before.team_id or after.shown_name == before.shown_name:
        return decision
    if any(_is_in_group(other, before, state) for other in group.others) or _has_new_member(before, group, state):
        return decision
    left: dict[ObjectRef, Any] = dict(decision.objects)
    followed = [decision]
    for one in _following(before, after.shown_name, group, ChainMap(left, dict(state)), context):
        left.update(one.objects)
        followed.append(one)
    return together(followed, decision.result)


def _left(state: State, command: UpdateModel | RollbackModel) -> Group | None:
    new_name = None if isinstance(command, RollbackModel) else command.model_name
    return state.get(model_lists.group_ref(command.model_id, new_name))


def _is_in_group(model_id: str, model: Model, state: State) -> bool:
    """What the state does not have is as it was loaded: still in the group."""
    where = models.ref(model_id)
    return where not in state or _has_name(state[where], model)


def _has_new_member(model: Model, group: Group, state: State) -> bool:
    """Whether another one came to the name meanwhile."""
    others = (what for what in state.values() if isinstance(what, Model) and what.model_id != model.model_id)
    return any(_has_name(other, model) for other in others if other.model_id not in group.others)


def _has_name(other: Model | None, model: Model) -> bool:
    return other is not None and (other.team_id, other.shown_name) == (model.team_id, model.shown_name)


def _following(before: Model, new_name: str, group: Group, state: State, context: Context) -> Iterator[Decision]:
    for what in list(state.values()):
        change = _change_of(what)
        if change is not None and before.shown_name in what.models and _means(what, before, group):
            yield change(what, model_lists.renamed(what.models, before.shown_name, new_name), state, context)


def _change_of(what: object) -> Callable[[Any, tuple[str, ...], State, Context], Decision] | None:
    if isinstance(what, Team):
        return teams.with_models
    if isinstance(what, Key):
        return key_changes.with_models
    return user_changes.with_models if isinstance(what, User) else None


def _means(what: Team | Key | User, model: Model, group: Group) -> bool:
    """Whether the name in its list is this model's."""
    team_id = None if isinstance(what, User) else what.team_id
    if model.team_id is not None:
        return isinstance(what, Key) and team_id == model.team_id
    return team_id not in group.hidden_in
