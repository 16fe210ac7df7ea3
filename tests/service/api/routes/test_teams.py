"""Teams over HTTP, and the models that belong to them."""

from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from shared.domain.team_models import ALL_MODELS, NO_MODELS, internal_name
from tests.service.building import Side, a_model

Json = dict[str, Any]


async def sent(client: httpx.AsyncClient, side: Side, path: str, body: Json) -> Json:
    """The task of a write, when it has ended."""
    response = await client.post(path, json=body)
    assert response.status_code == 202, response.text
    side.drain.drain()
    return (await client.get(f"/tasks/{response.json()['task_id']}")).json()


async def done(client: httpx.AsyncClient, side: Side, path: str, body: Json) -> Json:
    """What a write answers that succeeds."""
    task = await sent(client, side, path, body)
    assert task["status"] == "succeeded", task
    return task["result"]


async def info(client: httpx.AsyncClient, team_id: str = "t-1") -> Json:
    return (await client.get("/team/info", params={"team_id": team_id})).json()["team_info"]


async def entries(client: httpx.AsyncClient) -> dict[str, Json]:
    """What reads show of all models, by id."""
    return {entry["model_info"]["id"]: entry for entry in (await client.get("/model/info")).json()["data"]}


def of_team(team_id: str = "t-1", model_id: str = "m-1", name: str = "own") -> Json:
    return a_model(name, info={"id": model_id, "team_id": team_id})


async def test_a_team_is_made_shown_changed_and_deleted(client: httpx.AsyncClient, side: Side) -> None:
    body = {"team_id": "t-1", "team_alias": "A", "models": ["gpt"], "max_budget": 5, "metadata": {"cost_centre": "7"}}
    made = await done(client, side, "/team/new", body)
    assert made["members_with_roles"] == [{"user_id": "default_user_id", "user_email": None, "role": "admin"}]
    assert await info(client) == made
    changed = await done(client, side, "/team/update", {"team_id": "t-1", "max_budget": None, "tags": ["x"]})
    assert (changed["team_id"], changed["data"]["max_budget"], changed["data"]["tags"]) == ("t-1", None, ["x"])
    deleted = await done(client, side, "/team/delete", {"team_ids": ["t-1"]})
    assert deleted == {"deleted_teams": ["t-1"], "deleted_models": [], "deleted_keys": []}
    gone = await client.get("/team/info?team_id=t-1")
    assert gone.status_code == 404
    assert "not found" in gone.text
    assert "doesn't exist in db" in gone.json()["detail"]


async def test_a_create_that_is_sent_again_is_the_same_task(client: httpx.AsyncClient, side: Side) -> None:
    body = {"team_id": "t-1", "team_alias": "A"}
    first = await client.post("/team/new", json=body)
    queued = await client.post("/team/new", json=body)
    side.drain.drain()
    stored = await client.post("/team/new", json=body)
    ids = {response.json()["task_id"] for response in (first, queued, stored)}
    assert len(ids) == 1
    other = await client.post("/team/new", json={**body, "team_alias": "B"})
    assert (other.status_code, other.json()["error"]["param"]) == (409, "team_id")


async def test_the_read_of_a_team_carries_the_tag_that_a_change_may_demand(
    client: httpx.AsyncClient, side: Side
) -> None:
    await done(client, side, "/team/new", {"team_id": "t-1"})
    tag = (await client.get("/team/info?team_id=t-1")).headers["etag"]
    await done(client, side, "/team/block", {"team_id": "t-1"})
    late = await client.post("/team/update", json={"team_id": "t-1"}, headers={"If-Match": tag})
    assert late.status_code == 412
    assert (await info(client))["blocked"] is True
    await done(client, side, "/team/unblock", {"team_id": "t-1"})
    assert (await info(client))["blocked"] is False


async def test_members_come_change_and_go(client: httpx.AsyncClient, side: Side) -> None:
    await done(client, side, "/team/new", {"team_id": "t-1"})
    member = {"role": "user", "user_id": "ann", "user_email": "ann@example.com"}
    added = await done(
        client, side, "/team/member_add", {"team_id": "t-1", "member": [member], "max_budget_in_team": 7.5}
    )
    assert added["updated_users"] == [{"user_id": "ann", "user_email": "ann@example.com"}]
    assert added["updated_team_memberships"][0]["litellm_budget_table"] == {"max_budget": 7.5}
    changed = await done(client, side, "/team/member_update", {"team_id": "t-1", "user_id": "ann", "role": "admin"})
    assert (changed["role"], changed["max_budget_in_team"]) == ("admin", 7.5)
    shown = (await client.get("/team/info?team_id=t-1")).json()
    assert {**member, "role": "admin"} in shown["team_info"]["members_with_roles"]
    assert [entry["user_id"] for entry in shown["team_memberships"]] == ["default_user_id", "ann"]
    await done(client, side, "/team/member_delete", {"team_id": "t-1", "user_email": "ann@example.com"})
    assert (await info(client))["members"] == ["default_user_id"]


