"""Credentials over HTTP, and the models that name them."""

import httpx
from psycopg import Connection

from tests.service.building import CANARY, Side

CREDENTIAL = {
    "credential_name": "openai",
    "credential_info": {"provider": "openai"},
    "credential_values": {"api_key": CANARY, "api_base": f"https://example.com/?key={CANARY}", "retries": 3},
}


def a_model_with(credential: str | None, model_id: str = "m-1") -> dict[str, object]:
    return {
        "model_name": "gpt-4o",
        "litellm_params": {"model": "openai/gpt-4o", "litellm_credential_name": credential},
        "model_info": {"id": model_id},
    }


async def test_one_is_added_and_shown_with_its_values_hidden(client: httpx.AsyncClient, side: Side) -> None:
    response = await client.post("/credentials", json=CREDENTIAL)
    assert response.status_code == 202
    side.drain.drain()
    for path in ("/credentials/openai", "/credentials/by_name/openai"):
        shown = (await client.get(path)).json()
        assert shown["credential_values"] == {"api_key": "****", "api_base": "****", "retries": 3}
        assert shown["credential_info"] == {"provider": "openai"}
    listed = (await client.get("/credentials")).json()
    assert listed["success"]
    assert [one["credential_name"] for one in listed["credentials"]] == ["openai"]


async def test_a_name_that_is_taken_is_refused(client: httpx.AsyncClient, side: Side) -> None:
    await client.post("/credentials", json=CREDENTIAL)
    side.drain.drain()
    response = await client.post("/credentials", json={**CREDENTIAL, "credential_info": {}})
    assert (response.status_code, response.json()["error"]["param"]) == (409, "credential_name")


async def test_a_change_merges_and_removes(client: httpx.AsyncClient, side: Side) -> None:
    await client.post("/credentials", json=CREDENTIAL)
    change = {"credential_info": {"by": "ann"}, "credential_values": {"retries": None, "region": "eu"}}
    assert (await client.patch("/credentials/openai", json=change)).status_code == 202
    side.drain.drain()
    shown = (await client.get("/credentials/openai")).json()
    assert shown["credential_values"] == {"api_key": "****", "api_base": "****", "region": "****"}
    assert shown["credential_info"] == {"provider": "openai", "by": "ann"}


async def test_a_masked_value_sent_back_is_refused_by_name(client: httpx.AsyncClient, side: Side) -> None:
    await client.post("/credentials", json=CREDENTIAL)
    side.drain.drain()
    response = await client.patch("/credentials/openai", json={"credential_values": {"api_key": "****"}})
    assert (response.status_code, response.json()["error"]["param"]) == (422, "credential_values.api_key")


async def test_a_model_must_name_one_that_is_there(client: httpx.AsyncClient) -> None:
    response = await client.post("/model/new", json=a_model_with("nobody's"))
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "litellm_params.litellm_credential_name"
    assert "not found" not in response.text


async def test_one_that_is_in_use_is_not_deleted_and_its_users_are_named(client: httpx.AsyncClient, side: Side) -> None:
    await client.post("/credentials", json=CREDENTIAL)
    await client.post("/model/new", json=a_model_with("openai"))
    side.drain.drain()
    task_id = (await client.delete("/credentials/openai")).json()["task_id"]
    side.drain.drain()
    task = (await client.get(f"/tasks/{task_id}")).json()
    assert (task["status"], task["error"]["status"]) == ("failed", 409)
    assert "m-1" in task["error"]["detail"]
    assert (await client.get("/credentials/by_model/m-1")).json()["credential_name"] == "openai"


async def test_queued_changes_build_on_each_other(client: httpx.AsyncClient, side: Side) -> None:
    submitted = [
        await client.post("/credentials", json=CREDENTIAL),
        await client.post("/model/new", json=a_model_with("openai")),
        await client.post("/model/delete", json={"id": "m-1"}),
        await client.delete("/credentials/openai"),
    ]
    assert [response.status_code for response in submitted] == [202] * 4
    side.drain.drain()
    tasks = (await client.get("/tasks")).json()["data"]
    assert [task["status"] for task in tasks] == ["succeeded"] * 4, tasks
    assert (await client.get("/credentials")).json()["credentials"] == []


async def test_rotating_touches_one_row(
    client: httpx.AsyncClient, side: Side, database: Connection[tuple[object, ...]]
) -> None:
    await client.post("/credentials", json=CREDENTIAL)
    await client.post("/model/new", json=a_model_with("openai"))
    side.drain.drain()
    before = database.execute("SELECT model_id, version, litellm_params::text FROM model").fetchall()
    await client.patch("/credentials/openai", json={"credential_values": {"api_key": f"{CANARY}-2"}})
    side.drain.drain()
    assert database.execute("SELECT model_id, version, litellm_params::text FROM model").fetchall() == before
    assert database.execute("SELECT version FROM credential").fetchall() == [(2,)]


async def test_the_name_is_echoed_and_can_be_taken_away(client: httpx.AsyncClient, side: Side) -> None:
    await client.post("/credentials", json=CREDENTIAL)
    await client.post("/model/new", json=a_model_with("openai"))
    side.drain.drain()
    shown = (await client.get("/model/info?litellm_model_id=m-1")).json()["data"][0]
    assert shown["litellm_params"]["litellm_credential_name"] == "openai"
    await client.patch("/model/m-1/update", json={"litellm_params": {"litellm_credential_name": None}})
    await client.delete("/credentials/openai")
    side.drain.drain()
    assert (await client.get("/credentials/openai")).status_code == 404
