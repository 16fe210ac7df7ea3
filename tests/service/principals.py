"""One of each kind of those who ask, for tests that try the same as everybody."""

from sqlalchemy import Engine

from shared.domain.rights import Role
from tests.conftest import MASTER_KEY
from tests.service.building import store_key, store_team, store_user

TEAM = "a-team"


def store_principals(engine: Engine) -> dict[str, str]:
    """Their keys, by what they are: one more kind is one more line."""
    return {
        "the master key": MASTER_KEY,
        "a proxy admin": _key_of(engine, "adam", "proxy_admin"),
        "a viewer": _key_of(engine, "vera", "proxy_admin_viewer"),
        "a user": _key_of(engine, "uma", "internal_user"),
        "a user who only looks": _key_of(engine, "ivy", "internal_user_viewer"),
        **_of_team(engine),
    }


def _of_team(engine: Engine) -> dict[str, str]:
    store_team(engine, TEAM, admins=["ann"], users=["mia"])
    store_key(engine, of_team := "sk-of-the-team-0123456789", team_id=TEAM)
    return {
        "a team's admin": _key_of(engine, "ann", "internal_user"),
        "a team's member": _key_of(engine, "mia", "internal_user"),
        "a team's key": of_team,
    }


def _key_of(engine: Engine, user_id: str, role: Role) -> str:
    key = f"sk-of-{user_id}-0123456789"
    store_user(engine, user_id, role)
    store_key(engine, key, user_id)
    return key
