"""Who may do what: one table and one function, used when accepting and again when applying."""

from typing import Literal

import msgspec

from shared.domain.problems import NotPermitted

Role = Literal["proxy_admin", "proxy_admin_viewer", "internal_user", "internal_user_viewer"]
Relation = Literal["own", "team_admin", "team_member", "open", "other"]
"""What an object is to a principal; ``open`` belongs to no team and nobody."""

MASTER_USER_ID = "default_user_id"
MASTER_KEY_ID = "litellm_proxy_master_key"
USERLESS_PREFIX = "key:"
"""With it begin the user ids of keys that belong to no user; no user may be called so, nor like the master."""


class Principal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who asks. ``key_id`` names the virtual key without being usable as one.

    The teams are what was true when the principal was loaded. A task row says who asked; what that principal may do
    when the task is applied is loaded anew.
    """

    user_id: str
    role: Role
    key_id: str
    team_id: str | None = None
    """The team of the key: it acts in that team only."""
    admin_of: frozenset[str] = frozenset()
    member_of: frozenset[str] = frozenset()
    allowed_routes: tuple[str, ...] = ()
    """Those of the key, as its models: empty means all."""
    models: tuple[str, ...] = ()

    @property
    def is_user(self) -> bool:
        """False for the key of a team, or of nobody."""
        return not self.user_id.startswith(USERLESS_PREFIX)

    def is_in(self, team_id: str) -> bool:
        return team_id in self.member_of or team_id in self.admin_of or team_id == self.team_id

    def identity(self) -> "Principal":
        """What a task row keeps: nothing that can be lost."""
        return Principal(user_id=self.user_id, role=self.role, key_id=self.key_id)


# Who acts where nobody asked: what the system does by itself is accepted, ordered and audited like everything else.
SYSTEM = Principal(user_id="pointsman", role="proxy_admin", key_id="pointsman")
MASTER = Principal(user_id=MASTER_USER_ID, role="proxy_admin", key_id=MASTER_KEY_ID)

BUILT_IN_KEY_IDS = frozenset((MASTER_KEY_ID, SYSTEM.key_id))
"""Keys without a row, which nobody can take rights from."""


class Ownership(msgspec.Struct, frozen=True, kw_only=True):
    """To whom an object belongs: a team, a user, a user within a team, or nobody."""

    team_id: str | None = None
    user_id: str | None = None


OPEN = Ownership()

_Rights = dict[Role, frozenset[Relation]]

EVERY_RELATION: frozenset[Relation] = frozenset(("own", "team_admin", "team_member", "open", "other"))


def _rights(*relations: Relation, for_viewers: bool = False, admins: frozenset[Relation] = EVERY_RELATION) -> _Rights:
    """Proxy admins may, and internal users where they stand in one of these relations to the object.

    ``for_viewers``: so may those who only look.
    """
    users: _Rights = {"internal_user": frozenset(relations)} if relations else {}
    if not for_viewers:
        return {"proxy_admin": admins, **users}
    viewers: _Rights = {"internal_user_viewer": frozenset(relations)} if relations else {}
    return {"proxy_admin": admins, "proxy_admin_viewer": admins, **users, **viewers}


# operation -> role -> the relations to the object for which it is allowed; what is not listed is refused.
RIGHTS: dict[str, _Rights] = {
    "model.create": _rights("team_admin"),
    "model.update": _rights("team_admin"),
    "model.delete": _rights("team_admin"),
    "model.block": _rights(),
    "model.unblock": _rights(),
    # It would bring back what a team admin may not set: another credential, an unblocked model.
    "model.rollback": _rights(),
    "model.read": _rights("team_admin", "team_member", "open", for_viewers=True),
    "credential.create": _rights(),
    "credential.update": _rights(),
    "credential.delete": _rights(),
    "credential.read": _rights(for_viewers=True),
    "team.create": _rights(),
    "team.update": _rights("team_admin"),
    "team.delete": _rights(),
    "team.block": _rights(),
    "team.unblock": _rights(),
    "team.member_add": _rights("team_admin"),
    "team.member_update": _rights("team_admin"),
    "team.member_delete": _rights("team_admin"),
    "team.model_add": _rights("team_admin"),
    "team.model_delete": _rights("team_admin"),
    "team.read": _rights("team_admin", "team_member", for_viewers=True),
    "user.create": _rights(),
    "user.update": _rights(),
    "user.delete": _rights(),
    "user.read": _rights("own", for_viewers=True),
    "key.create": _rights("own", "team_admin"),
    "key.update": _rights("own", "team_admin"),
    "key.delete": _rights("own", "team_admin"),
    "key.regenerate": _rights("own", "team_admin"),
    # Not for its owner, who would undo what was done against him.
    "key.block": _rights("team_admin"),
    "key.unblock": _rights("team_admin"),
    "key.read": _rights("own", "team_admin", for_viewers=True),
    "task.read": _rights("own", for_viewers=True),
    "task.cancel": _rights("own"),
    "task.retry": _rights("own"),
    "audit.read": _rights(for_viewers=True),
    "webhook.create": _rights("team_admin"),
    "webhook.update": _rights("team_admin"),
    "webhook.delete": _rights("team_admin"),
    "webhook.rotate_secret": _rights("team_admin"),
    "webhook.enable": _rights("team_admin"),
    "webhook.disable": _rights("team_admin"),
    "webhook.test": _rights("team_admin"),
    "webhook.replay": _rights("team_admin"),
    "webhook.read": _rights("team_admin", for_viewers=True),
    # What receivers answered may say more than a viewer should see.
    "delivery.read": _rights("team_admin"),
    "webhook_secret.read": _rights("own", admins=frozenset(("own",))),
    "encryption.rotate": _rights(),
}


def relations(principal: Principal, ownership: Ownership) -> frozenset[Relation]:
    """Never empty. Who has left a team has no part any more in what is the team's, be it in his name."""
    team_id, is_own = ownership.team_id, ownership.user_id == principal.user_id
    if team_id is None:
        if ownership.user_id is None:
            return frozenset(("open",))
        return frozenset(("own",)) if is_own else frozenset(("other",))
    if not principal.is_in(team_id):
        return frozenset(("other",))
    in_team: Relation = "team_admin" if team_id in principal.admin_of else "team_member"
    return frozenset((in_team, "own")) if is_own else frozenset((in_team,))


