"""Every model there is to read: what is stored, and after it what the configuration file adds."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from api.presentation import config_entry, left_out, model_entry, refuse
from api.reads import Reads
from shared.contract.config_file import ConfigModel
from shared.domain.models import etag
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

    async def all(self) -> list[Entry]:
        return [*self._entries(await self._reads.rows(models.everything())), *self._from_file(ListFilter())]

    async def one(self, model_id: str) -> tuple[Entry, str | None] | None:
        """The model and its entity tag; one of the file has none, since it cannot be changed here."""
        of_file = self._config_file.models().get(model_id)
        if of_file is not None:
            return config_entry(of_file), None
        row = await self._reads.row(models.by_ids(), model_ids=[model_id])
        if row is None:
            return None
        model = models.from_row(row)
        return model_entry(self._keyring, model, refuse), etag(model)

    async def group(self, name: str) -> list[Entry]:
        """The deployments that share one public name."""
        stored = await self._reads.rows(models.of_group(name))
        return [*self._entries(stored), *self._from_file(ListFilter(name=name))]

    async def has_group(self, name: str) -> bool:
        if any(model.model_name == name for model in self._config_file.models().values()):
            return True
        return await self._reads.row(models.is_group(name)) is not None

    async def names(self) -> list[str]:
        """The public names, each once: first those of stored models."""
        stored = [row.name for row in await self._reads.rows(models.names())]
        return list(dict.fromkeys([*stored, *(model.model_name for model in self._config_file.models().values())]))

    async def page(
        self, wanted: ListFilter, *, page: int, size: int, sort_by: str | None, sort_order: Literal["asc", "desc"]
    ) -> tuple[list[Entry], int]:
        """One page and how many models there are in all. Those of the file come after the stored ones."""
        wanted = msgspec.structs.replace(wanted, hidden_ids=await self._taken_over())
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

    async def _taken_over(self) -> tuple[str, ...]:
        of_file = self._config_file.ids()
        if not of_file:
            return ()
        stored = await self._reads.rows(models.known_ids(), model_ids=sorted(of_file))
        return tuple(row.model_id for row in stored)

    def _entries(self, rows: Sequence[AnyRow]) -> list[Entry]:
        of_file = self._config_file.ids()
        return [
            model_entry(self._keyring, models.from_row(row), left_out) for row in rows if row.model_id not in of_file
        ]

    def _from_file(self, wanted: ListFilter) -> list[Entry]:
        return [config_entry(model) for model in self._wanted_of_file(wanted)]

    def _wanted_of_file(self, wanted: ListFilter) -> list[ConfigModel]:
        return [model for model in self._config_file.models().values() if _is_wanted(model, wanted)]


def _is_wanted(model: ConfigModel, wanted: ListFilter) -> bool:
    groups: Any = model.model_info.get("access_groups") or []
    return (
        (wanted.search is None or wanted.search.lower() in model.model_name.lower())
        and wanted.name in (None, model.model_name)
        and wanted.model_id in (None, model.model_id)
        and wanted.team_id in (None, model.model_info.get("team_id"))
        and wanted.blocked is not True
        and (not wanted.wildcard_only or "*" in model.model_name)
        and (wanted.access_group is None or wanted.access_group in groups)
    )
