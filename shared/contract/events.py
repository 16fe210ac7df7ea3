"""The events of webhooks, Slack and streams. A type never changes its meaning; fields are only ever added."""

from typing import Final

import msgspec


class EventKind(msgspec.Struct, frozen=True):
    """What happened, and the fields of ``data``; those ending in ``?`` are not always there."""

    summary: str
    fields: tuple[str, ...]


_MODEL: Final = ("model_id", "model_name", "version", "task_id", "changed_by", "team_id?")
_CREDENTIAL: Final = ("credential_name", "version", "task_id", "changed_by")
_TEAM: Final = ("team_id", "team_alias", "version", "task_id", "changed_by")
_MEMBER: Final = (*_TEAM, "user_ids")
_KEY: Final = ("token", "key_name", "version", "task_id", "changed_by", "key_alias?", "user_id?", "team_id?")
_USER: Final = ("user_id", "role", "version", "task_id", "changed_by")
_TASK: Final = ("task_id", "operation", "status", "object_type", "object_id", "problem?", "team_id?")
_WEBHOOK: Final = ("endpoint_id", "version", "task_id", "changed_by", "description?", "reason?", "team_id?")

EVENTS: Final[dict[str, EventKind]] = {
    "model.created": EventKind("A deployment was added.", _MODEL),
    "model.updated": EventKind("A deployment was changed, or rolled back to an earlier version.", _MODEL),
    "model.deleted": EventKind("A deployment was removed.", _MODEL),
    "model.blocked": EventKind("A deployment was taken out of use.", _MODEL),
    "model.unblocked": EventKind("A deployment was put back to use.", _MODEL),
    "credential.created": EventKind("A credential was added.", _CREDENTIAL),
    "credential.updated": EventKind("A credential was changed.", _CREDENTIAL),
    "credential.deleted": EventKind("A credential was removed.", _CREDENTIAL),
    "team.created": EventKind("A team was made.", _TEAM),
    "team.updated": EventKind("A team, or its list of models, was changed.", _TEAM),
    "team.deleted": EventKind("A team was removed, with its models and keys.", _TEAM),
    "team.blocked": EventKind("A team was blocked, and its keys with it.", _TEAM),
    "team.unblocked": EventKind("A team was unblocked.", _TEAM),
    "team.member_added": EventKind("Somebody joined a team.", _MEMBER),
    "team.member_updated": EventKind("A member of a team was given another role, or other limits.", _MEMBER),
    "team.member_deleted": EventKind("Somebody left a team.", _MEMBER),
    "key.created": EventKind("A virtual key was made; `token` is its hash.", _KEY),
    "key.updated": EventKind("A virtual key was changed.", _KEY),
    "key.regenerated": EventKind("A virtual key was replaced by another; `token` is the new one's hash.", _KEY),
    "key.blocked": EventKind("A virtual key was blocked.", _KEY),
    "key.unblocked": EventKind("A virtual key was unblocked.", _KEY),
    "key.deleted": EventKind("A virtual key was removed.", _KEY),
    "user.created": EventKind("A user was added.", _USER),
    "user.updated": EventKind("A user was changed.", _USER),
    "user.deleted": EventKind("A user was removed, with the user's keys.", _USER),
    "task.succeeded": EventKind("A task ended with its effect.", _TASK),
    "task.failed": EventKind("A task ended without effect; `problem` says why.", _TASK),
    "task.cancelled": EventKind("A task was called off before it had any effect.", _TASK),
    "task.poisoned": EventKind(
        "A task broke off at every attempt and was given up.", ("task_id", "operation", "object_id")
    ),
    "webhook.created": EventKind("An endpoint was registered.", _WEBHOOK),
    "webhook.updated": EventKind("An endpoint was changed, or its secret rotated.", _WEBHOOK),
    "webhook.deleted": EventKind("An endpoint was removed.", _WEBHOOK),
    "webhook.enabled": EventKind("An endpoint was switched on.", _WEBHOOK),
    "webhook.disabled": EventKind("An endpoint was switched off; `reason` is asked, gone or failing.", _WEBHOOK),
    "webhook.test": EventKind("Somebody asked for a test. Comes to one endpoint only.", _WEBHOOK),
    "secret.unreadable": EventKind("A stored secret does not open.", ("object_type", "object_id", "field", "key_id")),
}

FAMILIES: Final = frozenset(name.partition(".")[0] for name in EVENTS)


def is_pattern(text: str) -> bool:
    """Whether it is a known type, ``family.*`` of a known family, or ``*``."""
    family, _, verb = text.partition(".")
    return text in EVENTS or text == "*" or (verb == "*" and family in FAMILIES)


def patterns_of(event_type: str) -> tuple[str, str, str]:
    """Everything by which somebody may listen to this type."""
    return (event_type, event_type.partition(".")[0] + ".*", "*")
