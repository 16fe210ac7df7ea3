"""Statements on models."""

from functools import cache

import msgspec
from sqlalchemy import ARRAY, Text, bindparam, func, select
from sqlalchemy.dialects.postgresql import Insert

from shared.domain.models import Model
from shared.store.rows import AnyRow, Selection, fields_of, insert_rows
from shared.store.tables import model

_COLUMNS = (*Model.__struct_fields__, "revision")
_is_one_of_these = model.c.model_id == func.any(bindparam("model_ids", type_=ARRAY(Text)))


class StoredModel(Model, frozen=True, kw_only=True):
    """A model and the revision of the fleet at which it last changed."""

    revision: int


@cache
def by_ids() -> Selection:
    """Parameter: ``model_ids``. Index: the primary key."""
    return select(*(model.c[name] for name in Model.__struct_fields__)).where(_is_one_of_these)


@cache
def by_ids_locked() -> Selection:
    """Locks the models, in the order of their ids, until the commit. Parameter: ``model_ids``."""
    return by_ids().order_by(model.c.model_id).with_for_update()


@cache
def known_ids() -> Selection:
    """Which of these ids are stored. Parameter: ``model_ids``."""
    return select(model.c.model_id).where(_is_one_of_these)


def everything() -> Selection:
    """All models, in the order of their creation."""
    return select(*(model.c[name] for name in Model.__struct_fields__)).order_by(model.c.created_at, model.c.model_id)


@cache
def save() -> Insert:
    """Writes the new states of models. Parameter: ``packed(list[StoredModel])``."""
    statement = insert_rows(model, *_COLUMNS)
    replaced = {name: statement.excluded[name] for name in _COLUMNS if name != "model_id"}
    return statement.on_conflict_do_update(index_elements=[model.c.model_id], set_=replaced)


def from_row(row: AnyRow) -> Model:
    return Model(**fields_of(row))


def at_revision(state: Model, revision: int) -> StoredModel:
    return StoredModel(**msgspec.structs.asdict(state), revision=revision)