def is_allowed(principal: Principal, operation: str, ownership: Ownership) -> bool:
    allowed = RIGHTS[operation].get(principal.role, frozenset[Relation]())
    return allowed == EVERY_RELATION or not allowed.isdisjoint(relations(principal, ownership))


def may_ever(principal: Principal, operation: str) -> bool:
    """Whether there could be an object on which the role allows it."""
    return bool(RIGHTS[operation].get(principal.role))


def authorise(principal: Principal, operation: str, *ownerships: Ownership) -> None:
    """Raises NotPermitted unless the table allows it for each of these; without any, unless it ever does."""
    if not may_ever(principal, operation) or not all(is_allowed(principal, operation, one) for one in ownerships):
        raise NotPermitted(role=principal.role, operation=operation)


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """Which objects a list shows to a principal: all, or those of these teams, of this user, and of nobody."""

    is_all: bool = False
    team_ids: frozenset[str] = frozenset()
    user_id: str | None = None
    """Those of this user that belong to no team, or to one that the user is ``within``."""
    within: frozenset[str] = frozenset()
    is_open: bool = False


def scope(principal: Principal, operation: str) -> Scope:
    """The same judgement as ``is_allowed``, for statements that select many. Raises NotPermitted."""
    authorise(principal, operation)
    allowed = RIGHTS[operation][principal.role]
    if allowed == EVERY_RELATION:
        return Scope(is_all=True)
    of_key = frozenset[str]() if principal.team_id is None else frozenset((principal.team_id,))
    teams = principal.member_of | principal.admin_of | of_key
    as_admin = principal.admin_of if "team_admin" in allowed else frozenset[str]()
    as_member = teams - principal.admin_of if "team_member" in allowed else frozenset[str]()
    return Scope(
        team_ids=as_admin | as_member,
        user_id=principal.user_id if "own" in allowed else None,
        within=teams,
        is_open="open" in allowed,
    )
