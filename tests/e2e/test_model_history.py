"""What a model was before can be seen, without its secrets, and brought back."""

from collections.abc import Iterator
from typing import Any

import pytest

from shared.runtime.clock import new_id
from tests.support.clients import etag_of, refusal, send, shown, stored
from tests.support.fleet import APPLY, Fleet, a_model, running_fleet

pytestmark = [pytest.mark.xdist_group("model history"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with running_fleet(tmp_path_factory, default_wait="10") as fleet:
        yield fleet


def _history(fleet: Fleet, model_id: str, **query: Any) -> dict[str, Any]:
    return fleet.http.get(f"/model/{model_id}/history", params=query).raise_for_status().json()


def _patch(fleet: Fleet, model_id: str, **params: Any) -> dict[str, Any]:
    return send(fleet, "PATCH", f"/model/{model_id}/update", {"litellm_params": params})


def _rollback(fleet: Fleet, model_id: str, version: int) -> dict[str, Any]:
    return send(fleet, "POST", f"/model/{model_id}/rollback", {"version": version})


def test_each_version_shows_what_it_changed(fleet: Fleet) -> None:
    model_id = stored(fleet, rpm=1)
    _patch(fleet, model_id, rpm=2, tpm=3)
    send(fleet, "POST", "/model/block", {"model_id": model_id})
    blocked, updated, created = _history(fleet, model_id)["data"]
    assert [(v["version"], v["operation"]) for v in (created, updated, blocked)] == [
        (1, "model.create"),
        (2, "model.update"),
        (3, "model.block"),
    ]
    assert {(c["field"], c["before"], c["after"]) for c in updated["changes"]} == {
        ("litellm_params.rpm", 1, 2),
        ("litellm_params.tpm", None, 3),
    }
    assert [(c["field"], c["before"], c["after"]) for c in blocked["changes"]] == [("blocked", False, True)]
    assert (created["changed_by"], created["is_deletion"]) == ("default_user_id", False)
    assert fleet.http.get(f"/tasks/{updated['task_id']}").json()["operation"] == "model.update"


def test_a_secret_shows_as_a_fingerprint_that_changes_with_it(fleet: Fleet) -> None:
    model_id = stored(fleet, api_key=fleet.canary("the first key"))
    _patch(fleet, model_id, api_key=fleet.canary("the second key"))
    (change,) = _history(fleet, model_id)["data"][0]["changes"]
    assert change["field"] == "litellm_params.api_key"
    assert change["before"].startswith("fp:")
    assert change["after"].startswith("fp:")
    assert change["before"] != change["after"]


def test_a_fingerprint_that_is_sent_back_is_refused_by_name(fleet: Fleet) -> None:
    model_id = stored(fleet, api_key=fleet.canary("a key that stays"))
    mask = fleet.audit(object_id=model_id)[0]["updated_values"]["litellm_params"]["api_key"]
    for value in (mask, "sk****bc", "********"):
        body = {"litellm_params": {"api_key": value}}
        response = fleet.http.patch(f"/model/{model_id}/update", json=body)
        assert refusal(response, 422, "invalid_request")["param"] == "litellm_params.api_key"


def test_the_history_comes_in_pages(fleet: Fleet) -> None:
    model_id = stored(fleet)
    for rpm in range(1, 5):
        _patch(fleet, model_id, rpm=rpm)
    first = _history(fleet, model_id, limit=3)
    second = _history(fleet, model_id, limit=3, before=first["next_before"])
    assert [version["version"] for version in (*first["data"], *second["data"])] == [5, 4, 3, 2, 1]
    assert second["next_before"] is None
    assert first["data"][-1]["changes"] == [{"field": "litellm_params.rpm", "before": 1, "after": 2}]


def test_a_rollback_brings_everything_back_as_a_new_version(fleet: Fleet) -> None:
    model_id = stored(fleet, "before", rpm=1, info={"tier": "paid"}, api_key=fleet.canary("a key that comes back"))
    before = shown(fleet, model_id)
    body = {"model_name": "after", "litellm_params": {"rpm": None, "api_key": "other", "tpm": 1}}
    send(fleet, "PATCH", f"/model/{model_id}/update", {**body, "model_info": {"tier": None}, "blocked": True})
    row = _rollback(fleet, model_id, 1)
    assert row["version"] == 3
    after = shown(fleet, model_id)
    assert after["litellm_params"] == before["litellm_params"]
    assert after["model_name"] == "before"
    assert (after["model_info"]["tier"], after["model_info"]["blocked"]) == ("paid", False)
    versions = _history(fleet, model_id)["data"]
    fingerprints = [
        change["after"]
        for version in (versions[0], versions[2])
        for change in version["changes"]
        if change["field"] == "litellm_params.api_key"
    ]
    assert fingerprints[0] == fingerprints[1]


def test_a_version_that_never_was_cannot_come_back(fleet: Fleet) -> None:
    model_id = stored(fleet)
    response = fleet.http.post(f"/model/{model_id}/rollback", json={"version": 9})
    assert refusal(response, 404, "version_not_found")["param"] == "version"
    for version in (0, "x", None):
        bad = fleet.http.post(f"/model/{model_id}/rollback", json={"version": version})
        assert refusal(bad, 422, "invalid_request")["param"] == "version"


def test_a_model_made_anew_has_the_old_history_and_none_of_the_old_parameters(fleet: Fleet) -> None:
    model_id = stored(fleet, rpm=1)
    first_tag = etag_of(fleet, model_id)
    _patch(fleet, model_id, rpm=2)
    send(fleet, "POST", "/model/delete", {"id": model_id})
    deletion = _history(fleet, model_id)["data"][0]
    assert (deletion["version"], deletion["is_deletion"]) == (3, True)
    assert refusal(fleet.http.post(f"/model/{model_id}/rollback", json={"version": 1}), 404, "model_not_found")

    send(fleet, "POST", "/model/new", a_model(model_id=model_id, tpm=1))
    assert etag_of(fleet, model_id) != first_tag
    assert [version["version"] for version in _history(fleet, model_id)["data"]] == [1, 3, 2, 1]
    refusal(fleet.http.post(f"/model/{model_id}/rollback", json={"version": 2}), 404, "version_not_found")
    assert shown(fleet, model_id)["litellm_params"] == {"model": "openai/gpt-4o", "tpm": 1}
    _patch(fleet, model_id, tpm=2)
    _rollback(fleet, model_id, 1)
    assert shown(fleet, model_id)["litellm_params"] == {"model": "openai/gpt-4o", "tpm": 1}


def test_what_waits_is_applied_in_order_and_in_one_batch(fleet: Fleet) -> None:
    """A change, a rollback and a deletion of a model that is not stored yet are accepted, and mean what they say."""
    model_id, other = "m-" + new_id(), "m-" + new_id()
    with fleet.without(APPLY):
        for name in (model_id, other):
            _accepted(fleet, "/model/new", a_model(model_id=name, rpm=1))
            _accepted(fleet, "/model/update", {"id": name, "litellm_params": {"rpm": 2}})
            _accepted(fleet, "/model/update", {"id": name, "litellm_params": {"tpm": 3}})
            _accepted(fleet, f"/model/{name}/rollback", {"version": 2})
        _accepted(fleet, "/model/delete", {"id": other})
        gone = fleet.http.post("/model/update", json={"id": other, "litellm_params": {"rpm": 9}})
        refusal(gone, 404, "model_not_found")
        last = _accepted(fleet, "/model/new", a_model(model_id=other, rpm=7))
    fleet.ended(last)
    fleet.check_invariants()
    assert shown(fleet, model_id)["litellm_params"] == {"model": "openai/gpt-4o", "rpm": 2}
    assert shown(fleet, other)["litellm_params"] == {"model": "openai/gpt-4o", "rpm": 7}
    assert [version["version"] for version in _history(fleet, other)["data"]] == [1, 5, 4, 3, 2, 1]


def _accepted(fleet: Fleet, path: str, body: Any) -> str:
    response = fleet.http.post(path, json=body, headers={"Prefer": "respond-async"})
    assert response.status_code == 202, response.text
    return response.json()["task_id"]
