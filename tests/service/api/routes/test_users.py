"""Users over HTTP: with a first key, in teams, changed and removed with all that is theirs."""

import hashlib
from typing import Any

import httpx
import pytest
from psycopg import Connection
from sqlalchemy import Engine

from tests.service.building import Side, store_team

Json = dict[str, Any]


async def added(client: httpx.AsyncClient, side: Side, user_id: str = "ann", **fields: Any) -> httpx.Response:
    """A user, applied. Returns the first answer."""
    response = await client.post("/user/new", json={"user_id": user_id, **fields})
    assert response.status_code == 202, response.text
    side.drain.drain()
    return response


async def ended(client: httpx.AsyncClient, side: Side, response: httpx.Response) -> Json:
    """The task of an accepted request, applied."""
    assert response.status_code == 202, response.text
    side.drain.drain()
    return (await client.get(f"/tasks/{response.json()['task_id']}")).json()


async def info(client: httpx.AsyncClient, user_id: str = "ann") -> Json:
    response = await client.get("/user/info", params={"user_id": user_id})
    assert response.status_code == 200, response.text
    return response.json()


async def test_a_user_comes_with_a_first_key_in_one_commit(client: httpx.AsyncClient, side: Side) -> None:
    sent = {"user_email": "ann@example.com", "models": ["gpt-4o"], "max_budget": 5, "metadata": {"a": 1}}
    response = await client.post("/user/new", json={"user_id": "ann", "key_alias": "first", "duration": "1h", **sent})
    key = response.json()["key"]
    task = await ended(client, side, response)
    token = hashlib.sha256(key.encode()).hexdigest()
    result = task["result"]
    assert (result["user_id"], result["user_role"], result["token"], result["key"]) == (
        "ann",
        "internal_user",
        token,
        token,
    )
    assert {name: result[name] for name in sent} == sent
    shown = await info(client)
    assert {name: shown["user_info"][name] for name in sent} == sent
    (first,) = shown["keys"]
    assert (first["token"], first["user_id"], first["key_alias"], first["models"]) == (
        token,
        "ann",
        "first",
        ["gpt-4o"],
    )
    assert first["expires"] is not None
    audited = (await client.get("/audit")).json()["audit_logs"]
    assert [(entry["object_type"], entry["task_id"]) for entry in audited] == [
        ("key", task["task_id"]),
        ("user", task["task_id"]),
    ]


async def test_a_user_may_come_without_a_key(client: httpx.AsyncClient, side: Side) -> None:
    response = await added(client, side, auto_create_key=False)
    assert "key" not in response.json()
    shown = await info(client)
    assert shown["keys"] == []
    task = (await client.get(f"/tasks/{response.json()['task_id']}")).json()
    assert (task["result"]["key"], task["result"]["token"]) == (None, None)


async def test_a_user_without_an_id_is_given_one(client: httpx.AsyncClient, side: Side) -> None:
    task = await ended(client, side, await client.post("/user/new", json={"user_alias": "Ann"}))
    assert (await info(client, task["object_id"]))["user_info"]["user_alias"] == "Ann"


async def test_a_user_joins_teams(client: httpx.AsyncClient, side: Side, engine: Engine) -> None:
    store_team(engine, "t-1")
    store_team(engine, "t-2", users=["ann"])
    store_team(engine, "t-3")
    task = await ended(
        client, side, await client.post("/user/new", json={"user_id": "ann", "teams": ["t-1", {"team_id": "t-2"}]})
    )
    assert task["result"]["teams"] == ["t-1", "t-2"]
    assert (await info(client))["user_info"]["teams"] == ["t-1", "t-2"]
    missing = await client.post("/user/new", json={"user_id": "bob", "teams": ["nowhere"]})
    assert (missing.status_code, missing.json()["error"]["param"]) == (400, "teams")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"user_id": "default_user_id"}, "user_id"),
        ({"user_id": "key:abc"}, "user_id"),
        ({"user_role": "org_admin"}, "user_role"),
        ({"teams": [7]}, "teams"),
        ({"duration": "soon"}, "duration"),
        ({"password": "hunter2"}, "password"),
    ],
)
async def test_what_makes_no_sense_is_refused_by_name(client: httpx.AsyncClient, body: Json, param: str) -> None:
    response = await client.post("/user/new", json=body)
    assert (response.status_code, response.json()["error"]["param"]) == (422, param)


