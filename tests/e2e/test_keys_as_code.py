"""Keys and users as LiteLLM's own clients keep them: the requests of the Terraform providers, the operators and the
command line, and what each then reads of the answers (contract 7)."""

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.test_drop_in import Client, _ok
from tests.support.fleet import Fleet, running_fleet

pytestmark = [pytest.mark.xdist_group("keys as code"), pytest.mark.timeout(300)]

Json = dict[str, Any]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with running_fleet(tmp_path_factory, default_wait="10") as fleet:
        yield fleet


def token_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


# --- ncecere/litellm 2.0.1 (contract 7.3) ---


@pytest.fixture
def ncecere(fleet: Fleet) -> Client:
    return Client(
        fleet,
        x_api_key="{key}",
        Authorization="Bearer {key}",
        Content_Type="application/json",
        Accept="application/json",
        litellm_changed_by="terraform",
    )


def test_ncecere_keeps_a_key(ncecere: Client, fleet: Fleet) -> None:
    wanted = {
        "key_alias": "ncecere-key",
        "models": ["gpt-4o"],
        "max_budget": 12.5,
        "tpm_limit": 1000,
        "rpm_limit": 60,
        "budget_duration": "30d",
        "duration": "90d",
        "metadata": {"owner": "platform", "logging": [{"callback_name": "langfuse"}]},
        "tags": ["ci"],
        "guardrails": ["pii"],
        "model_rpm_limit": {"gpt-4o": 5},
        "aliases": {"mine": "gpt-4o"},
        "blocked": False,
    }
    key = fleet.watch_for(_ok(ncecere.post("/key/generate", wanted))["key"], "a drawn key")
    info = _ok(ncecere.get("/key/info", key=key))["info"]
    assert {name: info[name] for name in wanted} == wanted
    assert _ok(ncecere.get("/key/info", key=key))["info"] == info
    # It sends all of its configuration again, with the plain key.
    _ok(ncecere.post("/key/update", {**wanted, "key": key, "rpm_limit": 90}))
    assert _ok(ncecere.get("/key/info", key=key))["info"]["rpm_limit"] == 90
    _ok(ncecere.post("/key/block", {"key": key}))
    assert _ok(ncecere.get("/key/info", key=key))["info"]["blocked"]
    _ok(ncecere.post("/key/unblock", {"key": key}))
    assert not _ok(ncecere.get("/key/info", key=key))["info"]["blocked"]
    assert _ok(ncecere.post("/key/delete", {"keys": [key]}))["deleted_keys"] == [token_of(key)]
    gone = ncecere.get("/key/info", key=key)
    assert gone.status_code == 404
    assert "not found" in gone.text


def test_ncecere_keeps_a_key_of_a_service_account(ncecere: Client, fleet: Fleet) -> None:
    _ok(ncecere.post("/team/new", {"team_id": "ncecere-team", "team_alias": "ncecere"}))
    wanted = {
        "team_id": "ncecere-team",
        "models": ["all-team-models"],
        "metadata": {"service_account_id": "robot"},
        "key_alias": "robot",
    }
    key = fleet.watch_for(_ok(ncecere.post("/key/service-account/generate", wanted))["key"], "a service key")
    info = _ok(ncecere.get("/key/info", key=key))["info"]
    assert {name: info[name] for name in wanted} == wanted
    assert info["user_id"] is None


def test_ncecere_keeps_a_user(ncecere: Client, fleet: Fleet) -> None:
    wanted = {
        "user_id": "ncecere-user",
        "user_email": "ncecere@example.com",
        "user_alias": "Nick",
        "user_role": "internal_user",
        "models": ["no-default-models"],
        "max_budget": 5,
        "metadata": {"team": "platform"},
        "auto_create_key": True,
    }
    made = _ok(ncecere.post("/user/new", wanted))
    assert made["user_id"] == "ncecere-user"
    assert fleet.watch_for(made["key"], "the first key of a user").startswith("sk-")
    info = _ok(ncecere.get("/user/info", user_id="ncecere-user"))["user_info"]
    kept = ("user_id", "user_email", "user_alias", "user_role", "models", "max_budget", "metadata")
    assert {name: info[name] for name in kept} == {name: wanted[name] for name in kept}
    # Taken, so it adopts the user that it finds by the exact address.
    again = ncecere.post("/user/new", {**wanted, "user_alias": "another"})
    assert again.status_code == 409
    found = _ok(ncecere.get("/user/list", page=1, page_size=100, user_email="ncecere@example.com"))
    assert [user["user_id"] for user in found["users"]] == ["ncecere-user"]
    updated = _ok(ncecere.post("/user/update", {**wanted, "max_budget": 7}))
    assert updated["user_id"] == "ncecere-user"
    assert _ok(ncecere.get("/user/info", user_id="ncecere-user"))["user_info"]["max_budget"] == 7
    assert ncecere.post("/user/delete", {"user_ids": ["ncecere-user"]}).json() == 1
    gone = ncecere.get("/user/info", user_id="ncecere-user")
    assert gone.status_code == 404
    assert "not found" in gone.text
    assert "not found" in ncecere.post("/user/delete", {"user_ids": ["ncecere-user"]}).text


