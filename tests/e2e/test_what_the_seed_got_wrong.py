"""The faults of the code that this product took its contract from, each as the behaviour that is right instead.

The numbers are those of the list of faults.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from shared.runtime.clock import new_id
from tests.support.clients import etag_of, refusal, send, shown, stored
from tests.support.fleet import API, Fleet, a_model, running_fleet, until
from tests.support.receivers import Answer, Receiver

pytestmark = [pytest.mark.xdist_group("what the seed got wrong"), pytest.mark.timeout(300)]

_WRITES = (
    ("POST", "/model/new"),
    ("POST", "/model/update"),
    ("PATCH", "/model/any/update"),
    ("POST", "/model/delete"),
    ("POST", "/model/block"),
    ("POST", "/model/unblock"),
    ("POST", "/model/any/rollback"),
)


@pytest.fixture(scope="module")
def slack() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, slack: Receiver) -> Iterator[Fleet]:
    with running_fleet(tmp_path_factory, default_wait="10", slack_webhook_url=slack.url, slack_window="1") as fleet:
        yield fleet


def _patch(fleet: Fleet, model_id: str, body: object) -> None:
    send(fleet, "PATCH", f"/model/{model_id}/update", body)


def _team(fleet: Fleet, **fields: Any) -> str:
    return send(fleet, "POST", "/team/new", fields)["team_id"]


def _shown_team(fleet: Fleet, team_id: str) -> dict[str, Any]:
    return send(fleet, "GET", f"/team/info?team_id={team_id}")["team_info"]


@pytest.mark.parametrize(("method", "path"), _WRITES)
def test_01_every_write_demands_a_valid_key(fleet: Fleet, method: str, path: str) -> None:
    for key, code, kind in (
        ("sk-of-nobody", "unknown_key", "token_not_found_in_db"),
        ("not-even-a-key", "not_authenticated", "auth_error"),
    ):
        response = fleet.http.request(method, path, json={}, headers={"Authorization": f"Bearer {key}"})
        assert refusal(response, 401, code)["type"] == kind
        assert response.headers["www-authenticate"] == "Bearer"


def test_02_a_patch_cannot_move_a_model_to_a_team_that_is_not_there(fleet: Fleet) -> None:
    model_id = stored(fleet)
    before = shown(fleet, model_id)
    body = {"model_info": {"team_id": "of-nobody"}}
    error = refusal(fleet.http.patch(f"/model/{model_id}/update", json=body), 400, "unknown_team")
    assert error["param"] == "model_info.team_id"
    assert "does not exist in db" in error["message"]
    assert shown(fleet, model_id) == before


def test_03_a_patch_is_audited_and_read_at_once(fleet: Fleet) -> None:
    model_id = stored(fleet, rpm=1)
    _patch(fleet, model_id, {"litellm_params": {"rpm": 2}})
    assert shown(fleet, model_id)["litellm_params"]["rpm"] == 2
    created, updated = fleet.audit(object_id=model_id)
    assert (created["action"], updated["action"]) == ("created", "updated")
    assert updated["before_value"]["litellm_params"]["rpm"] == 1
    assert updated["updated_values"]["litellm_params"]["rpm"] == 2


def test_04_a_patch_of_model_info_keeps_what_it_does_not_name(fleet: Fleet) -> None:
    model_id = stored(fleet, info={"base_model": "gpt-4o", "tier": "paid", "managed-by": "an operator"})
    _patch(fleet, model_id, {"model_info": {"tier": "free"}})
    info = shown(fleet, model_id)["model_info"]
    assert (info["base_model"], info["tier"], info["managed-by"]) == ("gpt-4o", "free", "an operator")


@pytest.mark.parametrize("info", [{"mode": "chat"}, {"id": "another", "mode": "chat"}, {"id": "", "mode": "chat"}])
def test_05_no_change_gives_a_model_another_id(fleet: Fleet, info: dict[str, str]) -> None:
    model_id = stored(fleet)
    row = send(fleet, "PATCH", f"/model/{model_id}/update", {"model_info": info})
    assert row["model_id"] == row["model_info"]["id"] == model_id
    assert shown(fleet, model_id)["model_info"]["id"] == model_id
    (kept,) = fleet.select("SELECT model_info FROM model WHERE model_id = %s", model_id)
    assert kept["model_info"] == {"mode": "chat"}


def test_06_an_update_heeds_name_and_info_and_keeps_unknown_parameters(fleet: Fleet) -> None:
    model_id = stored(fleet, headers={"X-Region": "north"}, of_a_new_release=[1, "a"])
    body = {"model_name": "renamed", "litellm_params": {"rpm": 5}, "model_info": {"id": model_id, "mode": "chat"}}
    row = send(fleet, "POST", "/model/update", body)
    assert row["model_name"] == "renamed"
    entry = shown(fleet, model_id)
    assert entry["model_name"] == "renamed"
    assert entry["model_info"]["mode"] == "chat"
    expected = {"model": "openai/gpt-4o", "rpm": 5, "headers": {"X-Region": "north"}, "of_a_new_release": [1, "a"]}
    assert entry["litellm_params"] == expected


def test_07_with_storage_off_every_write_says_so(fleet: Fleet) -> None:
    model_id = stored(fleet)
    fleet.stop(API)
    fleet.start(API, POINTSMAN_STORE_MODELS="false")
    try:
        named = {"model_info": {"id": model_id}, "id": model_id, "model_id": model_id, "version": 1}
        for method, path in _WRITES:
            body = {**a_model(rpm=1), **named}
            error = refusal(
                fleet.http.request(method, path.replace("any", model_id), json=body), 500, "model_storage_off"
            )
            assert "STORE_MODEL_IN_DB" in error["message"]
        assert shown(fleet, model_id)["model_info"]["db_model"] is True
    finally:
        fleet.stop(API)
        fleet.start(API)


def test_08_an_alert_that_fails_neither_delays_nor_undoes_a_change(fleet: Fleet, slack: Receiver) -> None:
    slack.answer_with(Answer(status=500))
    seen = len(slack.requests)
    model_id = stored(fleet)
    slack.wait_for(seen + 1)
    assert shown(fleet, model_id)


def test_09_sent_twice_is_added_once(fleet: Fleet) -> None:
    body = a_model("sent-twice", rpm=1)
    headers = {"Idempotency-Key": new_id()}
    first, again = (send(fleet, "POST", "/model/new", body, headers) for _ in range(2))
    assert first == again
    own = {**body, "model_info": {"id": "m-" + new_id()}}
    first, again = (send(fleet, "POST", "/model/new", own) for _ in range(2))
    assert first == again
    assert sum(entry["model_name"] == "sent-twice" for entry in fleet.models().values()) == 2


def test_10_a_second_model_of_a_team_keeps_the_alias_of_the_first(fleet: Fleet) -> None:
    team_id = _team(fleet, model_aliases={"fast": "gpt-mini"})
    for name in ("first", "second"):
        stored(fleet, name, info={"team_id": team_id})
    send(fleet, "POST", "/team/update", {"team_id": team_id, "model_aliases": {"slow": "gpt"}})
    aliases = _shown_team(fleet, team_id)["litellm_model_table"]["model_aliases"]
    assert set(aliases) == {"first", "second", "fast", "slow"}


def test_11_what_is_deleted_is_gone_from_every_read(fleet: Fleet) -> None:
    model_id = stored(fleet, "a-ghost")
    answer = send(fleet, "POST", "/model/delete", {"id": model_id})
    assert answer["message"] == f"Model: {model_id} deleted successfully"
    assert model_id not in fleet.models()
    assert "a-ghost" not in [entry["id"] for entry in send(fleet, "GET", "/models")["data"]]
    assert fleet.http.get("/models/a-ghost").status_code == 404
    assert send(fleet, "GET", f"/v2/model/info?modelId={model_id}")["total_count"] == 0


def test_11_a_model_of_a_team_that_is_deleted_leaves_neither_alias_nor_name(fleet: Fleet) -> None:
    team_id = _team(fleet, models=["gpt"])
    model_id = stored(fleet, "own", info={"team_id": team_id})
    assert _shown_team(fleet, team_id)["models"] == ["gpt", "own"]
    send(fleet, "POST", "/model/delete", {"id": model_id})
    team = _shown_team(fleet, team_id)
    assert (team["models"], team["litellm_model_table"]) == (["gpt"], None)


def test_12_no_model_is_left_that_nobody_could_delete(fleet: Fleet) -> None:
    team_id = _team(fleet)
    model_id = stored(fleet, "own", info={"team_id": team_id})
    assert send(fleet, "POST", "/team/delete", {"team_ids": [team_id]})["deleted_models"] == [model_id]
    refusal(fleet.http.post("/model/delete", json={"id": model_id}), 404, "model_not_found")
    assert [entry["operation"] for entry in fleet.audit(object_id=model_id)][-2:] == ["team.delete", "model.delete"]


def test_13_the_audit_entry_is_there_with_the_change(fleet: Fleet) -> None:
    model_id = stored(fleet)
    _patch(fleet, model_id, {"litellm_params": {"rpm": 1}})
    send(fleet, "POST", "/model/block", {"model_id": model_id})
    send(fleet, "POST", "/model/unblock", {"model_id": model_id})
    send(fleet, "POST", f"/model/{model_id}/rollback", {"version": 1})
    send(fleet, "POST", "/model/delete", {"id": model_id})
    actions = [entry["action"] for entry in fleet.audit(object_id=model_id)]
    assert actions == ["created", "updated", "blocked", "unblocked", "rolled_back", "deleted"]


def test_14_an_audit_entry_says_who_when_before_after_and_for_which_request(fleet: Fleet) -> None:
    model_id = stored(fleet, api_key=fleet.canary("a key that is replaced"))
    body = {"litellm_params": {"api_key": fleet.canary("a key of a change"), "rpm": 7}}
    headers = {"litellm-changed-by": "terraform", "X-Request-Id": "request-14"}
    send(fleet, "PATCH", f"/model/{model_id}/update", body, headers)
    entry = fleet.audit(object_id=model_id)[-1]
    assert (entry["changed_by"], entry["actor"], entry["request_id"]) == ("terraform", "default_user_id", "request-14")
    before, after = entry["before_value"]["litellm_params"], entry["updated_values"]["litellm_params"]
    assert ("rpm" in before, after["rpm"]) == (False, 7)
    assert before["api_key"].startswith("fp:")
    assert after["api_key"].startswith("fp:")
    assert before["api_key"] != after["api_key"]


def test_15_sealing_leaves_the_answer_and_the_retry_as_they_were_sent(fleet: Fleet) -> None:
    body = a_model("plain", api_base="https://north.example.com/v1", nested={"text": ["a", {"b": "c"}]})
    body["model_info"] = {"id": "m-" + new_id()}
    for _ in range(2):
        assert send(fleet, "POST", "/model/new", body)["litellm_params"] == body["litellm_params"]


def test_16_the_alert_names_the_model_as_people_know_it(fleet: Fleet, slack: Receiver) -> None:
    fleet.all_told()
    stored(fleet, "known-to-people")
    until(lambda: any("known-to-people" in received.body.decode() for received in slack.requests))


def test_17_a_change_of_what_has_changed_meanwhile_is_refused(fleet: Fleet) -> None:
    model_id = stored(fleet)
    seen = etag_of(fleet, model_id)
    path = f"/model/{model_id}/update"
    first = fleet.http.patch(path, json={"litellm_params": {"rpm": 1}}, headers={"If-Match": seen})
    assert first.headers["etag"] == etag_of(fleet, model_id) != seen
    second = fleet.http.patch(path, json={"litellm_params": {"rpm": 2}}, headers={"If-Match": seen})
    assert refusal(second, 412, "precondition_failed")["param"] == "If-Match"
    assert shown(fleet, model_id)["litellm_params"]["rpm"] == 1


def test_17_parallel_changes_of_different_parameters_are_all_kept(fleet: Fleet) -> None:
    model_id = stored(fleet)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: _patch(fleet, model_id, {"litellm_params": {f"setting_{n}": n}}), range(24)))
    params = shown(fleet, model_id)["litellm_params"]
    assert params == {"model": "openai/gpt-4o", **{f"setting_{n}": n for n in range(24)}}


def test_18_a_taken_id_and_a_bad_body_are_refused_by_name(fleet: Fleet) -> None:
    model_id = stored(fleet)
    taken = fleet.http.post("/model/new", json=a_model("other", model_id=model_id))
    assert refusal(taken, 409, "model_exists")["param"] == "model_info.id"
    for body, field in (
        ({"litellm_params": {"model": "openai/x"}}, "model_name"),
        ({"model_name": "x"}, "litellm_params"),
        ({"model_name": "x", "litellm_params": {}}, "litellm_params.model"),
        ({"model_name": "x", "litellm_params": {"model": ""}}, "litellm_params.model"),
        ({"model_name": "x", "litellm_params": {"model": "m", "rpm": "many"}}, "litellm_params.rpm"),
    ):
        assert refusal(fleet.http.post("/model/new", json=body), 422, "invalid_request")["param"] == field


def test_19_what_is_missing_is_missing_in_one_way(fleet: Fleet) -> None:
    for method, path, body in (
        ("POST", "/model/update", {"model_info": {"id": "of-none"}}),
        ("PATCH", "/model/of-none/update", {}),
        ("POST", "/model/delete", {"id": "of-none"}),
        ("POST", "/model/block", {"model_id": "of-none"}),
        ("POST", "/model/unblock", {"model_id": "of-none"}),
        ("POST", "/model/of-none/rollback", {"version": 1}),
        ("GET", "/model/of-none/history", None),
    ):
        error = refusal(fleet.http.request(method, path, json=body), 404, "model_not_found")
        assert error["type"] == "not_found_error"
        assert "model not found" in error["message"]
        assert "not found in db" in error["message"]


def test_20_every_refusal_has_the_type_of_its_kind(fleet: Fleet) -> None:
    bad = refusal(fleet.http.post("/model/new", json={}), 422, "invalid_request")
    gone = refusal(fleet.http.post("/model/delete", json={"id": "of-none"}), 404, "model_not_found")
    assert (bad["type"], gone["type"]) == ("invalid_request_error", "not_found_error")


def test_21_nested_secrets_are_sealed_and_nobody_is_shown_ciphertext(fleet: Fleet) -> None:
    secret = fleet.canary("a header deep inside")
    model_id = stored(fleet, extra_headers={"Authorization": f"Bearer {secret}", "X-Plain": "kept"})
    assert shown(fleet, model_id)["litellm_params"]["extra_headers"] == {"X-Plain": "kept"}
    (row,) = fleet.select("SELECT litellm_params FROM model WHERE model_id = %s", model_id)
    assert row["litellm_params"]["extra_headers"]["Authorization"].startswith("pm1:")
    for path in ("/model/info", "/v2/model/info", "/audit", "/tasks", f"/model/{model_id}/history"):
        assert "pm1:" not in fleet.http.get(path).text


def test_22_nobody_moves_a_model_to_a_team_without_rights_in_it(fleet: Fleet) -> None:
    user_id = "u-" + new_id()
    own = _team(fleet, members_with_roles=[{"user_id": user_id, "role": "admin"}])
    joined = _team(fleet, members_with_roles=[{"user_id": user_id, "role": "user"}])
    key = send(fleet, "POST", "/user/new", {"user_id": user_id, "user_role": "internal_user"})["key"]
    headers = {"Authorization": f"Bearer {key}"}
    model_id = stored(fleet, "own", info={"team_id": own})
    for other, status, code in ((joined, 403, "not_permitted"), (_team(fleet), 400, "unknown_team")):
        body = {"id": model_id, "model_info": {"id": model_id, "team_id": other}}
        refusal(fleet.http.patch(f"/model/{model_id}/update", json=body, headers=headers), status, code)
        refusal(fleet.http.post("/model/update", json=body, headers=headers), status, code)
    assert shown(fleet, model_id)["model_info"]["team_id"] == own


def test_23_there_are_limits_and_lists_with_filters(fleet: Fleet) -> None:
    stored(fleet, "to-be-found-1")
    stored(fleet, "to-be-found-2")
    found = send(fleet, "GET", "/v2/model/info?search=BE-FOUND&sortBy=model_name&sortOrder=desc&size=1")
    assert (found["total_count"], found["total_pages"], found["current_page"], found["size"]) == (2, 2, 1, 1)
    assert [entry["model_name"] for entry in found["data"]] == ["to-be-found-2"]
    refusal(fleet.http.post("/model/new", json=a_model(padding="x" * 2_000_000)), 413, "body_too_large")


def test_24_keys_teams_and_access_groups_follow_a_rename(fleet: Fleet) -> None:
    name = "renamed-" + new_id()
    model_id = stored(fleet, name, info={"access_groups": ["beta"]})
    team_id = _team(fleet, models=["gpt", name])
    token = send(fleet, "POST", "/key/generate", {"models": [name]})["token"]
    send(fleet, "PATCH", f"/model/{model_id}/update", {"model_name": name + "-next"})
    assert _shown_team(fleet, team_id)["models"] == ["gpt", name + "-next"]
    assert send(fleet, "GET", f"/key/info?key={token}")["info"]["models"] == [name + "-next"]
    (entry,) = send(fleet, "GET", f"/v2/model/info?access_group=beta&search={name}")["data"]
    assert entry["model_name"] == name + "-next"


def test_25_a_write_is_read_at_once_without_any_reload(fleet: Fleet) -> None:
    for n in range(5):
        model_id = stored(fleet, f"at-once-{n}")
        assert model_id in fleet.models()
        assert send(fleet, "GET", f"/models/at-once-{n}")["id"] == f"at-once-{n}"
        assert send(fleet, "GET", f"/v2/model/info?modelId={model_id}")["total_count"] == 1


def test_26_flags_that_a_change_does_not_name_stay_set(fleet: Fleet) -> None:
    flags = {"use_in_pass_through": True, "merge_reasoning_content_in_choices": True, "use_litellm_proxy": True}
    model_id = stored(fleet, **flags)
    _patch(fleet, model_id, {"litellm_params": {"rpm": 1}})
    send(fleet, "POST", "/model/update", {"model_info": {"id": model_id}, "litellm_params": {"tpm": 1}})
    assert shown(fleet, model_id)["litellm_params"] == {"model": "openai/gpt-4o", **flags, "rpm": 1, "tpm": 1}
