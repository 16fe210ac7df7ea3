"""LiteLLM's own clients, unchanged: their requests as they send them, and what each then reads of the answers."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from shared.runtime.clock import new_id
from tests.support.fleet import Fleet, running_fleet

pytestmark = [pytest.mark.xdist_group("drop-in"), pytest.mark.timeout(300)]

Json = dict[str, Any]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with running_fleet(tmp_path_factory, default_wait="10") as fleet:
        yield fleet


class Client:
    """Sends only the headers that a client of this kind sends."""

    def __init__(self, fleet: Fleet, **headers: str) -> None:
        self._url = fleet.url
        self._headers = {name.replace("_", "-"): value.format(key=fleet.master_key) for name, value in headers.items()}

    def get(self, path: str, **query: Any) -> httpx.Response:
        return self._send("GET", path, params=query)

    def post(self, path: str, body: Json) -> httpx.Response:
        return self._send("POST", path, json=body)

    def patch(self, path: str, body: Json) -> httpx.Response:
        return self._send("PATCH", path, json=body)

    def _send(self, method: str, path: str, **content: Any) -> httpx.Response:
        with httpx.Client(headers=self._headers, timeout=30, trust_env=False, verify=False) as http:
            return http.request(method, self._url + path, **content)


def _ok(response: httpx.Response) -> Json:
    """Exactly 200 and a JSON object: some clients accept nothing else."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()


# --- litellm.proxy.client and the command litellm-proxy (contract 7.1, 7.2) ---


@pytest.fixture
def python_client(fleet: Fleet) -> Client:
    return Client(fleet, Authorization="Bearer {key}")


def test_the_command_adds_with_every_parameter_a_string(python_client: Client) -> None:
    params = {"model": "openai/gpt-4o", "rpm": "5", "tpm": "1000", "input_cost_per_token": "0.000001", "timeout": "30"}
    row = _ok(python_client.post("/model/new", {"model_name": "added", "litellm_params": params, "model_info": {}}))
    stored = row["litellm_params"]
    assert stored == {
        "model": "openai/gpt-4o",
        "rpm": 5,
        "tpm": 1000,
        "input_cost_per_token": 1e-06,
        "timeout": 30.0,
    }
    assert {"model_id", "model_name", "created_at", "created_by", "updated_at", "updated_by", "blocked"} <= row.keys()
    (entry,) = _ok(python_client.get("/v1/model/info", litellm_model_id=row["model_id"]))["data"]
    info = entry["model_info"]
    assert (info["input_cost_per_token"], info["id"], info["db_model"]) == (1e-06, row["model_id"], True)
    assert {"created_at", "updated_at"} <= info.keys()


def test_the_client_lists_and_gets_by_name_or_id(python_client: Client) -> None:
    row = _ok(python_client.post("/model/new", {"model_name": "listed", "litellm_params": {"model": "openai/x"}}))
    listed = _ok(python_client.get("/models"))["data"]
    (model,) = [entry for entry in listed if entry["id"] == "listed"]
    assert model.keys() >= {"id", "object", "created", "owned_by"}
    entries = _ok(python_client.get("/v1/model/info"))["data"]
    assert [e["model_name"] for e in entries if e["model_info"]["id"] == row["model_id"]] == ["listed"]
    (group,) = [g for g in _ok(python_client.get("/model_group/info"))["data"] if g["model_group"] == "listed"]
    assert group["providers"] == ["openai"]


def test_the_client_updates_with_the_id_at_the_top_level(python_client: Client) -> None:
    row = _ok(python_client.post("/model/new", {"model_name": "updated", "litellm_params": {"model": "openai/x"}}))
    body = {"id": row["model_id"], "litellm_params": {"model": "openai/y", "rpm": "7"}, "model_info": {"mode": "chat"}}
    changed = _ok(python_client.post("/model/update", body))
    assert changed["litellm_params"] == {"model": "openai/y", "rpm": 7}
    assert changed["model_info"]["id"] == row["model_id"]


def test_the_client_takes_a_missing_model_as_not_found(python_client: Client) -> None:
    row = _ok(python_client.post("/model/new", {"model_name": "deleted", "litellm_params": {"model": "openai/x"}}))
    assert _ok(python_client.post("/model/delete", {"id": row["model_id"]}))
    for path, body in (("delete", {"id": row["model_id"]}), ("update", {"id": row["model_id"], "litellm_params": {}})):
        response = python_client.post(f"/model/{path}", body)
        assert response.status_code == 404
        assert "not found" in response.text.lower()
    assert "not found" not in python_client.post("/model/delete", {}).text.lower()


def test_the_client_takes_a_wrong_key_as_unauthorised(fleet: Fleet) -> None:
    assert Client(fleet, Authorization="Bearer sk-wrong").get("/models").status_code == 401


