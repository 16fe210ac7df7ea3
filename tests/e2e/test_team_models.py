"""Models of teams when many things happen at a time: nothing is lost, doubled, orphaned or left behind."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from shared.domain.team_models import ALL_MODELS, internal_name
from shared.runtime.clock import new_id
from tests.support.clients import send
from tests.support.fleet import APPLY, Fleet, a_model, running_fleet

pytestmark = [pytest.mark.xdist_group("team models"), pytest.mark.timeout(300)]

Json = dict[str, Any]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """With two workers that apply, so that batches overlap."""
    with running_fleet(tmp_path_factory) as fleet, fleet.another(APPLY):
        yield fleet


def a_team(fleet: Fleet, **fields: Any) -> str:
    team_id = "t-" + new_id()
    send(fleet, "POST", "/team/new", {"team_id": team_id, **fields}, {"Prefer": "wait=20"})
    return team_id


def of_team(team_id: str, name: str, model_id: str | None = None) -> Json:
    body = a_model(name, model_id=model_id)
    return {**body, "model_info": {**body.get("model_info", {}), "team_id": team_id}}


def shown(fleet: Fleet, team_id: str) -> Json:
    return send(fleet, "GET", f"/team/info?team_id={team_id}")["team_info"]


def sent(fleet: Fleet, path: str, body: Json) -> str:
    """The id of the task, once it is accepted."""
    response = fleet.http.post(path, json=body)
    assert response.status_code == 202, response.text
    return response.json()["task_id"]


def test_fifty_at_a_time_make_fifty_models_aliases_and_names(fleet: Fleet) -> None:
    team_id = a_team(fleet, models=["gpt"])
    names = [f"own-{n}" for n in range(50)]
    with ThreadPoolExecutor(25) as pool:
        task_ids = list(pool.map(lambda name: fleet.accepted(of_team(team_id, name)), names))
    fleet.all_succeed(task_ids)
    (team, models) = shown(fleet, team_id), send(fleet, "GET", f"/model/info?teamId={team_id}")["data"]
    assert {entry["model_name"] for entry in models} == set(names)
    assert len(models) == 50
    assert sorted(team["models"]) == sorted([*names, "gpt"])
    assert team["litellm_model_table"]["model_aliases"] == {name: internal_name(team_id, name) for name in names}
    stored = fleet.select("SELECT model_name FROM model WHERE team_id = %s", team_id)
    assert {row["model_name"] for row in stored} == {internal_name(team_id, name) for name in names}


def test_fifty_of_one_name_are_one_group_of_fifty(fleet: Fleet) -> None:
    team_id = a_team(fleet)
    with ThreadPoolExecutor(25) as pool:
        fleet.all_succeed(list(pool.map(lambda _: fleet.accepted(of_team(team_id, "shared")), range(50))))
    stored = fleet.select("SELECT model_name, public_name FROM model WHERE team_id = %s", team_id)
    assert [tuple(row.values()) for row in stored] == [(internal_name(team_id, "shared"), "shared")] * 50
    assert shown(fleet, team_id)["models"] == [ALL_MODELS, "shared"]


def test_changes_of_a_team_and_its_models_at_a_time_leave_what_each_says(fleet: Fleet) -> None:
    team_id, other = a_team(fleet), a_team(fleet)
    ids = ["m-" + new_id() for _ in range(20)]
    fleet.all_succeed([fleet.accepted(of_team(team_id, f"own-{n}", model_id)) for n, model_id in enumerate(ids)])
    changes: list[tuple[str, Json]] = []
    for n, model_id in enumerate(ids):
        if n % 4 == 0:
            changes.append(("/model/delete", {"id": model_id}))
        elif n % 4 == 1:
            changes.append(("/model/update", {"id": model_id, "model_name": f"renamed-{n}"}))
        elif n % 4 == 2:
            changes.append(("/model/update", {"id": model_id, "model_info": {"team_id": other}}))
        changes.append(("/team/member_add", {"team_id": team_id, "member": {"user_id": f"u-{n}"}}))
    with ThreadPoolExecutor(20) as pool:
        fleet.all_succeed(list(pool.map(lambda change: sent(fleet, *change), changes)))
    left = {f"renamed-{n}" for n in range(1, 20, 4)} | {f"own-{n}" for n in range(3, 20, 4)}
    moved = {f"own-{n}" for n in range(2, 20, 4)}
    for where, names in ((team_id, left), (other, moved)):
        team = shown(fleet, where)
        assert set(team["models"]) == {ALL_MODELS, *names}
        assert set(team["litellm_model_table"]["model_aliases"]) == names
    assert len(shown(fleet, team_id)["members"]) == 21


def test_the_end_of_a_team_that_races_with_its_models_leaves_no_orphan(fleet: Fleet) -> None:
    for _ in range(8):
        team_id, home = a_team(fleet), a_team(fleet)
        ids = ["m-" + new_id() for _ in range(6)]
        fleet.all_succeed([fleet.accepted(of_team(home, "coming", model_id)) for model_id in ids])
        requests: list[tuple[str, Json]] = [
            *(("/model/new", of_team(team_id, f"own-{n}")) for n in range(10)),
            *(("/model/update", {"id": model_id, "model_info": {"team_id": team_id}}) for model_id in ids),
        ]
        requests.insert(7, ("/team/delete", {"team_ids": [team_id]}))
        with ThreadPoolExecutor(17) as pool:
            responses = list(pool.map(lambda request: fleet.http.post(request[0], json=request[1]), requests))
        # What came after the end of the team was accepted is refused at once, or when its turn comes.
        assert {response.status_code for response in responses} <= {202, 400}, [r.text for r in responses]
        ended = [fleet.ended(r.json()["task_id"]) for r in responses if r.status_code == 202]
        (deletion,) = [task for task in ended if task["operation"] == "team.delete"]
        assert deletion["status"] == "succeeded", deletion
        others = {(task["status"], (task["error"] or {}).get("type")) for task in ended if task is not deletion}
        assert others <= {("succeeded", None), ("failed", "urn:pointsman:problem:unknown_team")}
        orphans = fleet.select("SELECT model_id FROM model WHERE team_id = %s", team_id)
        assert not orphans
        went = {entry["object_id"] for entry in fleet.audit(action="deleted", table_name="LiteLLM_ProxyModelTable")}
        assert set(deletion["result"]["deleted_models"]) <= went


def test_teams_that_end_crosswise_do_not_lock_each_other_out(fleet: Fleet) -> None:
    teams = [a_team(fleet) for _ in range(12)]
    fleet.all_succeed([fleet.accepted(of_team(team_id, "own")) for team_id in teams])
    pairs = [(teams[n], teams[(n + 6) % 12]) for n in range(12)]
    requests = [
        *(("/team/delete", {"team_ids": list(pair)}) for pair in pairs),
        *(("/team/model/add", {"team_id": team_id, "models": ["gpt"]}) for team_id in teams),
    ]
    with ThreadPoolExecutor(24) as pool:
        responses = list(pool.map(lambda request: fleet.http.post(request[0], json=request[1]), requests))
    ended = [fleet.ended(r.json()["task_id"]) for r in responses if r.status_code == 202]
    assert {task["status"] for task in ended} <= {"succeeded", "failed"}
    assert {task["error"]["type"] for task in ended if task["error"]} <= {"urn:pointsman:problem:team_not_found"}
    assert not fleet.select("SELECT team_id FROM team WHERE team_id = ANY(%s)", teams)
    assert not fleet.select("SELECT model_id FROM model WHERE team_id = ANY(%s)", teams)
