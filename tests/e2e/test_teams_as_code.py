"""Teams and members as LiteLLM's own clients keep them: the requests of the Terraform providers and the operators, and
what each then reads of the answers (contract 7)."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from shared.runtime.clock import new_id
from tests.e2e.test_drop_in import Client, _ok
from tests.support.fleet import Fleet, running_fleet

pytestmark = [pytest.mark.xdist_group("teams as code"), pytest.mark.timeout(300)]

Json = dict[str, Any]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with running_fleet(tmp_path_factory, default_wait="10") as fleet:
        yield fleet


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


def is_gone(response: httpx.Response) -> bool:
    """How this provider tells that something is not there any more."""
    return any(words in response.text for words in ("not found", "404", "does not exist"))


def test_ncecere_keeps_a_team(ncecere: Client) -> None:
    team_id = new_id()
    wanted = {
        "team_id": team_id,
        "team_alias": "platform",
        "tpm_limit_type": "team",
        "budget_duration": "30d",
        "tpm_limit": 1000,
        "rpm_limit": 10,
        "max_budget": 12.5,
        "team_member_budget": 1.5,
        "blocked": False,
        "models": ["gpt-4o", "claude"],
        "tags": ["a", "b"],
        "guardrails": ["pii"],
        "model_rpm_limit": {"gpt-4o": 5},
        "metadata": {"cost_centre": "7", "owner": "ann"},
        "team_member_permissions": ["/key/generate"],
        "router_settings": {"fallbacks": [{"gpt-4o": ["claude"]}]},
    }
    created = _ok(ncecere.post("/team/new", {**wanted, "model_aliases": {"fast": "gpt-4o-mini"}}))
    assert created["team_id"] == team_id

    def info() -> Json:
        return _ok(ncecere.get("/team/info", team_id=team_id))["team_info"]

    assert {name: info()[name] for name in wanted} == wanted
    assert info()["litellm_model_table"]["model_aliases"] == {"fast": "gpt-4o-mini"}
    assert info() == info()

    # Fields that were taken out of the configuration are sent as null; lists that are empty are left out.
    changed = {**wanted, "rpm_limit": 20, "max_budget": None, "tpm_limit": None, "router_settings": {}}
    assert _ok(ncecere.post("/team/update", changed))["data"]["rpm_limit"] == 20
    assert {name: info()[name] for name in wanted} == changed
    permissions = {"team_id": team_id, "team_member_permissions": ["/key/generate", "/key/delete"]}
    _ok(ncecere.post("/team/permissions_update", permissions))
    listed = _ok(ncecere.get("/team/permissions_list", team_id=team_id))
    assert listed["team_member_permissions"] == permissions["team_member_permissions"]

    _ok(ncecere.post("/team/block", {"team_id": team_id}))
    assert info()["blocked"] is True
    _ok(ncecere.post("/team/unblock", {"team_id": team_id}))
    assert info()["blocked"] is False

    _ok(ncecere.post("/team/delete", {"team_ids": [team_id]}))
    assert is_gone(ncecere.get("/team/info", team_id=team_id))
    assert is_gone(ncecere.post("/team/delete", {"team_ids": [team_id]}))


def test_ncecere_may_repeat_a_create_whose_answer_was_lost(ncecere: Client) -> None:
    body = {"team_id": new_id(), "team_alias": "platform", "router_settings": {}}
    assert _ok(ncecere.post("/team/new", body)) == _ok(ncecere.post("/team/new", body))


def test_ncecere_keeps_a_member(ncecere: Client) -> None:
    team_id = new_id()
    _ok(ncecere.post("/team/new", {"team_id": team_id, "team_alias": "platform", "router_settings": {}}))
    who = {"user_id": "ann", "user_email": "ann@example.com"}
    addition = {"team_id": team_id, "member": [{"role": "user", **who}], "max_budget_in_team": 5}
    _ok(ncecere.post("/team/member_add", addition))
    again = ncecere.post("/team/member_add", addition)
    assert again.status_code == 400
    assert "team_member_already_in_team" in again.text

    def budget() -> Any:
        memberships = _ok(ncecere.get("/team/info", team_id=team_id))["team_memberships"]
        (table,) = [one["litellm_budget_table"] for one in memberships if one["user_id"] == "ann"]
        return table

    assert budget() == {"max_budget": 5}
    _ok(ncecere.post("/team/member_update", {"team_id": team_id, **who, "max_budget_in_team": 7.5}))
    assert budget() == {"max_budget": 7.5}
    _ok(ncecere.post("/team/member_update", {"team_id": team_id, **who, "max_budget_in_team": None}))
    assert budget() is None
    _ok(ncecere.post("/team/member_delete", {"team_id": team_id, **who}))
    assert is_gone(ncecere.post("/team/member_delete", {"team_id": team_id, **who}))


def test_ncecere_keeps_a_model_of_a_team(ncecere: Client) -> None:
    team_id, model_id = new_id(), new_id()
    _ok(ncecere.post("/team/new", {"team_id": team_id, "team_alias": "platform", "router_settings": {}}))
    params = {"custom_llm_provider": "openai", "model": "openai/gpt-4o", "rpm": 5}
    info = {
        "id": model_id,
        "db_model": True,
        "base_model": "gpt-4o",
        "team_id": team_id,
        "team_public_model_name": "tf",
    }
    _ok(ncecere.post("/model/new", {"model_name": "tf", "litellm_params": params, "model_info": info}))

    def read() -> Json:
        return _ok(ncecere.get("/model/info", litellm_model_id=model_id))["data"][0]

    assert read()["model_name"] == read()["model_info"]["team_public_model_name"] == "tf"
    assert {name: read()["model_info"][name] for name in info} == info
    # The update leaves the id out of model_info, and the internal name was never shown to it.
    body = {
        "model_name": "tf-2",
        "litellm_params": params,
        "model_info": {"base_model": "gpt-4o", "team_id": team_id, "team_public_model_name": "tf-2"},
    }
    _ok(ncecere.patch(f"/model/{model_id}/update", body))
    assert (read()["model_name"], read()["model_info"]["id"]) == ("tf-2", model_id)
    assert _ok(ncecere.get("/team/info", team_id=team_id))["team_info"]["models"] == ["all-proxy-models", "tf-2"]
    _ok(ncecere.post("/team/delete", {"team_ids": [team_id]}))
    assert is_gone(ncecere.get("/model/info", litellm_model_id=model_id))
    # Terraform deletes what it made in any order.
    assert is_gone(ncecere.post("/model/delete", {"id": model_id}))


# --- BerriAI/terraform-provider-litellm 0.4.0 (contract 7.4) ---


@pytest.fixture
def berriai(fleet: Fleet) -> Client:
    return Client(fleet, Content_Type="application/json", x_api_key="{key}")


def test_berriai_keeps_members(berriai: Client) -> None:
    team_id = new_id()
    _ok(berriai.post("/team/new", {"team_id": team_id, "team_alias": "platform"}))
    people = [{"role": "admin", "user_id": "ann"}, {"role": "user", "user_email": "bob@example.com"}]
    _ok(berriai.post("/team/member_add", {"team_id": team_id, "member": people, "max_budget_in_team": 3}))

    def roles() -> dict[str, str]:
        listed = _ok(berriai.get("/team/info", team_id=team_id))["team_info"]["members_with_roles"]
        return {entry["user_id"] or entry["user_email"]: entry["role"] for entry in listed}

    assert roles() == {"default_user_id": "admin", "ann": "admin", "bob@example.com": "user"}
    change = {"team_id": team_id, "user_email": "bob@example.com", "role": "admin", "max_budget_in_team": None}
    _ok(berriai.post("/team/member_update", change))
    _ok(berriai.post("/team/member_delete", {"team_id": team_id, "user_id": "ann", "user_email": "ann@example.com"}))
    assert roles() == {"default_user_id": "admin", "bob@example.com": "admin"}
    assert berriai.get("/team/info", team_id=new_id()).status_code == 404


# --- Kubernetes operators (contract 7.5) ---


def test_vitaliytv_finds_its_team_by_alias(fleet: Fleet) -> None:
    operator = Client(fleet, Authorization="Bearer {key}", Content_Type="application/json")
    created = _ok(operator.post("/team/new", {"team_alias": "of-the-operator", "models": ["gpt-4o"]}))
    found = _ok(operator.get("/v2/team/list", team_alias="of-the-operator"))["teams"]
    assert found[0]["team_id"] == created["team_id"]
    change = {"team_id": created["team_id"], "team_alias": "of-the-operator", "models": ["gpt-4o", "claude"]}
    assert _ok(operator.post("/team/update", change))["data"]["models"] == ["gpt-4o", "claude"]
    member = {"team_id": created["team_id"], "member": {"role": "user", "user_id": "ann"}}
    assert _ok(operator.post("/team/member_add", member))["team_id"] == created["team_id"]
    _ok(operator.post("/team/member_delete", {"team_id": created["team_id"], "user_id": "ann"}))
    _ok(operator.post("/team/delete", {"team_ids": [created["team_id"]]}))
    assert operator.post("/team/delete", {"team_ids": [created["team_id"]]}).status_code == 404


# --- litellm.proxy.client and the dashboard (contract 7.1, 7.6) ---


def test_the_python_client_and_the_dashboard_list_teams(fleet: Fleet) -> None:
    client = Client(fleet, Authorization="Bearer {key}")
    created = _ok(client.post("/team/new", {"team_alias": "listed"}))
    listed = client.get("/team/list")
    assert listed.status_code == 200
    assert created["team_id"] in [team["team_id"] for team in listed.json()]
    assert client.get("/team/available").json() == []
    page = _ok(client.get("/v2/team/list", page=1, page_size=10, search="listed", sort_by="created_at"))
    assert page.keys() == {"teams", "total", "page", "page_size", "total_pages"}
    bulk = {"team_id": created["team_id"], "members": [{"role": "user", "user_id": f"u-{n}"} for n in range(20)]}
    assert len(_ok(client.post("/team/bulk_member_add", bulk))["updated_users"]) == 20
