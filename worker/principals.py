"""Who asked, as it is now: what a task row says of rights is never trusted."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection

from shared.domain import principals as domain
from shared.domain.decision import State
from shared.domain.principals import Standing
from shared.domain.rights import BUILT_IN_KEY_IDS, Principal
from shared.store import principals
from shared.store.tasks import Claimed


class Principals:
    """The principals of a batch, loaded at once; within the batch they follow its own changes."""

    def __init__(self, standings: dict[str, Standing]) -> None:
        self._standings = standings

    def of(self, stored: dict[str, Any], state: State, now: datetime) -> Principal:
        """Raises UnknownKey, KeyBlocked, KeyExpired. ``state`` has the batch's keys, users and teams."""
        principal = msgspec.convert(stored, Principal)
        if principal.key_id in BUILT_IN_KEY_IDS:
            return principal
        standing = domain.amended(self._standings.get(principal.key_id), principal.key_id, state)
        return domain.principal_of(standing, now)


def load(connection: Connection, tasks: Iterable[Claimed]) -> Principals:
    """After the objects are locked: what changed them before is seen."""
    tokens = {key_id for task in tasks if (key_id := _key_id(task)) not in BUILT_IN_KEY_IDS}
    if not tokens:
        return Principals({})
    return Principals(principals.standings(connection.execute(principals.by_tokens(), {"tokens": sorted(tokens)})))


def _key_id(task: Claimed) -> str:
    return str(task.principal.get("key_id", ""))
