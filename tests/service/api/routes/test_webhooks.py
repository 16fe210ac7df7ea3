"""``/webhooks``: what is written, what is shown, and what is refused. Deliveries are in tests/service/announcing."""

import asyncio
from typing import Any

import httpx
import psycopg
import pytest
from standardwebhooks import Webhook

from tests.conftest import SettingsBuilder
from tests.service.api.serving import an_api
from tests.service.building import Side

Json = dict[str, Any]
URL = "https://93.184.216.34/hooks/T0?token=hush"


async def registered(client: httpx.AsyncClient, side: Side, **fields: Any) -> Json:
    """What the answer to a registration says, once it is carried out."""
    answer = await client.post("/webhooks", json={"url": URL, "event_types": ["model.*"], **fields})
    assert answer.status_code == 202, answer.text
    side.drain.drain()
    return answer.json()


async def shown(client: httpx.AsyncClient, webhook_id: str) -> Json:
    return (await client.get(f"/webhooks/{webhook_id}")).json()


async def test_an_endpoint_is_shown_without_its_secret_and_the_tokens_of_its_url(
    client: httpx.AsyncClient, side: Side
) -> None:
    answer = await registered(client, side, description="alerts")
    assert answer["secret"].startswith("whsec_")
    response = await client.get(f"/webhooks/{answer['object_id']}")
    assert (response.json()["description"], response.json()["event_types"]) == ("alerts", ["model.*"])
    for text in (response.text, (await client.get("/webhooks")).text, (await client.get("/tasks")).text):
        assert answer["secret"] not in text
        assert "hush" not in text


async def test_only_what_is_named_changes_and_null_takes_the_description_away(
    client: httpx.AsyncClient, side: Side
) -> None:
    webhook_id = (await registered(client, side, description="alerts"))["object_id"]
    for change, left in (
        ({"event_types": ["team.*"]}, (["team.*"], "alerts", 2)),
        ({"event_types": ["team.*"]}, (["team.*"], "alerts", 2)),
        ({"description": None}, (["team.*"], None, 3)),
        ({"description": ""}, (["team.*"], None, 3)),
    ):
        assert (await client.patch(f"/webhooks/{webhook_id}", json=change)).status_code == 202
        side.drain.drain()
        row = await shown(client, webhook_id)
        assert (row["event_types"], row["description"], row["version"]) == left


async def test_a_rotation_shows_the_new_secret_once_and_says_how_long_the_old_one_is_valid(
    client: httpx.AsyncClient, side: Side
) -> None:
    first = await registered(client, side)
    path = f"/webhooks/{first['object_id']}"
    rotated = await client.post(f"{path}/rotate", headers={"Idempotency-Key": "one"})
    again = await client.post(f"{path}/rotate", headers={"Idempotency-Key": "one"})
    side.drain.drain()
    assert rotated.json()["secret"] != first["secret"]
    assert "secret" not in again.json()
    assert (await shown(client, first["object_id"]))["overlap_until"] is not None


async def test_a_removed_endpoint_is_not_there(client: httpx.AsyncClient, side: Side) -> None:
    webhook_id = (await registered(client, side))["object_id"]
    assert (await client.delete(f"/webhooks/{webhook_id}")).status_code == 202
    side.drain.drain()
    for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/rotate"), ("POST", "/test")):
        answer = await client.request(method, f"/webhooks/{webhook_id}{path}", json={} if method != "GET" else None)
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:pointsman:problem:webhook_not_found")


async def test_a_delivery_that_there_is_not_cannot_be_sent_again(client: httpx.AsyncClient, side: Side) -> None:
    webhook_id = (await registered(client, side))["object_id"]
    unknown = {"delivery_id": "01a20880-c67c-7078-a480-99a409ba4e12"}
    answer = await client.post(f"/webhooks/{webhook_id}/replay", json=unknown)
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:pointsman:problem:delivery_not_found")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"event_types": []}, "event_types"),
        ({"event_types": ["model.sold"]}, "event_types[0]"),
        ({"description": "x" * 501}, "description"),
        ({"description": 5}, "description"),
        ({"team_id": "nowhere"}, "team_id"),
        ({"url": "https://10.0.0.1/"}, "url"),
        ({"url": "ftp://93.184.216.34/"}, "url"),
        ({"secret": "whsec_of-my-own"}, "body"),
    ],
)
async def test_what_cannot_be_registered_is_named(client: httpx.AsyncClient, fields: Json, param: str) -> None:
    answer = await client.post("/webhooks", json={"url": URL, "event_types": ["model.*"], **fields})
    assert (answer.status_code // 100, answer.json()["error"]["param"]) == (4, param), answer.text


# --- the caller's own secret ---


async def test_the_secret_is_made_once_and_usable(client: httpx.AsyncClient) -> None:
    first = (await client.get("/webhooks/secret")).json()["secret"]
    assert (await client.get("/webhooks/secret")).json() == {"secret": first}
    Webhook(first)


async def test_of_several_that_ask_at_once_all_are_told_the_same(
    a_settings: SettingsBuilder, database: psycopg.Connection
) -> None:
    async with an_api(a_settings()) as one, an_api(a_settings()) as another:
        answers = await asyncio.gather(*(client.get("/webhooks/secret") for client in [one, another] * 5))
    assert len({answer.json()["secret"] for answer in answers}) == 1
    ((stored,),) = database.execute("SELECT secret FROM signing_secret").fetchall()
    assert stored.startswith("pm1:test:")
