"""Teams as a principal may see them."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec

from api.keys import as_shown_to
from api.reads import Reads
from shared.contract import keys as key_contract
from shared.contract import teams as contract
from shared.domain.problems import TeamNotFound
from shared.domain.rights import Ownership, Principal, is_allowed, may_ever, scope
from shared.domain.teams import Team, document
from shared.encryption.masking import without_secrets
from shared.runtime.clock import now
from shared.store import keys, teams
from shared.store.rows import AnyRow
from shared.store.teams import TeamFilter

View = dict[str, Any]
MAX_KEYS_SHOWN = 1000


class Teams:
    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def one(self, principal: Principal, team_id: str) -> Team:
        """Raises TeamNotFound, also for a team that is not the principal's to see."""
        if not is_allowed(principal, "team.read", Ownership(team_id=team_id)):
            raise TeamNotFound(team_id)
        row = await self._reads.row(teams.by_ids([team_id]))
        if row is None:
            raise TeamNotFound(team_id)
        return teams.from_row(row)

    async def info(self, principal: Principal, team: Team) -> View:
        """Answer of ``/team/info``."""
        (view,) = await self._views(principal, [team])
        return {
            "team_id": team.team_id,
            "team_info": view,
            "keys": (await self._keys(principal, [team]))[team.team_id],
            "team_memberships": contract.memberships(team.team_id, team.members),
        }

    async def all(self, principal: Principal, wanted: TeamFilter) -> list[View]:
        """Raises NotPermitted."""
        found = _teams(await self._reads.rows(teams.everything(_seen(principal, wanted))))
        views, keys = await self._views(principal, found), await self._keys(principal, found)
        return [
            {
                **view,
                "team_memberships": contract.memberships(team.team_id, team.members),
                "keys": keys[team.team_id],
            }
            for team, view in zip(found, views, strict=True)
        ]

    async def page(
        self,
        principal: Principal,
        wanted: TeamFilter,
        *,
        page: int,
        size: int,
        sort_by: str | None,
        sort_order: Literal["asc", "desc"],
    ) -> tuple[list[View], int]:
        """One page and how many teams there are in all. Raises NotPermitted."""
        wanted = _seen(principal, wanted)
        counted = await self._reads.row(teams.count(wanted))
        statement = teams.page(wanted, limit=size, offset=(page - 1) * size, sort_by=sort_by, sort_order=sort_order)
        found = _teams(await self._reads.rows(statement))
        views = await self._views(principal, found)
        counts = {row.team_id: row.key_count for row in await self._reads.rows(teams.key_counts(_ids(found)))}
        listed = [
            {**view, "members_count": len(team.members), "keys_count": counts.get(team.team_id, 0)}
            for team, view in zip(found, views, strict=True)
        ]
        return listed, counted[0] if counted else 0

    async def _keys(self, principal: Principal, found: Sequence[Team]) -> dict[str, list[View]]:
        """Those that the principal may see, by team."""
        listed: dict[str, list[View]] = {team.team_id: [] for team in found}
        if found and may_ever(principal, "key.read"):
            at, visible = now(), scope(principal, "key.read")
            statement = keys.all_of_teams(_ids(found), visible, limit=MAX_KEYS_SHOWN)
            for row in await self._reads.rows(statement):
                key = as_shown_to(principal, keys.from_row(row))
                listed[row.team_id].append(key_contract.listed(key, row.last_used_at, at))
        return listed

    async def _views(self, principal: Principal, found: Sequence[Team]) -> list[View]:
        names: dict[str, dict[str, None]] = {team.team_id: {} for team in found}
        if found:
            for row in await self._reads.rows(teams.own_names(_ids(found))):
                names[row.team_id][row.public_name] = None
        return [contract.view(_for(principal, team), list(names[team.team_id])) for team in found]


def _for(principal: Principal, team: Team) -> dict[str, Any]:
    """What was sent may hold secrets; they are for those who set them."""
    shown = document(team)
    if principal.role == "proxy_admin":
        return shown
    return {**shown, "metadata": without_secrets(team.metadata), "settings": without_secrets(team.settings)}


def _seen(principal: Principal, wanted: TeamFilter) -> TeamFilter:
    allowed = scope(principal, "team.read")
    return wanted if allowed.is_all else msgspec.structs.replace(wanted, within=allowed.team_ids)


def _teams(rows: Iterable[AnyRow]) -> list[Team]:
    return [teams.from_row(row) for row in rows]


def _ids(found: Iterable[Team]) -> list[str]:
    return [team.team_id for team in found]
