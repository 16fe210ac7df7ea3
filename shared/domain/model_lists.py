"""Lists of models on keys, teams and users: which models they let through."""

from collections.abc import Collection
from fnmatch import fnmatchcase

import msgspec

from shared.domain.team_models import ALL_MODELS, ALL_TEAM_MODELS


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
