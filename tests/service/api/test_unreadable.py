"""A stored value that does not open: lists live on and say so, a single read refuses, ciphertext is never passed on."""

from typing import Any

import httpx
import psycopg
import pytest
from sqlalchemy import Engine

from shared.encryption.keyring import Keyring, new_key
from shared.encryption.sealing import Binding, seal_text
from tests.service.building import CANARY, Side, a_model, a_task, accept


@pytest.fixture
def broken_id(engine: Engine, keyring: Keyring, database: psycopg.Connection[Any]) -> str:
    """One of two models has a value of a key that is gone."""
    rows = [a_task(keyring, api_base="https://api.example.com"), a_task(keyring)]
    accept(engine, *rows)
    Side(engine, keyring).drain.drain()
    model_id = rows[0].object_id
    lost = seal_text(Keyring.parse(new_key("lost")), Binding("model", model_id), "x", ("litellm_params", "api_base"))
    for table, column, path in (
        ("model", "litellm_params", "{api_base}"),
        ("task", "result", "{litellm_params,api_base}"),
    ):
        database.execute(
            f"UPDATE {table} SET {column} = jsonb_set({column}, %s::text[], to_jsonb(%s::text))"  # pyright: ignore
            f" WHERE {'model_id' if table == 'model' else 'object_id'} = %s",
            (path, lost, model_id),
        )
    return model_id


@pytest.mark.parametrize("path", ["/model/info", "/v2/model/info"])
async def test_a_list_comes_without_it_and_says_so(client: httpx.AsyncClient, broken_id: str, path: str) -> None:
    response = await client.get(path)
    assert response.status_code == 200
    entries = {entry["model_info"]["id"]: entry for entry in response.json()["data"]}
    assert len(entries) == 2
    broken = entries.pop(broken_id)
    assert broken["litellm_params"] == {"model": "openai/gpt-4o"}
    assert broken["model_info"]["unreadable_fields"] == ["litellm_params.api_base"]
    assert "unreadable_fields" not in entries.popitem()[1]["model_info"]
    assert "pm1:" not in response.text


async def test_a_single_read_names_place_and_key(client: httpx.AsyncClient, broken_id: str) -> None:
    response = await client.get("/model/info", params={"litellm_model_id": broken_id})
    assert response.status_code == 500
    assert response.json()["type"] == "urn:pointsman:problem:unreadable_secret"
    assert response.json()["error"]["param"] == "litellm_params.api_base"
    for part in (broken_id, "lost"):
        assert part in response.json()["error"]["message"]
    assert "pm1:" not in response.text


async def test_a_task_is_shown_without_it(client: httpx.AsyncClient, broken_id: str) -> None:
    response = await client.get("/tasks", params={"object_id": broken_id})
    assert response.status_code == 200
    assert "pm1:" not in response.text
    assert "api_base" not in response.json()["data"][0]["result"]["litellm_params"]


async def test_it_is_logged_once(client: httpx.AsyncClient, broken_id: str, logged: list[Any]) -> None:
    for _ in range(3):
        await client.get("/model/info")
    told = [entry for entry in logged if entry["event"] == "secret.unreadable"]
    assert [(entry["object_id"], entry["key_id"], entry["log_level"]) for entry in told] == [
        (broken_id, "lost", "error")
    ]


@pytest.fixture
async def broken_credential(
    client: httpx.AsyncClient, engine: Engine, keyring: Keyring, database: psycopg.Connection[Any]
) -> str:
    """One of two credentials has a value of a key that is gone, and a model names it."""
    for name in ("broken", "whole"):
        values = {"api_key": CANARY, "organization": "o"}
        await client.post("/credentials", json={"credential_name": name, "credential_values": values})
    await client.post("/model/new", json=a_model(info={"id": "m-1"}, litellm_credential_name="broken"))
    Side(engine, keyring).drain.drain()
    binding = Binding("credential", "broken")
    lost = seal_text(Keyring.parse(new_key("lost")), binding, "x", ("credential_values", "api_key"))
    database.execute(
        "UPDATE credential SET credential_values = credential_values || jsonb_build_object('api_key', %s::text)"
        " WHERE credential_name = 'broken'",
        (lost,),
    )
    return "broken"


async def test_a_list_of_credentials_comes_without_it_and_says_so(
    client: httpx.AsyncClient, broken_credential: str
) -> None:
    response = await client.get("/credentials")
    assert response.status_code == 200
    broken, whole = response.json()["credentials"]
    assert broken["credential_values"] == {"organization": "****"}
    assert broken["credential_info"] == {"unreadable_fields": ["credential_values.api_key"]}
    assert (whole["credential_values"], whole["credential_info"]) == ({"api_key": "****", "organization": "****"}, {})


@pytest.mark.parametrize("path", ["broken", "by_name/broken", "by_model/m-1"])
async def test_a_single_read_of_a_credential_names_place_and_key(
    client: httpx.AsyncClient, broken_credential: str, path: str
) -> None:
    response = await client.get(f"/credentials/{path}")
    assert response.status_code == 500
    assert response.json()["type"] == "urn:pointsman:problem:unreadable_secret"
    assert response.json()["error"]["param"] == "credential_values.api_key"
    assert "'broken'" in response.json()["error"]["message"]
    assert "lost" in response.json()["error"]["message"]


async def test_no_credential_is_made_of_what_cannot_be_read(client: httpx.AsyncClient, broken_id: str) -> None:
    response = await client.post("/credentials", json={"credential_name": "c", "model_id": broken_id})
    assert response.status_code == 500
    assert response.json()["type"] == "urn:pointsman:problem:unreadable_secret"


async def test_rotating_is_a_task_like_any_other(
    client: httpx.AsyncClient, database: psycopg.Connection[Any], request: pytest.FixtureRequest
) -> None:
    request.node.add_marker(pytest.mark.leaves_open_tasks("no worker here carries out chores"))
    await client.post("/model/new", json=a_model())
    response = await client.post("/encryption/rotate")
    assert response.status_code == 202
    assert response.json()["operation"] == "encryption.rotate"
    assert (await client.get(response.headers["Location"])).json()["status"] == "queued"
