"""What is said twice is said alike: errors, operations, dependencies."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.routes import HTTPRoute

from api.app import create_app
from shared.contract.errors import CATALOGUE, body
from shared.domain import problems
from shared.domain.problems import Problem, Refusal
from shared.domain.rights import RIGHTS
from shared.domain.tasks import ENDED, OPEN, TRANSITIONS
from shared.operations import OPERATIONS
from shared.runtime.settings import load
from tests.conftest import ENCRYPTION_KEYS, MASTER_KEY

ROOT = Path(__file__).parents[2]
SAID_BY_THE_FRAMEWORK = {
    "not_found",
    "method_not_allowed",
    "unsupported_media_type",
    "body_too_large",
    "too_many_requests",
}
SAID_OF_BUGS = {"internal_error"}
ACTIONS = {
    "model.create": "created",
    "model.update": "updated",
    "model.delete": "deleted",
    "model.block": "blocked",
    "model.unblock": "unblocked",
    "model.rollback": "rolled_back",
    "credential.create": "created",
    "credential.update": "updated",
    "credential.delete": "deleted",
    "encryption.rotate": "rotated",
    "webhook.create": "created",
    "webhook.update": "updated",
    "webhook.delete": "deleted",
    "webhook.rotate_secret": "secret_rotated",
    "webhook.enable": "enabled",
    "webhook.disable": "disabled",
    "webhook.test": "tested",
    "webhook.replay": "replayed",
    "team.create": "created",
    "team.update": "updated",
    "team.delete": "deleted",
    "team.block": "blocked",
    "team.unblock": "unblocked",
    "team.member_add": "updated",
    "team.member_update": "updated",
    "team.member_delete": "updated",
    "team.model_add": "updated",
    "team.model_delete": "updated",
    "key.create": "created",
    "key.update": "updated",
    "key.regenerate": "rotated",
    "key.block": "blocked",
    "key.unblock": "unblocked",
    "key.delete": "deleted",
    "user.create": "created",
    "user.update": "updated",
    "user.delete": "deleted",
}
"""What the audit log says of each operation that succeeded."""
ROUTES = {
    "model.create": ("POST", "/model/new"),
    "model.update": ("POST", "/model/update"),
    "model.delete": ("POST", "/model/delete"),
    "model.block": ("POST", "/model/block"),
    "model.unblock": ("POST", "/model/unblock"),
    "model.rollback": ("POST", "/model/{model_id:str}/rollback"),
    "credential.create": ("POST", "/credentials"),
    "credential.update": ("PATCH", "/credentials/{credential_name:str}"),
    "credential.delete": ("DELETE", "/credentials/{credential_name:str}"),
    "encryption.rotate": ("POST", "/encryption/rotate"),
    "webhook.create": ("POST", "/webhooks"),
    "webhook.update": ("PATCH", "/webhooks/{webhook_id:str}"),
    "webhook.delete": ("DELETE", "/webhooks/{webhook_id:str}"),
    "webhook.rotate_secret": ("POST", "/webhooks/{webhook_id:str}/rotate"),
    "webhook.enable": ("POST", "/webhooks/{webhook_id:str}/enable"),
    "webhook.disable": ("POST", "/webhooks/{webhook_id:str}/disable"),
    "webhook.test": ("POST", "/webhooks/{webhook_id:str}/test"),
    "webhook.replay": ("POST", "/webhooks/{webhook_id:str}/replay"),
    "team.create": ("POST", "/team/new"),
    "team.update": ("POST", "/team/update"),
    "team.delete": ("POST", "/team/delete"),
    "team.block": ("POST", "/team/block"),
    "team.unblock": ("POST", "/team/unblock"),
    "team.member_add": ("POST", "/team/member_add"),
    "team.member_update": ("POST", "/team/member_update"),
    "team.member_delete": ("POST", "/team/member_delete"),
    "team.model_add": ("POST", "/team/model/add"),
    "team.model_delete": ("POST", "/team/model/delete"),
    "key.create": ("POST", "/key/generate"),
    "key.update": ("POST", "/key/update"),
    "key.regenerate": ("POST", "/key/regenerate"),
    "key.block": ("POST", "/key/block"),
    "key.unblock": ("POST", "/key/unblock"),
    "key.delete": ("POST", "/key/delete"),
    "user.create": ("POST", "/user/new"),
    "user.update": ("POST", "/user/update"),
    "user.delete": ("POST", "/user/delete"),
}
OTHER_ROUTES = {
    ("POST", "/key/service-account/generate"),
    ("POST", "/key/{key:str}/regenerate"),
    ("PATCH", "/model/{model_id:str}/update"),
    ("POST", "/team/bulk_member_add"),
    ("POST", "/team/permissions_update"),
    ("POST", "/tasks/{task_id:str}/cancel"),
    ("POST", "/tasks/{task_id:str}/retry"),
    ("POST", "/tasks/cancel"),
    ("POST", "/tasks/retry"),
}
"""A second way to an operation, or one that concerns its task."""


def refusals() -> list[type[Refusal]]:
    classes = [item for _, item in inspect.getmembers(problems, inspect.isclass)]
    return [item for item in classes if issubclass(item, Refusal) and item is not Refusal]


@pytest.fixture(scope="module")
def app() -> Litestar:
    """Made without connecting to anything."""
    return create_app(
        load(
            {
                "POINTSMAN_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
                "POINTSMAN_REDIS_URL": "redis://127.0.0.1:1/0",
                "POINTSMAN_MASTER_KEY": MASTER_KEY,
                "POINTSMAN_ENCRYPTION_KEYS": ENCRYPTION_KEYS,
            }
        )
    )


def test_every_refusal_is_in_the_catalogue_and_nothing_else() -> None:
    codes = {refusal.code for refusal in refusals()}
    assert set(CATALOGUE) == codes | SAID_BY_THE_FRAMEWORK | SAID_OF_BUGS


def test_no_two_refusals_share_a_code() -> None:
    codes = [refusal.code for refusal in refusals()]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("code", sorted(CATALOGUE))
def test_every_problem_says_what_to_do(code: str) -> None:
    kind = CATALOGUE[code]
    assert 400 <= kind.status < 600
    assert kind.title
    assert kind.help.endswith(".")
    shown = body(Problem(code=code, message="said"))
    assert (shown["status"], shown["error"]["code"], shown["detail"]) == (kind.status, str(kind.status), "said")


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_every_operation_has_rights_a_route_and_an_audit_action(app: Litestar, operation: str) -> None:
    assert RIGHTS[operation].get("proxy_admin"), "an admin may do everything"
    method, path = ROUTES[operation]
    assert method in next(route for route in app.routes if route.path == path).methods
    assert operation in ACTIONS
    assert OPERATIONS[operation].object_type == operation.partition(".")[0]


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_every_command_is_tagged_with_its_operation_and_a_schema(operation: str) -> None:
    command: Any = OPERATIONS[operation].command
    assert command.__struct_config__.tag == operation
    assert command.__struct_config__.frozen
    assert "schema" in command.__struct_fields__


def test_every_write_among_the_routes_is_an_operation(app: Litestar) -> None:
    writes = {(method, route.path) for route in app.routes for method in route.methods - {"GET", "HEAD", "OPTIONS"}}
    assert writes == {*ROUTES.values(), *OTHER_ROUTES}


def test_every_write_says_which_operation_it_asks_for(app: Litestar) -> None:
    """By which the audit log names it, should it be refused before it was understood."""
    said = {
        (method, route.path): handler.opt.get("operation")
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        for method in handler.http_methods
        if method not in ("GET", "HEAD", "OPTIONS")
    }
    assert set(said.values()) <= RIGHTS.keys()
    assert {said[where]: where for where in ROUTES.values()} == ROUTES


def test_every_route_is_described(app: Litestar) -> None:
    document = app.openapi_schema.to_schema()
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert operation.get("summary"), (method, path)


def test_an_end_is_an_end() -> None:
    assert set(TRANSITIONS) == {*OPEN, *ENDED}
    assert all(not TRANSITIONS[status] for status in ENDED)
    assert all(set(ENDED) <= TRANSITIONS[status] for status in OPEN)


def test_the_lock_file_names_no_registry() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert not re.findall(r"https?://|--index|--extra-index|--find-links|\S+ @ \S+", lock)


def test_the_lock_file_has_a_hash_for_every_version() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in lock.splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) > 30
    assert [line for line in lines if "==" not in line or "--hash=sha256:" not in line] == []


def test_celery_is_locked_at_a_version_that_was_measured() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert re.findall(r"^celery(?:\[\w+\])?==(\d+\.\d+)\.", lock, re.MULTILINE) == ["5.7"]
    assert re.findall(r"^kombu(?:\[\w+\])?==(\d+\.\d+)\.", lock, re.MULTILINE) == ["5.7"]