def test_an_import_posts_each_entry_of_a_file(python_client: Client) -> None:
    for n, params in enumerate(({"model": "azure/gpt-4o", "api_base": "https://a.example.com"}, {"model": "openai/*"})):
        _ok(python_client.post("/model/new", {"model_name": f"imported-{n}", "litellm_params": params}))
    names = [entry["id"] for entry in _ok(python_client.get("/models"))["data"]]
    assert {"imported-0", "imported-1"} <= set(names)


# --- ncecere/terraform-provider-litellm 2.0.1 (contract 7.3) ---


@pytest.fixture
def ncecere(fleet: Fleet) -> Client:
    return Client(
        fleet,
        Content_Type="application/json",
        Accept="application/json",
        x_api_key="{key}",
        Authorization="Bearer {key}",
        litellm_changed_by="terraform",
    )


def test_ncecere_creates_reads_patches_and_deletes(ncecere: Client) -> None:
    model_id = new_id()
    params = {
        "custom_llm_provider": "openai",
        "model": "openai/gpt-4o",
        "model_api_base": "https://api.example.com",
        "api_base": "https://api.example.com/v1",
        "api_version": "2024-10-21",
        "litellm_credential_name": "shared",
        "input_cost_per_token": 2.5e-06,
        "tpm": 100000,
        "rpm": 1000,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }
    info = {"id": model_id, "db_model": True, "base_model": "gpt-4o", "tier": "free", "mode": "chat"}
    shared = {"credential_name": "shared", "credential_info": {}, "credential_values": {"api_key": "sk-shared"}}
    _ok(ncecere.post("/credentials", shared))
    created = _ok(ncecere.post("/model/new", {"model_name": "tf", "litellm_params": params, "model_info": info}))
    assert created["model_info"]["id"] == model_id

    read = [_ok(ncecere.get("/model/info", litellm_model_id=model_id))["data"][0] for _ in range(2)]
    assert read[0] == read[1]
    assert read[0]["model_name"] == "tf"
    assert read[0]["litellm_params"] == params
    assert {name: read[0]["model_info"][name] for name in info} == info

    changed = {**params, "rpm": 2000}
    body = {"model_name": "tf", "litellm_params": changed, "model_info": {"base_model": "gpt-4o-mini", "mode": "chat"}}
    _ok(ncecere.patch(f"/model/{model_id}/update", body))
    entry = _ok(ncecere.get("/model/info", litellm_model_id=model_id))["data"][0]
    assert entry["litellm_params"] == changed
    assert entry["model_info"]["id"] == model_id
    assert (entry["model_info"]["base_model"], entry["model_info"]["tier"]) == ("gpt-4o-mini", "free")

    _ok(ncecere.post("/model/delete", {"id": model_id}))
    gone = ncecere.get("/model/info", litellm_model_id=model_id)
    assert gone.status_code == 400
    assert any(words in gone.text for words in ("not found", "404", "does not exist"))


def test_ncecere_may_repeat_a_create_whose_answer_was_lost(ncecere: Client) -> None:
    body = {"model_name": "tf", "litellm_params": {"model": "openai/x"}, "model_info": {"id": new_id()}}
    assert _ok(ncecere.post("/model/new", body)) == _ok(ncecere.post("/model/new", body))


# --- BerriAI/terraform-provider-litellm 0.4.0 (contract 7.4) ---


@pytest.fixture
def berriai(fleet: Fleet) -> Client:
    return Client(fleet, Content_Type="application/json", x_api_key="{key}")


def test_berriai_creates_checks_updates_and_deletes(berriai: Client) -> None:
    model_id = new_id()
    body = {
        "model_name": "tf",
        "litellm_params": {"custom_llm_provider": "openai", "model": "openai/gpt-4o", "api_key": "sk-of-a-provider"},
        "model_info": {"id": model_id, "db_model": True, "base_model": "gpt-4o", "tier": "free"},
        "additional": {},
    }
    _ok(berriai.post("/model/new", body))
    _ok(berriai.get("/model/info", litellm_model_id=model_id))
    _ok(berriai.post("/model/update", {**body, "model_name": "tf-2"}))
    assert _ok(berriai.get("/model/info", litellm_model_id=model_id))["data"][0]["model_name"] == "tf-2"
    _ok(berriai.post("/model/delete", {"id": model_id}))


def test_berriai_knows_a_missing_model_by_its_words(berriai: Client) -> None:
    read = berriai.get("/model/info", litellm_model_id="of-none")
    assert read.status_code == 400
    assert "not found on litellm proxy" in read.json()["detail"]["error"]
    deleted = berriai.post("/model/delete", {"id": "of-none"})
    assert "model not found" in deleted.json()["error"]["message"]
    assert "not found in db" in deleted.json()["error"]["message"]