async def test_an_id_and_an_address_are_taken_once(client: httpx.AsyncClient, side: Side) -> None:
    await added(client, side, user_email="Ann@example.com")
    again = await client.post("/user/new", json={"user_id": "ann", "user_alias": "other"})
    assert (again.status_code, again.json()["error"]["param"]) == (409, "user_id")
    same_address = await client.post("/user/new", json={"user_id": "bob", "user_email": "ann@EXAMPLE.com"})
    task = await ended(client, side, same_address)
    assert (task["status"], task["error"]["status"], task["error"]["error"]["param"]) == ("failed", 409, "user_email")
    assert (await client.get("/key/list")).json()["total_count"] == 1


async def test_an_update_changes_what_it_names(client: httpx.AsyncClient, side: Side) -> None:
    await added(client, side, user_email="ann@example.com", max_budget=5, rpm_limit=6)
    change = {"user_id": "ann", "user_role": "proxy_admin_viewer", "max_budget": 7, "rpm_limit": None}
    task = await ended(client, side, await client.post("/user/update", json=change))
    assert task["result"]["user_id"] == "ann"
    data = task["result"]["data"]
    assert (data["user_role"], data["max_budget"], data["rpm_limit"], data["user_email"]) == (
        "proxy_admin_viewer",
        7,
        None,
        "ann@example.com",
    )
    by_address = {"user_email": "ANN@example.com", "user_alias": "Ann"}
    await ended(client, side, await client.post("/user/update", json=by_address))
    shown = (await client.get("/v2/user/info?user_id=ann")).json()
    assert (shown["user_alias"], shown["user_email"]) == ("Ann", "ann@example.com")
    for body in ({"user_id": "nobody"}, {"user_email": "nobody@example.com"}):
        missing = await client.post("/user/update", json={**body, "user_alias": "x"})
        assert (missing.status_code, missing.json()["error"]["type"]) == (404, "not_found_error")


async def test_a_user_goes_with_keys_and_memberships(
    client: httpx.AsyncClient, side: Side, engine: Engine, database: Connection[tuple[object, ...]]
) -> None:
    store_team(engine, "t-1", admins=["ann"], users=["bob"])
    store_team(engine, "t-2", users=["bob"])
    await added(client, side)
    await added(client, side, "bob")
    await client.post("/key/generate", json={"user_id": "ann", "team_id": "t-1"})
    of_team = (await client.post("/key/service-account/generate", json={"team_id": "t-1"})).json()["object_id"]
    side.drain.drain()
    task = await ended(client, side, await client.post("/user/delete", json={"user_ids": ["ann"]}))
    assert (task["result"]["deleted_users"], task["result"]["left_teams"]) == (["ann"], ["t-1"])
    assert len(task["result"]["deleted_keys"]) == 2
    kept = database.execute("SELECT token FROM api_key WHERE user_id IS DISTINCT FROM 'bob'").fetchall()
    assert kept == [(of_team,)]
    members = database.execute("SELECT team_id, members::text FROM team ORDER BY team_id").fetchall()
    assert ["ann" in str(entry) for _, entry in members] == [False, False]
    assert ["bob" in str(entry) for _, entry in members] == [True, True]
    assert (await client.get("/user/info?user_id=ann")).status_code == 404
    audited = (await client.get("/audit")).json()["audit_logs"]
    assert sorted(entry["object_type"] for entry in audited if entry["task_id"] == task["task_id"]) == [
        "key",
        "key",
        "team",
        "user",
    ]