async def test_a_member_who_is_in_already_is_refused_in_terraforms_words(client: httpx.AsyncClient, side: Side) -> None:
    await done(client, side, "/team/new", {"team_id": "t-1", "members_with_roles": [{"user_id": "ann"}]})
    task = await sent(client, side, "/team/member_add", {"team_id": "t-1", "member": {"user_id": "ann"}})
    assert (task["status"], task["error"]["status"]) == ("failed", 400)
    assert "team_member_already_in_team" in task["error"]["error"]["message"]
    assert task["error"]["error"]["type"] == "team_member_already_in_team"


async def test_an_address_stands_for_the_user_that_has_it(
    client: httpx.AsyncClient, side: Side, engine: Engine
) -> None:
    await done(client, side, "/user/new", {"user_id": "ann", "user_email": "Ann@example.com", "auto_create_key": False})
    await done(client, side, "/team/new", {"team_id": "t-1"})
    people = [{"user_email": "ann@EXAMPLE.com"}, {"user_email": "nobody@example.com"}]
    await done(client, side, "/team/bulk_member_add", {"team_id": "t-1", "members": people})
    assert (await info(client))["members"] == ["default_user_id", "ann"]


async def test_teams_are_listed_and_found(client: httpx.AsyncClient, side: Side) -> None:
    for team_id, alias in (("t-1", "North"), ("t-2", "South"), ("t-3", "South-East")):
        await done(client, side, "/team/new", {"team_id": team_id, "team_alias": alias, "organization_id": alias[0]})
    await done(client, side, "/team/member_add", {"team_id": "t-2", "member": {"user_id": "ann"}})
    listed = (await client.get("/team/list")).json()
    assert [team["team_id"] for team in listed] == ["t-1", "t-2", "t-3"]
    assert listed[0].keys() >= {"keys", "team_memberships"}

    async def found(**query: str) -> list[str]:
        page = (await client.get("/v2/team/list", params=query)).json()
        assert page["total"] == len(page["teams"])
        return [team["team_id"] for team in page["teams"]]

    assert await found(team_alias="south") == ["t-2", "t-3"]
    assert await found(search="t-1") == ["t-1"]
    assert await found(team_id="t-", search_team_id_match="prefix", sort_order="desc") == ["t-3", "t-2", "t-1"]
    assert await found(user_id="ann") == ["t-2"]
    assert await found(organization_id="N") == ["t-1"]
    assert await found(status="deleted") == []
    page = (await client.get("/v2/team/list?page=2&page_size=2&sort_by=team_alias")).json()
    assert ([team["team_id"] for team in page["teams"]], page["total"], page["total_pages"]) == (["t-3"], 3, 2)
    assert (page["teams"][0]["members_count"], page["teams"][0]["keys_count"]) == (1, 0)


async def test_permissions_are_kept_for_the_gateway(client: httpx.AsyncClient, side: Side) -> None:
    await done(client, side, "/team/new", {"team_id": "t-1"})
    wanted = {"team_id": "t-1", "team_member_permissions": ["/key/generate"]}
    await done(client, side, "/team/permissions_update", wanted)
    shown = (await client.get("/team/permissions_list?team_id=t-1")).json()
    assert shown["team_member_permissions"] == ["/key/generate"]
    assert (await client.get("/team/available")).json() == []


# --- models of teams ---


async def test_a_model_of_a_team_shows_its_public_name_and_its_team(client: httpx.AsyncClient, side: Side) -> None:
    await done(client, side, "/team/new", {"team_id": "t-1"})
    row = await done(client, side, "/model/new", of_team())
    for shown in (row, (await entries(client))["m-1"]):
        assert shown["model_name"] == "own"
        assert shown["model_info"]["team_id"] == "t-1"
        assert shown["model_info"]["team_public_model_name"] == "own"
    team = await info(client)
    assert team["models"] == [ALL_MODELS, "own"]
    assert team["litellm_model_table"]["model_aliases"] == {"own": internal_name("t-1", "own")}
    assert [entry["id"] for entry in (await client.get("/models")).json()["data"]] == ["own"]


