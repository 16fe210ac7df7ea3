"""THE table of the tests that break things: a request for every operation, about an object that the test names.

A new operation is one line of ``CHANGES``; an object of a new type is one more of ``VERSIONS``.
"""

from typing import Any

import msgspec


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """A request about one object."""

    method: str
    path: str
    body: Any


class Change(msgspec.Struct, frozen=True):
    """An operation as a request; ``{id}``, ``{value}`` and ``{secret}`` in it are the test's to fill.

    ``after`` names the operations that must have been carried out on the object for this one to change anything;
    ``leaves`` is the object's version when both have been, ``None`` if there is no object then.
    """

    method: str
    path: str
    body: Any = None
    after: tuple[str, ...] = ()
    leaves: int | None = None

    def about(self, object_id: str, value: str, secret: str = "sk-secret") -> Asking:
        filled = {"{id}": object_id, "{value}": value, "{secret}": secret}
        return Asking(method=self.method, path=_filled(self.path, filled), body=_filled(self.body, filled))


_MODEL = {
    "model_name": "{value}",
    "litellm_params": {"model": "openai/gpt-4o", "api_key": "{secret}"},
    "model_info": {"id": "{id}"},
}
_CREDENTIAL = {"credential_name": "{id}", "credential_values": {"api_key": "{secret}"}}
_NEW_MODEL = ("model.create",)
_NEW_CREDENTIAL = ("credential.create",)

CHANGES = {
    "model.create": Change("POST", "/model/new", _MODEL, leaves=1),
    "model.update": Change("PATCH", "/model/{id}/update", {"model_name": "new {value}"}, _NEW_MODEL, 2),
    "model.block": Change("POST", "/model/block", {"model_id": "{id}"}, _NEW_MODEL, 2),
    "model.unblock": Change("POST", "/model/unblock", {"model_id": "{id}"}, (*_NEW_MODEL, "model.block"), 3),
    "model.rollback": Change("POST", "/model/{id}/rollback", {"version": 1}, (*_NEW_MODEL, "model.update"), 3),
    "model.delete": Change("POST", "/model/delete", {"id": "{id}"}, _NEW_MODEL),
    "credential.create": Change("POST", "/credentials", _CREDENTIAL, leaves=1),
    "credential.update": Change(
        "PATCH", "/credentials/{id}", {"credential_info": {"a": "{value}"}}, _NEW_CREDENTIAL, 2
    ),
    "encryption.rotate": Change("POST", "/encryption/rotate"),
    "credential.delete": Change("DELETE", "/credentials/{id}", None, _NEW_CREDENTIAL),
}

VERSIONS: dict[str, str | None] = {
    "model": "SELECT version FROM model WHERE model_id = %s",
    "credential": "SELECT version FROM credential WHERE credential_name = %s",
    "encryption": None,
}
"""By object type: how often the object with this id has been changed; no row if there is none, ``None`` if never."""


def _filled(given: Any, values: dict[str, str]) -> Any:
    if isinstance(given, dict):
        return {name: _filled(value, values) for name, value in given.items()}
    if isinstance(given, str):
        for name, value in values.items():
            given = given.replace(name, value)
    return given
