"""``If-Match``: whoever says for which version a change is meant changes no other, whatever the operation."""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from shared.operations import OPERATIONS
from tests.conftest import SettingsBuilder
from tests.service.api.serving import an_api
from tests.service.building import Side
from tests.support.changes import CHANGES, Asking

STALE = '"9-9"'
# What makes an object has no version to expect, and the change of the key is about no object.
EXPECTING = [name for name in CHANGES if not name.endswith(".create") and name != "encryption.rotate"]
# A change of each type of object that may wait in its line while the next one comes.
WAITING = {
    "model": "model.update",
    "credential": "credential.update",
    "webhook": "webhook.update",
    "team": "team.update",
    "user": "user.update",
    "key": "key.update",
}


async def asked(client: httpx.AsyncClient, asking: Asking, tag: str | None = None) -> httpx.Response:
    headers = {} if tag is None else {"If-Match": tag}
    return await client.request(asking.method, asking.path, json=asking.body, headers=headers)


async def prepared(client: httpx.AsyncClient, side: Side, operation: str) -> str:
    """The id of an object that the operation can change."""
    object_id = "an-id"
    for earlier in CHANGES[operation].after:
        answer = await asked(client, CHANGES[earlier].about(object_id, "first"))
        object_id = answer.json()["object_id"]
        side.drain.drain()
    return object_id


@pytest_asyncio.fixture
async def client(a_settings: SettingsBuilder) -> AsyncIterator[httpx.AsyncClient]:
    async with an_api(a_settings(webhook_allow="127.0.0.0/8")) as client:
        yield client


@pytest.mark.parametrize("operation", EXPECTING)
async def test_a_change_of_another_version_is_refused_when_it_is_accepted_and_when_it_is_applied(
    operation: str, client: httpx.AsyncClient, side: Side
) -> None:
    object_id = await prepared(client, side, operation)
    asking = CHANGES[operation].about(object_id, "second")
    stale = await asked(client, asking, STALE)
    assert (stale.status_code, stale.json()["error"]["param"]) == (412, "If-Match")
    first = CHANGES[WAITING[OPERATIONS[operation].object_type]].about(object_id, "meanwhile")
    assert (await asked(client, first)).status_code == 202
    late = await asked(client, asking, STALE)
    assert late.status_code == 202, "what waits makes a version that nobody knows yet"
    side.drain.drain()
    task = (await client.get(f"/tasks/{late.json()['task_id']}")).json()
    assert (task["status"], task["error"]["status"]) == ("failed", 412)
    assert (await asked(client, asking, "*")).status_code == 202
    side.drain.drain()


@pytest.mark.parametrize("operation", EXPECTING)
async def test_where_a_version_is_demanded_every_change_needs_one(
    operation: str, a_settings: SettingsBuilder, side: Side
) -> None:
    async with an_api(a_settings(require_if_match="true", webhook_allow="127.0.0.0/8")) as client:
        asking = CHANGES[operation].about("an-id", "second")
        assert (await asked(client, asking)).status_code == 428


@pytest.mark.parametrize("read", ["/credentials/an-id", "/credentials/by_name/an-id"])
async def test_a_credential_says_which_version_it_is(read: str, client: httpx.AsyncClient, side: Side) -> None:
    await prepared(client, side, "credential.update")
    tag = (await client.get(read)).headers["ETag"]
    change = {"credential_info": {"a": 1}}
    assert (await client.patch("/credentials/an-id", json=change, headers={"If-Match": tag})).status_code == 202
    side.drain.drain()
    assert (await client.get(read)).headers["ETag"] != tag
    assert (await client.patch("/credentials/an-id", json=change, headers={"If-Match": tag})).status_code == 412


async def test_a_tag_is_about_one_object(client: httpx.AsyncClient, side: Side) -> None:
    await prepared(client, side, "team.delete")
    several = await client.post("/team/delete", json={"team_ids": ["an-id", "another"]}, headers={"If-Match": STALE})
    assert (several.status_code, several.json()["error"]["param"]) == (400, "If-Match")
