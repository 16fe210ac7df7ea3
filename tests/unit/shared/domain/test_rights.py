from typing import get_args

import pytest

from shared.domain.problems import NotPermitted
from shared.domain.rights import MASTER, RIGHTS, Principal, Relation, Role, authorise, is_allowed

ROLES: tuple[Role, ...] = get_args(Role)
RELATIONS: tuple[Relation, ...] = get_args(Relation)


def a_principal(role: Role) -> Principal:
    return Principal(user_id="u-1", role=role, key_id="k-1")


ALLOWED = {
    **{
        f"model.{verb}": {("proxy_admin", "own"), ("proxy_admin", "other")}
        for verb in ("create", "update", "delete", "block", "unblock", "rollback")
    },
    **{
        f"credential.{verb}": {("proxy_admin", "own"), ("proxy_admin", "other")}
        for verb in ("create", "update", "delete")
    },
    **{
        f"task.{verb}": {("proxy_admin", "own"), ("proxy_admin", "other"), ("internal_user", "own")}
        for verb in ("cancel", "retry")
    },
    "encryption.rotate": {("proxy_admin", "own"), ("proxy_admin", "other")},
    **{
        f"webhook.{verb}": {("proxy_admin", "own"), ("proxy_admin", "other")}
        for verb in ("create", "update", "delete", "rotate_secret", "enable", "disable", "test", "replay")
    },
    "webhook.read": {(role, relation) for role in ("proxy_admin", "proxy_admin_viewer") for relation in RELATIONS},
    "delivery.read": {("proxy_admin", "own"), ("proxy_admin", "other"), ("proxy_admin_viewer", "own")},
    "credential.read": {(role, relation) for role in ("proxy_admin", "proxy_admin_viewer") for relation in RELATIONS},
    "model.read": {(role, relation) for role in ("proxy_admin", "proxy_admin_viewer") for relation in RELATIONS},
    "audit.read": {(role, relation) for role in ("proxy_admin", "proxy_admin_viewer") for relation in RELATIONS},
    "task.read": {
        *((role, relation) for role in ("proxy_admin", "proxy_admin_viewer") for relation in RELATIONS),
        ("internal_user", "own"),
        ("internal_user_viewer", "own"),
    },
    "webhook_secret.read": {("proxy_admin", "own"), ("internal_user", "own")},
}


def test_the_table_allows_this_and_nothing_else() -> None:
    table = {
        operation: {(role, rel) for role in ROLES for rel in RELATIONS if is_allowed(a_principal(role), operation, rel)}
        for operation in RIGHTS
    }
    assert table == ALLOWED


@pytest.mark.parametrize("role", [role for role in ROLES if role.endswith("viewer")])
def test_who_may_only_look_changes_nothing(role: Role) -> None:
    assert not [operation for operation in RIGHTS if not operation.endswith(".read") and RIGHTS[operation].get(role)]


def test_a_refusal_names_role_and_operation() -> None:
    with pytest.raises(NotPermitted, match=r"permission for model\.create\. Your role=internal_user\."):
        authorise(a_principal("internal_user"), "model.create")


def test_the_master_key_may_do_everything_of_its_own() -> None:
    for operation in RIGHTS:
        authorise(MASTER, operation, "own")


def test_an_operation_without_a_row_is_a_bug_and_no_permission() -> None:
    with pytest.raises(KeyError):
        authorise(MASTER, "model.unheard_of")