async def test_a_model_may_be_made_in_a_team_that_is_only_queued(client: httpx.AsyncClient, side: Side) -> None:
    responses = [
        await client.post("/team/new", json={"team_id": "t-1"}),
        await client.post("/model/new", json=of_team()),
        await client.post("/model/m-1/rollback", json={"version": 1}),
        await client.post("/team/delete", json={"team_ids": ["t-1"]}),
        await client.post("/team/new", json={"team_id": "t-1", "team_alias": "again"}),
    ]
    assert [response.status_code for response in responses] == [202] * 5
    side.drain.drain()
    tasks = (await client.get("/tasks")).json()["data"]
    assert [task["status"] for task in tasks] == ["succeeded"] * 5, tasks
    assert await entries(client) == {}
    assert (await info(client))["team_alias"] == "again"


async def test_the_end_of_several_is_known_in_the_line_of_each(client: httpx.AsyncClient, side: Side) -> None:
    for team_id in ("t-1", "t-2"):
        await done(client, side, "/team/new", {"team_id": team_id})
    await client.post("/team/delete", json={"team_ids": ["t-1", "t-2"]})
    for team_id in ("t-1", "t-2"):
        assert (await client.post("/team/block", json={"team_id": team_id})).status_code == 404
        assert (await client.post("/model/new", json=of_team(team_id))).status_code == 400
        assert (await client.post("/team/new", json={"team_id": team_id, "team_alias": "again"})).status_code == 202
    side.drain.drain()
    assert [team["team_alias"] for team in (await client.get("/team/list")).json()] == ["again", "again"]


async def test_a_model_of_no_team_or_of_an_unknown_one_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.post("/model/new", json=of_team("of-nobody"))
    assert (response.status_code, response.json()["error"]["param"]) == (400, "model_info.team_id")
    assert "does not exist in db" in response.json()["error"]["message"]


@pytest.mark.parametrize("name", ["all-proxy-models", "no-default-models", "all-team-models"])
async def test_a_model_of_a_team_is_not_called_like_many(client: httpx.AsyncClient, side: Side, name: str) -> None:
    await done(client, side, "/team/new", {"team_id": "t-1"})
    response = await client.post("/model/new", json=of_team(name=name))
    assert (response.status_code, response.json()["error"]["param"]) == (422, "model_name")


async def test_two_models_of_one_name_form_a_group(client: httpx.AsyncClient, side: Side) -> None:
    await done(client, side, "/team/new", {"team_id": "t-1"})
    for model_id in ("m-1", "m-2"):
        await done(client, side, "/model/new", of_team(model_id=model_id))
    assert (await info(client))["models"] == [ALL_MODELS, "own"]
    await done(client, side, "/model/delete", {"id": "m-1"})
    assert (await info(client))["models"] == [ALL_MODELS, "own"]
    await done(client, side, "/model/delete", {"id": "m-2"})
    team = await info(client)
    assert (team["models"], team["litellm_model_table"]) == ([], None)


async def test_a_rename_and_a_move_leave_no_name_behind(client: httpx.AsyncClient, side: Side) -> None:
    for team_id in ("t-1", "t-2"):
        await done(client, side, "/team/new", {"team_id": team_id, "models": ["gpt"]})
    await done(client, side, "/model/new", of_team())
    await done(client, side, "/model/update", {"id": "m-1", "model_name": "renamed"})
    team = await info(client)
    assert team["models"] == ["gpt", "renamed"]
    assert team["litellm_model_table"]["model_aliases"] == {"renamed": internal_name("t-1", "renamed")}
    moved = await done(client, side, "/model/update", {"id": "m-1", "model_info": {"team_id": "t-2"}})
    assert moved["model_info"]["team_id"] == "t-2"
    assert ((await info(client, "t-1"))["models"], (await info(client, "t-2"))["models"]) == (
        ["gpt"],
        ["gpt", "renamed"],
    )
    assert (await info(client, "t-1"))["litellm_model_table"] is None


async def test_a_model_comes_to_a_team(client: httpx.AsyncClient, side: Side) -> None:
    await done(client, side, "/team/new", {"team_id": "t-1"})
    await done(client, side, "/model/new", a_model("free", info={"id": "m-1"}))
    row = await done(client, side, "/model/update", {"id": "m-1", "model_info": {"team_id": "t-1"}})
    assert (row["model_name"], row["model_info"]["team_public_model_name"]) == ("free", "free")
    assert (await info(client))["models"] == [ALL_MODELS, "free"]


async def test_the_internal_name_sent_back_is_no_rename(client: httpx.AsyncClient, side: Side) -> None:
    await done(client, side, "/team/new", {"team_id": "t-1"})
    await done(client, side, "/model/new", of_team())
    body = {"id": "m-1", "model_name": internal_name("t-1", "own"), "litellm_params": {"rpm": 1}}
    assert (await done(client, side, "/model/update", body))["model_name"] == "own"


