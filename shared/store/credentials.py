"""Statements on credentials."""

import msgspec
from sqlalchemy import ARRAY, ColumnElement, Delete, Text, bindparam, delete, func, select
from sqlalchemy.dialects.postgresql import Insert

from shared.domain.credentials import Credential
from shared.store.rows import AnyRow, Selection, fields_of, insert_rows
from shared.store.tables import credential, model

_FIELDS = Credential.__struct_fields__
_COLUMNS = (*_FIELDS, "revision")


class StoredCredential(Credential, frozen=True, kw_only=True):
    revision: int


def everything() -> Selection:
    return select(*(credential.c[name] for name in _FIELDS)).order_by(credential.c.credential_name)


def by_names(names: list[str]) -> Selection:
    """Index: the primary key."""
    return select(*(credential.c[name] for name in _FIELDS)).where(_is_one_of(names))


def by_names_locked(names: list[str], *, to_change: bool) -> Selection:
    """Locks the credentials in the order of their names: against every other, or only against being changed."""
    return by_names(names).order_by(credential.c.credential_name).with_for_update(read=not to_change)


def known_names(names: list[str]) -> Selection:
    """Which of these are stored, and in which version."""
    return select(credential.c.credential_name, credential.c.version, credential.c.updated_at).where(_is_one_of(names))


def users(names: list[str]) -> Selection:
    """The models that use these credentials. Index: ix_model_credential_name."""
    return select(model.c.credential_name, model.c.model_id).where(model.c.credential_name.in_(names))


def save() -> Insert:
    """Parameter: ``packed(list[StoredCredential])``."""
    statement = insert_rows(credential, *_COLUMNS)
    replaced = {name: statement.excluded[name] for name in _COLUMNS if name != "credential_name"}
    return statement.on_conflict_do_update(index_elements=[credential.c.credential_name], set_=replaced)


def remove(names: list[str]) -> Delete:
    return delete(credential).where(_is_one_of(names))


def from_row(row: AnyRow) -> Credential:
    return Credential(**fields_of(row))


def at_revision(state: Credential, revision: int) -> StoredCredential:
    return StoredCredential(**msgspec.structs.asdict(state), revision=revision)


def _is_one_of(names: list[str]) -> ColumnElement[bool]:
    return credential.c.credential_name == func.any(bindparam("names", names, type_=ARRAY(Text)))
