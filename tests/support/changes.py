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
# Nobody is there: what is sent to it is not what these tests are about.
_WEBHOOK = {"url": "http://127.0.0.1:1/", "event_types": ["webhook.*"], "description": "{value}"}
_NEW_WEBHOOK = ("webhook.create",)
_NEW_TEAM = ("team.create",)
_NEW_USER = ("user.create",)
_NEW_KEY = ("key.create",)

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
    "webhook.create": Change("POST", "/webhooks", _WEBHOOK, leaves=1),
    "webhook.update": Change("PATCH", "/webhooks/{id}", {"description": "new {value}"}, _NEW_WEBHOOK, 2),
    "webhook.rotate_secret": Change("POST", "/webhooks/{id}/rotate", None, _NEW_WEBHOOK, 2),
    "webhook.enable": Change("POST", "/webhooks/{id}/enable", None, (*_NEW_WEBHOOK, "webhook.disable"), 3),
    "webhook.disable": Change("POST", "/webhooks/{id}/disable", None, _NEW_WEBHOOK, 2),
    "webhook.test": Change("POST", "/webhooks/{id}/test", None, _NEW_WEBHOOK, 1),
    "webhook.replay": Change("POST", "/webhooks/{id}/replay", {"since": "2026-01-01T00:00:00Z"}, _NEW_WEBHOOK, 1),
    "webhook.delete": Change("DELETE", "/webhooks/{id}", None, _NEW_WEBHOOK),
    "team.create": Change("POST", "/team/new", {"team_id": "{id}", "team_alias": "{value}"}, leaves=1),
    "team.update": Change("POST", "/team/update", {"team_id": "{id}", "team_alias": "new {value}"}, _NEW_TEAM, 2),
    "team.block": Change("POST", "/team/block", {"team_id": "{id}"}, _NEW_TEAM, 2),
    "team.unblock": Change("POST", "/team/unblock", {"team_id": "{id}"}, (*_NEW_TEAM, "team.block"), 3),
    "team.member_add": Change(
        "POST", "/team/member_add", {"team_id": "{id}", "member": {"role": "user", "user_id": "ann"}}, _NEW_TEAM, 2
    ),
    "team.member_update": Change(
        "POST",
        "/team/member_update",
        {"team_id": "{id}", "user_id": "ann", "role": "admin"},
        (*_NEW_TEAM, "team.member_add"),
        3,
    ),
    "team.member_delete": Change(
        "POST", "/team/member_delete", {"team_id": "{id}", "user_id": "ann"}, (*_NEW_TEAM, "team.member_add"), 3
    ),
    "team.model_add": Change("POST", "/team/model/add", {"team_id": "{id}", "models": ["gpt"]}, _NEW_TEAM, 2),
    "team.model_delete": Change(
        "POST", "/team/model/delete", {"team_id": "{id}", "models": ["gpt"]}, (*_NEW_TEAM, "team.model_add"), 3
    ),
    "team.delete": Change("POST", "/team/delete", {"team_ids": ["{id}"]}, _NEW_TEAM),
    "user.create": Change(
        "POST", "/user/new", {"user_id": "{id}", "user_alias": "{value}", "auto_create_key": False}, leaves=1
    ),
    "user.update": Change("POST", "/user/update", {"user_id": "{id}", "user_alias": "new {value}"}, _NEW_USER, 2),
    "user.delete": Change("POST", "/user/delete", {"user_ids": ["{id}"]}, _NEW_USER),
    "key.create": Change("POST", "/key/generate", {"metadata": {"a": "{value}"}}, leaves=1),
    "key.update": Change("POST", "/key/update", {"key": "{id}", "metadata": {"a": "new {value}"}}, _NEW_KEY, 2),
    "key.block": Change("POST", "/key/block", {"key": "{id}"}, _NEW_KEY, 2),
    "key.unblock": Change("POST", "/key/unblock", {"key": "{id}"}, (*_NEW_KEY, "key.block"), 3),
    # It is another key's row afterwards.
    "key.regenerate": Change("POST", "/key/regenerate", {"key": "{id}"}, _NEW_KEY),
    "key.delete": Change("POST", "/key/delete", {"keys": ["{id}"]}, _NEW_KEY),
}

VERSIONS: dict[str, str | None] = {
    "model": "SELECT version FROM model WHERE model_id = %s",
    "credential": "SELECT version FROM credential WHERE credential_name = %s",
    "webhook": "SELECT version FROM webhook_endpoint WHERE webhook_id = %s",
    "team": "SELECT version FROM team WHERE team_id = %s",
    "user": 'SELECT version FROM "user" WHERE user_id = %s',
    "key": "SELECT version FROM api_key WHERE token = %s",
    "encryption": None,
}
"""By object type: how often the object with this id has been changed; no row if there is none, ``None`` if never."""


def _filled(given: Any, values: dict[str, str]) -> Any:
    if isinstance(given, dict):
        return {name: _filled(value, values) for name, value in given.items()}
    if isinstance(given, list):
        return [_filled(value, values) for value in given]
    if isinstance(given, str):
        for name, value in values.items():
            given = given.replace(name, value)
    return given