# --- Kubernetes operators (contract 7.5) ---


@pytest.fixture
def operator(fleet: Fleet) -> Client:
    return Client(fleet, Authorization="Bearer {key}", Content_Type="application/json")


def test_vitaliytv_probes_and_follows_the_id_that_a_patch_answers(operator: Client) -> None:
    assert operator.get("/").status_code == 200
    model_id = new_id()
    params = {"model": "openai/gpt-4o", "api_base": "https://a.example.com", "use_in_pass_through": False, "rpm": 5}
    created = _ok(
        operator.post("/model/new", {"model_name": "cr", "litellm_params": params, "model_info": {"id": model_id}})
    )
    assert (created["model_info"]["id"], created["model_name"]) == (model_id, "cr")
    patched = _ok(operator.patch(f"/model/{model_id}/update", {"litellm_params": {"rpm": 6}, "model_info": {}}))
    assert patched["model_info"]["id"] == model_id
    found = _ok(operator.get("/model/info", litellm_model_id=model_id))["data"]
    # A flag that the server adds by itself would be taken for drift, every minute.
    assert found[0]["litellm_params"] == {**params, "rpm": 6}
    _ok(operator.post("/model/delete", {"id": model_id}))
    assert operator.post("/model/delete", {"id": model_id}).status_code == 404


def test_vitaliytv_reads_what_an_error_says(operator: Client) -> None:
    error = operator.post("/model/new", {"model_name": "x", "litellm_params": {}}).json()["error"]
    assert {name: type(error[name]) for name in ("message", "code")} == {"message": str, "code": str}


def test_ackstorm_sends_an_empty_id_and_finds_its_models_by_name(operator: Client) -> None:
    name = "owned-by-name"
    body = {
        "model_name": name,
        "litellm_params": {"model": "openai/x"},
        "model_info": {"id": "", "created_by": "the operator", "updated_by": "the operator"},
    }
    created = _ok(operator.post("/model/new", body))
    assert created["model_id"] == created["model_info"]["id"] != ""
    entries = _ok(operator.get("/model/info", model_name=name))["data"]
    assert [e["model_info"]["id"] for e in entries if e["model_name"] == name] == [created["model_id"]]
    update = {"litellm_params": {"model": "openai/y"}, "model_info": {"id": created["model_id"]}}
    assert _ok(operator.post("/model/update", update))["model_id"] == created["model_id"]
    _ok(operator.post("/model/delete", {"id": created["model_id"]}))


def test_home_operations_lists_compares_and_knows_its_own(operator: Client) -> None:
    params = {"model": "openai/gpt-4o", "api_key": "sk-of-a-provider", "api_base": "https://a.example.com", "tpm": 7}
    info = {"litellm-operator/managed-by": "home", "nested": {"kept": [1, 2.5, True]}}
    created = _ok(operator.post("/model/new", {"model_name": "home", "litellm_params": params, "model_info": info}))
    mine = [
        entry
        for entry in _ok(operator.get("/model/info"))["data"]
        if entry["model_info"].get("litellm-operator/managed-by") == "home"
    ]
    assert [entry["model_info"]["id"] for entry in mine] == [created["model_id"]]
    shown = mine[0]["litellm_params"]
    assert {name: shown[name] for name in params if name != "api_key"} == {
        name: value for name, value in params.items() if name != "api_key"
    }
    assert mine[0]["model_info"]["nested"] == info["nested"]
    update = {"litellm_params": params, "model_info": {**info, "id": created["model_id"]}}
    assert _ok(operator.post("/model/update", update))["model_info"]["nested"] == info["nested"]


# --- the dashboard (contract 7.6) ---


def test_the_dashboard_pages_and_toggles(operator: Client) -> None:
    row = _ok(operator.post("/model/new", {"model_name": "shown", "litellm_params": {"model": "openai/x"}}))
    query = {"include_team_models": "true", "page": 1, "size": 50, "search": "shown", "use_stored_params": "false"}
    page = _ok(operator.get("/v2/model/info", **query, debug="true", exclude_auto_routers="true"))
    assert page.keys() == {"data", "total_count", "current_page", "total_pages", "size"}
    assert [entry["model_info"]["id"] for entry in page["data"]] == [row["model_id"]]
    assert _ok(operator.patch(f"/model/{row['model_id']}/update", {"blocked": True}))["blocked"] is True
    assert _ok(operator.get("/v2/model/info", search="shown", blocked="true"))["total_count"] == 1


@pytest.mark.parametrize("path", ["/health/liveliness", "/health/liveness", "/health/readiness"])
def test_probes_need_no_key(fleet: Fleet, path: str) -> None:
    assert Client(fleet).get(path).status_code == 200