async def test_of_several_users_all_go_or_none(client: httpx.AsyncClient, side: Side) -> None:
    await added(client, side)
    assert (await client.post("/user/delete", json={"user_ids": ["ann", "nobody"]})).status_code == 404
    assert (await client.post("/user/delete", json={"user_ids": []})).status_code == 422
    await added(client, side, "bob")
    task = await ended(client, side, await client.post("/user/delete", json={"user_ids": ["ann", "bob", "ann"]}))
    assert task["result"]["deleted_users"] == ["ann", "bob"]
    assert (await client.get("/user/list")).json()["total"] == 0


async def test_queued_changes_build_on_each_other(client: httpx.AsyncClient, side: Side) -> None:
    submitted = [
        await client.post("/user/new", json={"user_id": "ann", "auto_create_key": False}),
        await client.post("/key/generate", json={"user_id": "ann"}),
        await client.post("/user/update", json={"user_id": "ann", "user_alias": "Ann"}),
        await client.post("/user/delete", json={"user_ids": ["ann"]}),
        await client.post("/user/new", json={"user_id": "ann", "user_alias": "another"}),
    ]
    assert [response.status_code for response in submitted] == [202] * 5
    side.drain.drain()
    tasks = (await client.get("/tasks")).json()["data"]
    assert [task["status"] for task in tasks] == ["succeeded"] * 5
    shown = await info(client)
    assert (shown["user_info"]["user_alias"], len(shown["keys"])) == ("another", 1)


async def test_a_repeated_request_is_the_same_user_and_shows_no_key(client: httpx.AsyncClient, side: Side) -> None:
    first, second = [
        await client.post("/user/new", json={"user_alias": "Ann"}, headers={"Idempotency-Key": "u"}) for _ in range(2)
    ]
    assert second.headers["idempotency-replayed"] == "true"
    assert "key" in first.json()
    assert "key" not in second.json()
    side.drain.drain()
    listed = (await client.get("/user/list")).json()
    assert (listed["total"], listed["users"][0]["key_count"]) == (1, 1)


async def test_users_are_listed_filtered_and_paged(client: httpx.AsyncClient, side: Side, engine: Engine) -> None:
    store_team(engine, "t-1", users=["bob"])
    await added(client, side, "ann", user_email="ann@example.com", user_role="proxy_admin")
    await added(client, side, "bob", user_email="bob@example.com")
    await added(client, side, "cleo", user_alias="Queen")

    async def listed(query: str) -> list[str]:
        return [user["user_id"] for user in (await client.get(f"/user/list?{query}")).json()["users"]]

    assert await listed("") == ["ann", "bob", "cleo"]
    assert await listed("role=proxy_admin") == ["ann"]
    assert await listed("user_ids=ann,%20cleo") == ["ann", "cleo"]
    assert await listed("user_email=example") == ["ann", "bob"]
    assert await listed("search=queen") == ["cleo"]
    assert await listed("team=t-1") == ["bob"]
    assert await listed("sort_by=user_id&sort_order=desc&page_size=2") == ["cleo", "bob"]
    page = (await client.get("/user/list?page=2&page_size=2")).json()
    assert (page["total"], page["page"], page["page_size"], page["total_pages"]) == (3, 2, 2, 2)
    (bob,) = (await client.get("/user/list?user_ids=bob")).json()["users"]
    assert (bob["teams"], bob["key_count"], bob["user_role"]) == (["t-1"], 1, "internal_user")


async def test_whoever_has_the_master_key_is_a_proxy_admin(client: httpx.AsyncClient) -> None:
    shown = (await client.get("/user/info")).json()
    assert (shown["user_id"], shown["user_info"]["user_role"]) == ("default_user_id", "proxy_admin")
    assert (await client.get("/v2/user/info")).json()["user_id"] == "default_user_id"
    missing = await client.get("/user/info?user_id=u1")
    assert (missing.status_code, missing.json()["error"]["message"]) == (404, "User u1 not found")