async def test_a_rollback_restores_the_name_and_not_the_team(client: httpx.AsyncClient, side: Side) -> None:
    for team_id in ("t-1", "t-2"):
        await done(client, side, "/team/new", {"team_id": team_id})
    await done(client, side, "/model/new", of_team())
    await done(client, side, "/model/update", {"id": "m-1", "model_name": "renamed", "model_info": {"team_id": "t-2"}})
    row = await done(client, side, "/model/m-1/rollback", {"version": 1})
    assert (row["model_name"], row["model_info"]["team_id"]) == ("own", "t-2")
    aliases = (await info(client, "t-2"))["litellm_model_table"]["model_aliases"]
    assert aliases == {"own": internal_name("t-2", "own")}
    assert (await info(client, "t-1"))["models"] == []


async def test_a_model_of_a_team_is_blocked_and_unblocked(client: httpx.AsyncClient, side: Side) -> None:
    await done(client, side, "/team/new", {"team_id": "t-1"})
    await done(client, side, "/model/new", of_team())
    assert (await done(client, side, "/model/block", {"model_id": "m-1"}))["blocked"] is True
    assert (await done(client, side, "/model/unblock", {"model_id": "m-1"}))["blocked"] is False


async def test_the_history_tells_of_names_as_people_know_them(client: httpx.AsyncClient, side: Side) -> None:
    await done(client, side, "/team/new", {"team_id": "t-1"})
    await done(client, side, "/model/new", of_team())
    await done(client, side, "/model/update", {"id": "m-1", "model_name": "renamed"})
    newest = (await client.get("/model/m-1/history")).json()["data"][0]
    assert newest["changes"] == [{"field": "model_name", "before": "own", "after": "renamed"}]


async def test_what_a_team_may_call_is_added_and_removed(client: httpx.AsyncClient, side: Side) -> None:
    await done(client, side, "/team/new", {"team_id": "t-1", "models": ["gpt"]})
    await done(client, side, "/model/new", of_team())
    added = await done(client, side, "/team/model/add", {"team_id": "t-1", "models": ["claude", "own"]})
    assert added["models"] == ["gpt", "claude", "own"]
    removed = await done(client, side, "/team/model/delete", {"team_id": "t-1", "models": ["gpt", "claude"]})
    assert removed["models"] == ["own"]
    await done(client, side, "/model/delete", {"id": "m-1"})
    assert (await info(client))["models"] == [NO_MODELS]


async def test_the_list_that_a_dashboard_sends_back_leaves_no_ghosts(client: httpx.AsyncClient, side: Side) -> None:
    await done(client, side, "/team/new", {"team_id": "t-1"})
    await done(client, side, "/model/new", of_team())
    team = await info(client)
    body = {
        "team_id": "t-1",
        "models": team["models"],
        "model_aliases": team["litellm_model_table"]["model_aliases"],
    }
    await done(client, side, "/team/update", body)
    await done(client, side, "/model/delete", {"id": "m-1"})
    left = await info(client)
    assert (left["models"], left["litellm_model_table"]) == ([ALL_MODELS], None)


async def test_a_team_goes_with_its_models_and_the_audit_says_which(client: httpx.AsyncClient, side: Side) -> None:
    for team_id in ("t-1", "t-2", "t-3"):
        await done(client, side, "/team/new", {"team_id": team_id})
    for model_id, team_id in (("m-1", "t-1"), ("m-2", "t-1"), ("m-3", "t-2"), ("m-4", "t-3")):
        await done(client, side, "/model/new", of_team(team_id, model_id))
    await done(client, side, "/model/new", a_model("free", info={"id": "m-5"}))
    task = await sent(client, side, "/team/delete", {"team_ids": ["t-1", "t-2"]})
    assert task["result"] == {
        "deleted_teams": ["t-1", "t-2"],
        "deleted_models": ["m-1", "m-2", "m-3"],
        "deleted_keys": [],
    }
    assert set(await entries(client)) == {"m-4", "m-5"}
    logged = (await client.get("/audit?page_size=100&action=deleted")).json()["audit_logs"]
    assert {(entry["object_type"], entry["object_id"], entry["task_id"]) for entry in logged} == {
        (object_type, object_id, task["task_id"])
        for object_type, object_id in (
            ("team", "t-1"),
            ("team", "t-2"),
            ("model", "m-1"),
            ("model", "m-2"),
            ("model", "m-3"),
        )
    }
    history = (await client.get("/model/m-1/history")).json()["data"]
    assert history[0]["is_deletion"]


