"""Models of a LiteLLM configuration file: listed beside the stored ones, changed in the file and nowhere else."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import refusal, send, shown, stored
from tests.support.fleet import APPLY, Fleet, a_model, running_fleet, until

pytestmark = [pytest.mark.xdist_group("models of a file"), pytest.mark.timeout(300)]

_FIRST = """
model_list:
  - model_name: of-the-file
    litellm_params: {model: openai/gpt-4o, api_key: sk-of-the-file-0123456789, rpm: 5}
    model_info: {id: file-1, mode: chat}
  - model_name: wild/*
    litellm_params: {model: openai/*, api_key: os.environ/OPENAI_API_KEY}
"""

Write = Callable[[str], None]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("config") / "config.yaml"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, path: Path) -> Iterator[Fleet]:
    path.write_text(_FIRST, encoding="utf-8")
    with running_fleet(tmp_path_factory, default_wait="10", config=str(path)) as fleet:
        yield fleet


@pytest.fixture
def write(path: Path) -> Write:
    def write(text: str) -> None:
        beside = path.with_suffix(".new")
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)

    return write


@pytest.fixture(autouse=True)
def _as_the_first_file_has_it(fleet: Fleet, write: Write) -> None:
    write(_FIRST)
    until(lambda: _ids_of_the_file(fleet) == {"file-1", _stable_id(fleet)})


def _ids_of_the_file(fleet: Fleet) -> set[str]:
    return {name for name, entry in fleet.models().items() if entry["model_info"]["db_model"] is False}


def _stable_id(fleet: Fleet) -> str:
    return next((n for n, e in fleet.models().items() if e["model_name"] == "wild/*"), "")


def _readiness(fleet: Fleet) -> dict[str, Any]:
    return fleet.http.get("/health/readiness").json()


def test_they_are_listed_without_secrets_and_with_stable_ids(fleet: Fleet, write: Write) -> None:
    entry = shown(fleet, "file-1")
    assert entry["litellm_params"] == {"model": "openai/gpt-4o", "rpm": 5}
    assert entry["model_info"] == {"mode": "chat", "id": "file-1", "db_model": False, "blocked": False}
    stable = _stable_id(fleet)
    write(_FIRST.replace("rpm: 5", "rpm: 6"))
    until(lambda: shown(fleet, "file-1")["litellm_params"]["rpm"] == 6)
    assert _stable_id(fleet) == stable
    assert send(fleet, "GET", "/models/wild/*")["id"] == "wild/*"
    assert send(fleet, "GET", "/v2/model/info?wildcard_only=true")["total_count"] == 1


def test_no_route_changes_them(fleet: Fleet) -> None:
    for method, path, body in (
        ("POST", "/model/update", {"model_info": {"id": "file-1"}, "litellm_params": {"rpm": 1}}),
        ("PATCH", "/model/file-1/update", {"litellm_params": {"rpm": 1}}),
        ("POST", "/model/delete", {"id": "file-1"}),
        ("POST", "/model/block", {"model_id": "file-1"}),
        ("POST", "/model/unblock", {"model_id": "file-1"}),
        ("POST", "/model/file-1/rollback", {"version": 1}),
    ):
        error = refusal(fleet.http.request(method, path, json=body), 400, "model_in_config")
        assert error["type"] == "validation_error"
        assert "not found" not in error["message"]
        assert "does not exist" not in error["message"]
    refusal(fleet.http.post("/model/new", json=a_model(model_id="file-1")), 409, "model_exists")


def test_a_change_accepted_before_the_file_named_the_model_is_refused_when_applied(fleet: Fleet, write: Write) -> None:
    model_id = stored(fleet, "of-both")
    with fleet.without(APPLY):
        path = f"/model/{model_id}/update"
        response = fleet.http.patch(path, json={"litellm_params": {"rpm": 1}}, headers={"Prefer": "respond-async"})
        assert response.status_code == 202
        write(f"{_FIRST}\n  - {{model_name: of-both, litellm_params: {{model: m}}, model_info: {{id: {model_id}}}}}\n")
    task = fleet.ended(response.json()["task_id"])
    assert (task["status"], task["error"]["type"]) == ("failed", "urn:pointsman:problem:model_in_config")


def test_a_stored_model_steps_back_while_the_file_has_its_id(fleet: Fleet, write: Write) -> None:
    before = send(fleet, "GET", "/v2/model/info")["total_count"]
    model_id = stored(fleet, "of-both", rpm=9)
    write(f"{_FIRST}\n  - {{model_name: of-both, litellm_params: {{model: m}}, model_info: {{id: {model_id}}}}}\n")
    until(lambda: shown(fleet, model_id)["model_info"]["db_model"] is False)
    page = send(fleet, "GET", "/v2/model/info?size=500")
    assert page["total_count"] == len(page["data"]) == before + 1
    assert [e["litellm_params"] for e in page["data"] if e["model_info"]["id"] == model_id] == [{"model": "m"}]
    refusal(fleet.http.post("/model/delete", json={"id": model_id}), 400, "model_in_config")
    write(_FIRST)
    until(lambda: shown(fleet, model_id)["model_info"]["db_model"] is True)
    assert shown(fleet, model_id)["litellm_params"]["rpm"] == 9


def test_the_last_good_file_stays_while_it_is_broken(fleet: Fleet, write: Write) -> None:
    assert _readiness(fleet)["status"] == "healthy"
    write("model_list: [{model_name: sk-of-the-file-0123456789")
    until(lambda: _readiness(fleet)["status"] == "degraded")
    assert "last good one" in _readiness(fleet)["parts"]["config_file"]
    assert fleet.http.get("/health/readiness").status_code == 200
    assert "file-1" in fleet.models()
    refusal(fleet.http.post("/model/delete", json={"id": "file-1"}), 400, "model_in_config")
    logged = fleet.parts["api"].logged
    assert "config_file.broken" in logged
    assert "sk-of-the-file" not in logged
    write(_FIRST)
    until(lambda: _readiness(fleet)["status"] == "healthy")


def test_pages_go_on_from_stored_models_to_those_of_the_file(fleet: Fleet) -> None:
    stored(fleet, "of-pages")
    total = send(fleet, "GET", "/v2/model/info")["total_count"]
    ids = [
        entry["model_info"]["id"]
        for page in range(1, total + 1)
        for entry in send(fleet, "GET", f"/v2/model/info?size=1&page={page}")["data"]
    ]
    assert len(ids) == len(set(ids)) == total
    assert set(ids[-2:]) == _ids_of_the_file(fleet)
