from typing import Any

import httpx

from tests.service.building import CANARY, Side, a_model


async def stored(client: httpx.AsyncClient, side: Side, body: dict[str, Any]) -> str:
    task = (await client.post("/model/new", json=body)).json()
    side.applier.apply_due()
    return task["object_id"]


async def test_what_was_sent_is_read_with_its_types_intact(client: httpx.AsyncClient, side: Side) -> None:
    params = {
        "rpm": 100,
        "timeout": 1.5,
        "input_cost_per_token": 1e-07,
        "drop_params": True,
        "nothing": None,
        "tags": ["a", 1, {"b": [False]}],
        "extra_headers": {"x-team": "red"},
        "url": "os.environ/BASE",
    }
    info = {"id": "m-1", "custom": {"deep": [1, 2.5, None]}, "tier": "paid", "access_groups": ["x"]}
    await stored(client, side, a_model(info=info, **params))
    (entry,) = (await client.get("/model/info")).json()["data"]
    assert entry["model_name"] == "gpt-4o"
    assert entry["litellm_params"] == {"model": "openai/gpt-4o", **params}
    shown = entry["model_info"]
    assert {name: shown[name] for name in info} == info
    assert (shown["db_model"], shown["blocked"], shown["created_by"]) == (True, False, "default_user_id")
    assert isinstance(entry["litellm_params"]["rpm"], int)


async def test_no_secret_is_read_back(client: httpx.AsyncClient, side: Side) -> None:
    await stored(client, side, a_model(aws_secret_access_key="abc", extra_headers={"Authorization": CANARY}))
    response = await client.get("/v1/model/info")
    assert CANARY not in response.text
    assert response.json()["data"][0]["litellm_params"] == {"model": "openai/gpt-4o", "extra_headers": {}}


async def test_one_model_is_found_by_its_id(client: httpx.AsyncClient, side: Side) -> None:
    await stored(client, side, a_model(info={"id": "m-1"}))
    await stored(client, side, a_model(info={"id": "m-2"}))
    response = await client.get("/model/info", params={"litellm_model_id": "m-2"})
    assert [entry["model_info"]["id"] for entry in response.json()["data"]] == ["m-2"]


async def test_a_model_that_is_not_there_is_answered_as_litellm_answers(client: httpx.AsyncClient) -> None:
    response = await client.get("/model/info", params={"litellm_model_id": "nobody"})
    assert response.status_code == 400
    assert response.json()["detail"] == {"error": "Model id = nobody not found on litellm proxy"}


async def test_what_the_server_owns_cannot_be_sent(client: httpx.AsyncClient, side: Side) -> None:
    await stored(client, side, a_model(info={"id": "m-1", "created_by": "me", "db_model": False, "blocked": True}))
    (entry,) = (await client.get("/model/info")).json()["data"]
    assert (entry["model_info"]["created_by"], entry["model_info"]["db_model"]) == ("default_user_id", True)
    assert entry["model_info"]["blocked"] is False
