"""Credentials as LiteLLM's clients write and read them (contract 1.9)."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from shared.contract.decoding import decode, unstorable
from shared.contract.parameters import masked_values
from shared.domain.credentials import CreateCredential, Credential, UpdateCredential
from shared.domain.problems import FieldError, InvalidRequest

Document = dict[str, Any]
Name = Annotated[str, Meta(min_length=1, max_length=255)]

HIDDEN = "****"
# Which parameters of a model make a credential (``POST /credentials`` with ``model_id``).
FROM_MODEL = frozenset(
    (
        "api_key",
        "api_base",
        "api_version",
        "aws_access_key_id",
        "aws_secret_access_key",
        "aws_region_name",
        "region_name",
        "vertex_credentials",
        "vertex_location",
        "vertex_project",
        "watsonx_region_name",
    )
)


class NewCredential(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /credentials``: with values of its own, or with those of a stored model."""

    credential_name: Name
    credential_info: Document = {}
    credential_values: Document | None = None
    model_id: str | None = None
    display_name: str | None = None


class CredentialChange(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``PATCH /credentials/{credential_name}``: values and info are merged; ``null`` removes a value."""

    credential_info: Document = {}
    credential_values: Document = {}
    credential_values_to_delete: tuple[str, ...] = ()
    display_name: str | None = None


class CredentialView(msgspec.Struct, frozen=True, kw_only=True):
    """A credential as a read shows it: every text among its values is hidden."""

    credential_name: str
    display_name: str | None
    credential_info: Document
    credential_values: Document
    source: str = "db"


class CredentialList(msgspec.Struct, frozen=True, kw_only=True):
    credentials: list[CredentialView]
    success: bool = True


_new = msgspec.json.Decoder(NewCredential)
_change = msgspec.json.Decoder(CredentialChange)


def decode_new(body: bytes) -> NewCredential:
    """Raises InvalidRequest."""
    request = decode(_new, body)
    errors = _unusable(request.credential_values or {}, (request.credential_info, request.display_name))
    errors.extend(unstorable(request.credential_name, "credential_name"))
    if "/" in request.credential_name:
        errors.append(FieldError("credential_name", "must not contain a slash"))
    if (request.credential_values is None) == (request.model_id is None):
        errors.append(FieldError("credential_values", "give either credential_values or model_id"))
    if errors:
        raise InvalidRequest(*errors)
    return request


def decode_change(body: bytes) -> CredentialChange:
    """Raises InvalidRequest."""
    request = decode(_change, body)
    errors = _unusable(request.credential_values, (request.credential_info, request.display_name))
    if errors:
        raise InvalidRequest(*errors)
    return request


def to_create(request: NewCredential, values: Document) -> CreateCredential:
    return CreateCredential(
        credential_name=request.credential_name,
        display_name=request.display_name,
        credential_values=values,
        credential_info=request.credential_info,
    )


def to_update(request: CredentialChange, name: str) -> UpdateCredential:
    given = request.credential_values
    return UpdateCredential(
        credential_name=name,
        display_name=request.display_name,
        set_values={key: value for key, value in given.items() if value is not None},
        remove_values=(
            *request.credential_values_to_delete,
            *(key for key, value in given.items() if value is None),
        ),
        set_info=request.credential_info,
    )


def view(credential: Credential) -> CredentialView:
    """Hides the values, sealed or opened."""
    return CredentialView(
        credential_name=credential.credential_name,
        display_name=credential.display_name,
        credential_info=credential.credential_info,
        credential_values={name: _hidden(value) for name, value in credential.credential_values.items()},
    )


def answer(document: Mapping[str, Any]) -> Document:
    """What a write answers."""
    return {"success": True, "message": document["message"], "credential_name": document["credential_name"]}


def _hidden(value: Any) -> Any:
    if isinstance(value, str | list | dict):
        return HIDDEN
    return value


def _unusable(values: Document, other: object) -> list[FieldError]:
    errors = list(unstorable(values, "credential_values"))
    errors.extend(unstorable(other, "credential_info"))
    errors.extend(masked_values(values, "credential_values"))
    return errors
