"""Lists of models on keys, teams and users: which models they let through, and how they follow a renamed group."""

from collections.abc import Collection
from fnmatch import fnmatchcase

import msgspec

from shared.domain.decision import ObjectRef
from shared.domain.team_models import ALL_MODELS, ALL_TEAM_MODELS

GROUP_TYPE = "model_group"


def group_ref(model_id: str, new_name: str | None) -> ObjectRef:
    """The group that a model leaves by its renaming, as a ``Group``; None if it is renamed to what it is called.

    Loads, to be changed, whatever lists the group's name. ``new_name`` is None where only a decision will tell.
    """
    return ObjectRef(GROUP_TYPE, f"{model_id}\0{new_name or ''}")


def model_and_new_name(object_id: str) -> tuple[str, str | None]:
    """Of a ``group_ref``."""
    model_id, _, new_name = object_id.partition("\0")
    return model_id, new_name or None


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """All models that share a model's public name, in its team or in none."""

    others: frozenset[str] = frozenset()
    """The ids of the other models."""
    hidden_in: frozenset[str] = frozenset()
    """The teams that mean a model of their own by the name."""


def renamed(listed: Collection[str], name: str, new_name: str) -> tuple[str, ...]:
    """With the new name in the old one's place, each once."""
    return tuple(dict.fromkeys(new_name if one == name else one for one in listed))


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """What one list lets through: models by name, by pattern (``openai/*``), or by an access group of theirs."""

    names: frozenset[str]
    spares_teams: bool = False
    """Whether it says nothing of the models of teams."""

    @property
    def patterns(self) -> list[str]:
        return sorted(name for name in self.names if "*" in name)

    def allows(self, name: str, groups: Collection[str], *, is_of_team: bool) -> bool:
        if self.spares_teams and is_of_team:
            return True
        if name in self.names or not self.names.isdisjoint(groups):
            return True
        return any(fnmatchcase(name, _pattern(pattern)) for pattern in self.patterns)


def limits(of_key: Collection[str], of_owner: Collection[str]) -> tuple[Limit, ...]:
    """What a key's own list and that of its team, or else of its user, leave; an empty list means all.

    A team's own models are let through by the team's list whether it names them or not.
    """
    own = () if ALL_TEAM_MODELS in of_key else of_key
    pairs = ((own, False), (of_owner, True))
    return tuple(
        Limit(names=frozenset(listed), spares_teams=spares_teams)
        for listed, spares_teams in pairs
        if listed and not _lets_all_through(listed)
    )


def _lets_all_through(listed: Collection[str]) -> bool:
    return ALL_MODELS in listed or "*" in listed


def _pattern(pattern: str) -> str:
    """Only the star is special."""
    return pattern.replace("[", "[[]").replace("?", "[?]")
