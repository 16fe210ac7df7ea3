"""Who may do what: one table and one function, used when accepting and again when applying."""

from typing import Literal

import msgspec

from shared.domain.problems import NotPermitted

Role = Literal["proxy_admin", "proxy_admin_viewer", "internal_user", "internal_user_viewer"]
Relation = Literal["own", "other"]

MASTER_USER_ID = "default_user_id"
MASTER_KEY_ID = "litellm_proxy_master_key"


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks. ``key_id`` names the virtual key without being usable as one."""

    user_id: str
    role: Role
    key_id: str


# Who acts where nobody asked: what the system does by itself is accepted, ordered and audited like everything else.
SYSTEM = Principal(user_id="pointsman", role="proxy_admin", key_id="pointsman")
MASTER = Principal(user_id=MASTER_USER_ID, role="proxy_admin", key_id=MASTER_KEY_ID)

_EVERY_RELATION: frozenset[Relation] = frozenset(("own", "other"))

# operation -> role -> the relations to the object for which it is allowed; what is not listed is refused.
RIGHTS: dict[str, dict[Role, frozenset[Relation]]] = {
    "model.create": {"proxy_admin": _EVERY_RELATION},
    "model.update": {"proxy_admin": _EVERY_RELATION},
    "model.delete": {"proxy_admin": _EVERY_RELATION},
    "model.block": {"proxy_admin": _EVERY_RELATION},
    "model.unblock": {"proxy_admin": _EVERY_RELATION},
    "model.rollback": {"proxy_admin": _EVERY_RELATION},
    "model.read": {"proxy_admin": _EVERY_RELATION, "proxy_admin_viewer": _EVERY_RELATION},
    "credential.create": {"proxy_admin": _EVERY_RELATION},
    "credential.update": {"proxy_admin": _EVERY_RELATION},
    "credential.delete": {"proxy_admin": _EVERY_RELATION},
    "credential.read": {"proxy_admin": _EVERY_RELATION, "proxy_admin_viewer": _EVERY_RELATION},
    "task.read": {
        "proxy_admin": _EVERY_RELATION,
        "proxy_admin_viewer": _EVERY_RELATION,
        "internal_user": frozenset(("own",)),
        "internal_user_viewer": frozenset(("own",)),
    },
    "encryption.rotate": {"proxy_admin": _EVERY_RELATION},
    "task.cancel": {
        "proxy_admin": _EVERY_RELATION,
        "internal_user": frozenset(("own",)),
    },
    "task.retry": {
        "proxy_admin": _EVERY_RELATION,
        "internal_user": frozenset(("own",)),
    },
    "audit.read": {"proxy_admin": _EVERY_RELATION, "proxy_admin_viewer": _EVERY_RELATION},
    "webhook.create": {"proxy_admin": _EVERY_RELATION},
    "webhook.update": {"proxy_admin": _EVERY_RELATION},
    "webhook.delete": {"proxy_admin": _EVERY_RELATION},
    "webhook.rotate_secret": {"proxy_admin": _EVERY_RELATION},
    "webhook.enable": {"proxy_admin": _EVERY_RELATION},
    "webhook.disable": {"proxy_admin": _EVERY_RELATION},
    "webhook.test": {"proxy_admin": _EVERY_RELATION},
    "webhook.replay": {"proxy_admin": _EVERY_RELATION},
    "webhook.read": {"proxy_admin": _EVERY_RELATION, "proxy_admin_viewer": _EVERY_RELATION},
    # What receivers answered may say more than a viewer should see.
    "delivery.read": {"proxy_admin": _EVERY_RELATION, "proxy_admin_viewer": frozenset(("own",))},
    "webhook_secret.read": {
        "proxy_admin": frozenset(("own",)),
        "internal_user": frozenset(("own",)),
    },
}


def is_allowed(principal: Principal, operation: str, relation: Relation = "other") -> bool:
    return relation in RIGHTS[operation].get(principal.role, frozenset())


def authorise(principal: Principal, operation: str, relation: Relation = "other") -> None:
    """Raises NotPermitted unless the table allows it."""
    if not is_allowed(principal, operation, relation):
        raise NotPermitted(role=principal.role, operation=operation)