async def test_a_team_that_is_missing_keeps_the_others(client: httpx.AsyncClient, side: Side) -> None:
    await done(client, side, "/team/new", {"team_id": "t-1"})
    response = await client.post("/team/delete", json={"team_ids": ["t-1", "t-9"]})
    assert response.status_code == 404
    assert "doesn't exist" in response.json()["detail"]
    assert (await info(client))["team_id"] == "t-1"


async def test_a_credential_can_go_after_the_team_whose_models_used_it(client: httpx.AsyncClient, side: Side) -> None:
    credential = {"credential_name": "shared", "credential_info": {}, "credential_values": {"retries": 1}}
    with_credential = of_team()
    with_credential["litellm_params"]["litellm_credential_name"] = "shared"
    responses = [
        await client.post("/credentials", json=credential),
        await client.post("/team/new", json={"team_id": "t-1"}),
        await client.post("/model/new", json=with_credential),
    ]
    side.drain.drain()
    responses += [
        await client.post("/team/delete", json={"team_ids": ["t-1"]}),
        await client.delete("/credentials/shared"),
    ]
    assert [response.status_code for response in responses] == [202] * 5
    side.drain.drain()
    tasks = (await client.get("/tasks")).json()["data"]
    assert [task["status"] for task in tasks] == ["succeeded"] * 5, tasks


# --- lists that name models ---


async def test_lists_follow_a_group_when_its_last_model_is_renamed(client: httpx.AsyncClient, side: Side) -> None:
    await done(client, side, "/team/new", {"team_id": "t-1", "models": ["gpt", "claude"]})
    await done(client, side, "/team/new", {"team_id": "t-2", "models": ["gpt"]})
    await done(client, side, "/user/new", {"user_id": "ann", "models": ["gpt"], "auto_create_key": False})
    await done(client, side, "/key/generate", {"key_alias": "free", "models": ["gpt"]})
    for model_id in ("m-1", "m-2"):
        await done(client, side, "/model/new", a_model("gpt", info={"id": model_id}))
    await done(client, side, "/model/new", of_team("t-2", "m-3", "gpt"))

    async def lists() -> list[list[str]]:
        key = (await client.get("/key/list?return_full_object=true")).json()["keys"][0]
        user = (await client.get("/user/info?user_id=ann")).json()["user_info"]
        teams = [(await info(client, team_id))["models"] for team_id in ("t-1", "t-2")]
        return [key["models"], user["models"], *teams]

    await done(client, side, "/model/update", {"id": "m-1", "model_name": "gpt-next"})
    assert await lists() == [["gpt"], ["gpt"], ["gpt", "claude"], ["gpt"]]
    task = await sent(client, side, "/model/update", {"id": "m-2", "model_name": "gpt-next"})
    # The second team means its own model by the name.
    assert await lists() == [["gpt-next"], ["gpt-next"], ["gpt-next", "claude"], ["gpt"]]
    logged = (await client.get("/audit?page_size=100&action=updated")).json()["audit_logs"]
    assert sorted(entry["object_type"] for entry in logged if entry["task_id"] == task["task_id"]) == [
        "key",
        "model",
        "team",
        "user",
    ]


async def test_a_whole_group_that_is_renamed_at_once_takes_its_lists_along(
    client: httpx.AsyncClient, side: Side
) -> None:
    await done(client, side, "/team/new", {"team_id": "t-1", "models": ["gpt"]})
    for n in range(5):
        await done(client, side, "/model/new", a_model("gpt", info={"id": f"m-{n}"}))
    for n in range(5):
        await client.post("/model/update", json={"id": f"m-{n}", "model_name": "between"})
        await client.post("/model/update", json={"id": f"m-{n}", "model_name": "gpt-next"})
    side.drain.drain()
    assert (await info(client))["models"] == ["gpt-next"]


async def test_the_keys_of_a_team_follow_its_model(client: httpx.AsyncClient, side: Side) -> None:
    await done(client, side, "/team/new", {"team_id": "t-1"})
    await done(client, side, "/model/new", of_team())
    await done(client, side, "/key/generate", {"team_id": "t-1", "models": ["own"]})
    await done(client, side, "/key/generate", {"key_alias": "free", "models": ["own"]})
    await done(client, side, "/model/update", {"id": "m-1", "model_name": "renamed"})
    listed = (await client.get("/key/list?return_full_object=true&sort_order=asc")).json()["keys"]
    assert [key["models"] for key in listed] == [["renamed"], ["own"]]
    await done(client, side, "/model/m-1/rollback", {"version": 1})
    assert (await client.get("/team/info?team_id=t-1")).json()["keys"][0]["models"] == ["own"]