# --- BerriAI/litellm 0.4.0 (contract 7.4) ---


@pytest.fixture
def berri(fleet: Fleet) -> Client:
    return Client(fleet, x_api_key="{key}", Content_Type="application/json")


def test_berri_keeps_a_key_by_its_hash(berri: Client) -> None:
    wanted = {"key_alias": "berri-key", "models": ["gpt-4o"], "max_budget": 3.5, "metadata": {"a": "b"}, "tags": ["x"]}
    made = _ok(berri.post("/key/generate", wanted))
    assert made["token_id"] == token_of(made["key"])
    info = _ok(berri.get("/key/info", key=made["token_id"]))["info"]
    assert {name: info[name] for name in wanted} == wanted
    changed = _ok(berri.post("/key/update", {**wanted, "key": made["token_id"], "max_budget": 4.5}))
    assert (changed["key"], changed["max_budget"]) == (made["token_id"], 4.5)
    assert _ok(berri.post("/key/delete", {"keys": [made["token_id"]]}))["deleted_keys"] == [made["token_id"]]
    assert berri.get("/key/info", key=made["token_id"]).status_code == 404


def test_berri_brings_a_key_of_its_own(berri: Client, fleet: Fleet) -> None:
    key = fleet.canary("a key that a client chose", "sk-{}")
    assert _ok(berri.post("/key/generate", {"key": key, "key_alias": "berri-own"}))["key"] == key
    assert _ok(berri.get("/key/info", key=token_of(key)))["info"]["key_alias"] == "berri-own"


# --- operators (contract 7.5) ---


def test_an_operator_finds_keys_and_users_by_alias_and_address(fleet: Fleet) -> None:
    operator = Client(fleet, Authorization="Bearer {key}")
    key = _ok(operator.post("/key/generate", {"key_alias": "operator-key"}))["key"]
    assert _ok(operator.get("/key/list", key_alias="operator-key"))["keys"] == [token_of(key)]
    _ok(operator.post("/user/new", {"user_email": "operator@example.com", "auto_create_key": False}))
    (user,) = _ok(operator.get("/user/list", user_email="operator@example.com"))["users"]
    assert user["user_role"] == "internal_user"


# --- litellm.proxy.client and the command litellm-proxy (contract 7.1, 7.2) ---


def test_the_command_generates_imports_and_deletes(fleet: Fleet) -> None:
    command = Client(fleet, Authorization="Bearer {key}")
    made = _ok(command.post("/key/generate", {"key_alias": "cli", "spend": 0.5, "models": ["gpt-4o"], "aliases": {}}))
    found = _ok(command.get("/key/list", page=1, size=100, return_full_object=True))
    (row,) = [row for row in found["keys"] if row["key_alias"] == "cli"]
    assert (row["token"], row["spend"], row["models"]) == (token_of(made["key"]), 0.5, ["gpt-4o"])
    assert {"total_count", "current_page", "total_pages"} <= found.keys()
    deleted = _ok(command.post("/key/delete", {"keys": None, "key_aliases": ["cli"]}))
    assert deleted == {"deleted_keys": [row["token"]]}
    user = _ok(command.post("/user/new", {"user_id": "cli-user"}))
    assert _ok(command.get("/v2/user/info", user_id=user["user_id"]))["user_id"] == "cli-user"
    assert command.post("/user/delete", {"user_ids": ["cli-user"]}).json() == 1


# --- shown once ---


def test_a_key_that_was_shown_is_written_down_nowhere(fleet: Fleet) -> None:
    """The looking is the invariant that follows every test of a fleet."""
    client = Client(fleet, Authorization="Bearer {key}")
    key = _ok(client.post("/key/generate", {"key_alias": "shown-once"}))["key"]
    new = _ok(client.post("/key/regenerate", {"key": key, "grace_period": "1h"}))["key"]
    for name, secret in (("old", key), ("new", new)):
        own = Client(fleet, Authorization=f"Bearer {fleet.watch_for(secret, f'the {name} key')}")
        assert _ok(own.get("/key/info"))["info"]["key_alias"] == "shown-once"
    assert client.get("/key/info", key=new).status_code == 200
    _ok(client.post(f"/key/{new}/regenerate", {}))
    wrong = Client(fleet, Authorization=f"Bearer {fleet.watch_for(key[:-1] + '!', 'a mistyped key')}")
    assert wrong.get("/key/info").status_code == 401
