"""What makes a model a team's: its names, and what the team's own list of models says with them.

Nothing of this is stored beside the models, so that no name can outlive its model.
"""

import hashlib
from collections.abc import Iterable, Sequence

from shared.domain.decision import ObjectRef

TEAM_TYPE = "team"
NAMES_TYPE = "team_names"
BELONGINGS_TYPE = "team_belongings"
KEYS_TYPE = "team_keys"

ALL_MODELS = "all-proxy-models"
ALL_TEAM_MODELS = "all-team-models"
NO_MODELS = "no-default-models"
SPECIAL_NAMES = frozenset((ALL_MODELS, ALL_TEAM_MODELS, NO_MODELS))
"""What stands for more than one model, or none, in a list of models; no model may be called so in a team."""


def team_ref(team_id: str) -> ObjectRef:
    return ObjectRef(TEAM_TYPE, team_id)


def names_ref(team_id: str) -> ObjectRef:
    """The public names of a team's own models, by model id, oldest first."""
    return ObjectRef(NAMES_TYPE, team_id)


def belongings_ref(team_id: str) -> ObjectRef:
    """Loads, to be changed, the models and keys of a team; it has no state of its own."""
    return ObjectRef(BELONGINGS_TYPE, team_id)


def keys_ref(team_id: str) -> ObjectRef:
    """Loads, to be changed, the keys of a team; it has no state of its own."""
    return ObjectRef(KEYS_TYPE, team_id)


def internal_name(team_id: str, public_name: str) -> str:
    """Unique to the team and the name, so that models of one name form a group, and no lock is needed to find it.

    Ends in a UUID of version 5 (RFC 9562, section 5.5).
    """
    digest = bytearray(hashlib.sha1(f"{team_id}\0{public_name}".encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{_prefix(team_id)}{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def is_internal_name(team_id: str, name: str) -> bool:
    return name.startswith(_prefix(team_id))


def names(shown_name: str, team_id: str | None) -> tuple[str, str | None]:
    """``model_name`` and ``public_name`` of a model that people know by ``shown_name``."""
    return (shown_name, None) if team_id is None else (internal_name(team_id, shown_name), shown_name)


def shown_models(listed: Sequence[str], own_names: Iterable[str]) -> list[str]:
    """A team's ``models`` as LiteLLM's clients read them: what is listed by hand, and the names of its own models.

    Own models take nothing away: where nothing is listed, which means all, the list says so in words.
    """
    own = [name for name in dict.fromkeys(own_names) if name not in listed]
    if not own:
        return list(listed)
    if not listed:
        return [ALL_MODELS, *own]
    return own if list(listed) == [NO_MODELS] else [*listed, *own]


def to_list(given: Iterable[str], own_names: Iterable[str]) -> tuple[str, ...]:
    """What is to be stored of a list that a client sends: names of own models are known anyway.

    Without them the list may be empty, but must not come to mean all.
    """
    given = tuple(dict.fromkeys(given))
    rest = without(given, own_names)
    return rest if rest or not given else (NO_MODELS,)


def with_added(listed: Sequence[str], added: Iterable[str]) -> tuple[str, ...]:
    """Adding takes nothing away: nothing listed means all."""
    return tuple(dict.fromkeys((*(listed or (ALL_MODELS,)), *added)))


def with_removed(listed: Sequence[str], removed: Iterable[str]) -> tuple[str, ...]:
    """Removing the last name must not come to mean all."""
    rest = without(listed, removed)
    return rest if rest or not listed else (NO_MODELS,)


def aliases(by_hand: dict[str, str], team_id: str, own_names: Iterable[str]) -> dict[str, str]:
    """From public names to what is called: a team's own models go before what was set by hand."""
    return {**by_hand, **{name: internal_name(team_id, name) for name in own_names}}


def without(listed: Iterable[str], removed: Iterable[str]) -> tuple[str, ...]:
    gone = frozenset(removed)
    return tuple(name for name in listed if name not in gone)


def _prefix(team_id: str) -> str:
    return f"model_name_{team_id}_"
