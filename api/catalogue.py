"""Every model that a principal may see: what is stored, and after it what the configuration file adds."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec

from api.presentation import config_entry, left_out, model_entry, refuse
from api.reads import Reads
from shared.contract.config_file import ConfigModel
from shared.domain.model_lists import Limit, limits
from shared.domain.models import etag
from shared.domain.rights import Ownership, Principal, authorise, scope
from shared.encryption.keyring import Keyring
from shared.runtime.config_file import ConfigFile
from shared.store import models
from shared.store.models import ListFilter
from shared.store.rows import AnyRow

Entry = dict[str, Any]


class Catalogue:
    """A stored model whose id the file has taken over is not shown; it comes back when the file lets go of it."""

    def __init__(self, reads: Reads, keyring: Keyring, config_file: ConfigFile[ConfigModel]) -> None:
        self._reads = reads
        self._keyring = keyring
        self._config_file = config_file

    async def view_of(self, principal: Principal, team_id: str | None = None) -> "CatalogueView":
        """What this principal may see, or, of that, the models of one team. Raises NotPermitted."""
        allowed = scope(principal, "model.read")
        if team_id is not None:
            # Whether there is such a team is not told to those who are not in it.
            authorise(principal, "team.read", Ownership(team_id=team_id))
        wanted = ListFilter(scope=allowed, limits=await self._limits(principal), team_id=team_id)
        return CatalogueView(self._reads, self._keyring, self._config_file, wanted)

    async def _limits(self, principal: Principal) -> tuple[Limit, ...]:
        """Of the key, and of its team or else its user. Proxy admins see all that their key lets through."""
        of_owner: Sequence[str] = ()
        if principal.role not in _SEE_ALL and (principal.team_id is not None or principal.is_user):
            row = await self._reads.row(models.listed_for(principal.team_id, principal.user_id))
            of_owner = () if row is None else row.models
        return limits(principal.models, of_owner)


_SEE_ALL = ("proxy_admin", "proxy_admin_viewer")


class CatalogueView:
    """The catalogue as one principal sees it."""

    def __init__(
        self, reads: Reads, keyring: Keyring, config_file: ConfigFile[ConfigModel], wanted: ListFilter
    ) -> None:
        self._reads = reads
        self._keyring = keyring
        self._config_file = config_file
        self._wanted = wanted

    async def all(self) -> list[Entry]:
        return await self._listed(self._wanted)

    async def one(self, model_id: str) -> tuple[Entry, str | None] | None:
        """The model and its entity tag; one of the file has none, since it cannot be changed here."""
        wanted = msgspec.structs.replace(self._wanted, model_id=model_id)
        if model_id in self._config_file.ids():
            of_file = self._wanted_of_file(wanted)
            return (config_entry(of_file[0]), None) if of_file else None
        row = await self._reads.row(models.everything(wanted))
        if row is None:
            return None
        model = models.from_row(row)
        return model_entry(self._keyring, model, refuse), etag(model)

    async def group(self, name: str) -> list[Entry]:
        """The deployments that share one public name."""
        return await self._listed(msgspec.structs.replace(self._wanted, name=name))

    async def has_group(self, name: str) -> bool:
        wanted = msgspec.structs.replace(self._wanted, name=name)
        if self._wanted_of_file(wanted):
            return True
        return await self._reads.row(models.is_any(wanted)) is not None

    async def names(self) -> list[str]:
        """The public names, each once: first those of stored models."""
        stored = [row.name for row in await self._reads.rows(models.names(self._wanted))]
        return list(dict.fromkeys([*stored, *(model.model_name for model in self._wanted_of_file(self._wanted))]))

    async def page(
        self, narrowed: ListFilter, *, page: int, size: int, sort_by: str | None, sort_order: Literal["asc", "desc"]
    ) -> tuple[list[Entry], int]:
        """One page and how many models there are in all. Those of the file come after the stored ones."""
        wanted = msgspec.structs.replace(
            narrowed,
            scope=self._wanted.scope,
            limits=self._wanted.limits,
            team_id=self._wanted.team_id,
            hidden_ids=await self._taken_over(),
        )
        counted = await self._reads.row(models.count(wanted))
        stored_count: int = counted[0] if counted else 0
        of_file = self._wanted_of_file(wanted)
        if sort_by == "model_name":
            of_file.sort(key=lambda model: model.model_name, reverse=sort_order == "desc")
        start = (page - 1) * size
        entries: list[Entry] = []
        if start < stored_count:
            statement = models.page(wanted, limit=size, offset=start, sort_by=sort_by, sort_order=sort_order)
            entries = self._entries(await self._reads.rows(statement))
        after = max(start - stored_count, 0)
        entries.extend(config_entry(model) for model in of_file[after : after + size - len(entries)])
        return entries, stored_count + len(of_file)

    async def _listed(self, wanted: ListFilter) -> list[Entry]:
        stored = self._entries(await self._reads.rows(models.everything(wanted)))
        return [*stored, *map(config_entry, self._wanted_of_file(wanted))]

    async def _taken_over(self) -> tuple[str, ...]:
        of_file = self._config_file.ids()
        if not of_file:
            return ()
        stored = await self._reads.rows(models.known_ids(), model_ids=sorted(of_file))
        return tuple(row.model_id for row in stored)

    def _entries(self, rows: Iterable[AnyRow]) -> list[Entry]:
        of_file = self._config_file.ids()
        return [
            model_entry(self._keyring, models.from_row(row), left_out) for row in rows if row.model_id not in of_file
        ]

    def _wanted_of_file(self, wanted: ListFilter) -> list[ConfigModel]:
        return [model for model in self._config_file.models().values() if _is_wanted(model, wanted)]


def _is_wanted(model: ConfigModel, wanted: ListFilter) -> bool:
    groups: Any = model.model_info.get("access_groups") or []
    team_id: Any = model.model_info.get("team_id")
    return (
        _is_seen(team_id, wanted)
        and all(limit.allows(model.model_name, groups, is_of_team=team_id is not None) for limit in wanted.limits)
        and (wanted.search is None or wanted.search.lower() in model.model_name.lower())
        and wanted.name in (None, model.model_name)
        and wanted.model_id in (None, model.model_id)
        and wanted.team_id in (None, team_id)
        and wanted.blocked is not True
        and (not wanted.wildcard_only or "*" in model.model_name)
        and (wanted.access_group is None or wanted.access_group in groups)
    )


def _is_seen(team_id: str | None, wanted: ListFilter) -> bool:
    allowed = wanted.scope
    return allowed.is_all or team_id in allowed.team_ids or (team_id is None and allowed.is_open)
