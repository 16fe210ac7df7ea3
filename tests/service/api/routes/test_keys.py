"""Virtual keys over HTTP: made, shown once, changed, replaced and removed."""

import hashlib
from typing import Any

import httpx
import pytest
from psycopg import Connection
from sqlalchemy import Engine

from shared.domain.key_text import is_mistyped
from tests.service.building import Side, store_team

CANARY = "sk-terraform:kEyOfAClient0123456789"
"""A key that a client chose: after each test it must be nowhere in plain text."""

Json = dict[str, Any]


async def made(client: httpx.AsyncClient, side: Side, **fields: Any) -> str:
    """A key, applied. Returns it."""
    response = await client.post("/key/generate", json=fields)
    assert response.status_code == 202, response.text
    side.drain.drain()
    return response.json()["key"]


async def info(client: httpx.AsyncClient, key: str) -> Json:
    response = await client.get("/key/info", params={"key": key})
    assert response.status_code == 200, response.text
    return response.json()["info"]


async def ended(client: httpx.AsyncClient, side: Side, response: httpx.Response) -> Json:
    """The task of an accepted request, applied."""
    assert response.status_code == 202, response.text
    side.drain.drain()
    return (await client.get(f"/tasks/{response.json()['task_id']}")).json()


def token_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


async def test_a_key_is_shown_in_the_answer_to_whoever_made_it_and_never_again(
    client: httpx.AsyncClient, side: Side
) -> None:
    response = await client.post("/key/generate", json={"key_alias": "ci"})
    key = response.json()["key"]
    assert key.startswith("sk-")
    assert not is_mistyped(key)
    task = await ended(client, side, response)
    assert task["result"]["token"] == task["result"]["token_id"] == task["object_id"] == token_of(key)
    assert task["result"]["key"] == token_of(key)
    others = [
        await client.get("/key/list?return_full_object=true"),
        await client.get("/audit"),
        await client.get("/tasks"),
        await client.get("/key/info", params={"key": token_of(key)}),
    ]
    assert not [answer.url for answer in others if key in answer.text]


async def test_no_row_and_no_log_holds_a_key(
    client: httpx.AsyncClient, side: Side, database: Connection[tuple[object, ...]], logged: list[Any]
) -> None:
    key = await made(client, side, key=CANARY, key_alias="terraform")
    assert key == CANARY
    replaced = await client.post("/key/regenerate", json={"key": key})
    await ended(client, side, replaced)
    for table in ("api_key", "task", "audit_entry", "event"):
        rows = database.execute(f"SELECT given::text FROM {table} AS given").fetchall()  # pyright: ignore
        assert not [row for row in rows for text in (key, replaced.json()["key"]) if text in str(row)]
    assert replaced.json()["key"] not in str(logged)


async def test_what_was_sent_is_shown_again(client: httpx.AsyncClient, side: Side) -> None:
    sent = {
        "key_alias": "ci",
        "models": ["gpt-4o"],
        "metadata": {"owner": "platform", "tags": ["a"]},
        "max_budget": 10.5,
        "budget_duration": "30d",
        "rpm_limit": 60,
        "model_rpm_limit": {"gpt-4o": 5},
        "guardrails": ["pii"],
        "allowed_routes": ["/key/info", "/v1/models"],
        "permissions": {"get_spend_routes": True},
        "duration": "1h",
        "default_wait": 2.5,
        "something_new": {"x": [1, None]},
    }
    shown = await info(client, await made(client, side, **sent))
    assert {name: shown[name] for name in sent} == sent
    assert (shown["status"], shown["blocked"], shown["spend"], shown["tpm_limit"]) == ("active", False, 0.0, None)
    assert shown["created_by"] == shown["updated_by"] == "default_user_id"
    assert shown["expires"] > shown["created_at"]
    assert (shown["last_used_at"], shown["last_active"]) == (None, None)
    assert "token" not in shown
    assert "previous_token" not in shown


async def test_a_key_is_found_by_itself_and_by_its_hash(client: httpx.AsyncClient, side: Side) -> None:
    key = await made(client, side)
    assert await info(client, key) == await info(client, token_of(key))
    missing = await client.get("/key/info", params={"key": "sk-1234"})
    assert missing.status_code == 404
    assert missing.json()["error"] == {
        "message": "Key not found in database",
        "type": "not_found_error",
        "param": "key",
        "code": "404",
    }


async def test_the_kind_of_a_key_says_what_it_may_call(client: httpx.AsyncClient, side: Side) -> None:
    assert (await info(client, await made(client, side, key_type="read_only")))["allowed_routes"] == ["info_routes"]
    both = await made(client, side, key_type="management", allowed_routes=["/key/info"])
    assert (await info(client, both))["allowed_routes"] == ["/key/info"]
    assert (await info(client, both))["key_type"] == "management"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"duration": "soon"}, "duration"),
        ({"key": "sk-1234"}, "key"),
        ({"key": "sk-aaaaaaaaaaaaaaaaaaaaaaaa"}, "key"),
        ({"models": "gpt-4o"}, "models"),
        ({"default_wait": 31}, "default_wait"),
        ({"user_id": "key:abc"}, "user_id"),
        ({"key_type": "admin"}, "key_type"),
        ({"metadata": {"a": "\x00"}}, "metadata.a"),
    ],
)
async def test_what_makes_no_sense_is_refused_by_name(client: httpx.AsyncClient, body: Json, param: str) -> None:
    response = await client.post("/key/generate", json=body)
    assert (response.status_code, response.json()["error"]["param"]) == (422, param)
    assert str(body.get("key", "\x00")) not in response.text


async def test_a_repeated_request_is_the_same_key_and_does_not_show_it(client: httpx.AsyncClient, side: Side) -> None:
    headers = {"Idempotency-Key": "once"}
    first = await client.post("/key/generate", json={"key_alias": "ci"}, headers=headers)
    second = await client.post("/key/generate", json={"key_alias": "ci"}, headers=headers)
    assert second.headers["idempotency-replayed"] == "true"
    assert second.json()["task_id"] == first.json()["task_id"]
    assert "key" not in second.json()
    side.drain.drain()
    waited = await client.post("/key/generate", json={"key_alias": "ci"}, headers={**headers, "Prefer": "wait=1"})
    assert (waited.status_code, waited.json()["key"]) == (200, token_of(first.json()["key"]))
    assert (await client.get("/key/list")).json()["total_count"] == 1


async def test_an_alias_names_one_key(client: httpx.AsyncClient, side: Side) -> None:
    await made(client, side, key_alias="ci")
    task = await ended(client, side, await client.post("/key/generate", json={"key_alias": "ci"}))
    assert (task["status"], task["error"]["error"]["param"]) == ("failed", "key_alias")
    first, second = [await client.post("/key/generate", json={"key_alias": "two"}) for _ in range(2)]
    assert (await ended(client, side, first))["status"] == "succeeded"
    assert (await ended(client, side, second))["status"] == "failed"


async def test_a_team_that_is_named_must_be_there(client: httpx.AsyncClient, side: Side, engine: Engine) -> None:
    response = await client.post("/key/generate", json={"team_id": "t-1"})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "team_id")
    store_team(engine, "t-1")
    key = await made(client, side, team_id="t-1", user_id="anybody")
    assert (await info(client, key))["team_id"] == "t-1"


async def test_a_service_account_key_belongs_to_its_team_alone(
    client: httpx.AsyncClient, side: Side, engine: Engine
) -> None:
    store_team(engine, "t-1")
    refused = await client.post("/key/service-account/generate", json={})
    assert (refused.status_code, refused.json()["error"]["param"]) == (422, "team_id")
    response = await client.post("/key/service-account/generate", json={"team_id": "t-1", "user_id": "ann"})
    side.drain.drain()
    shown = await info(client, response.json()["key"])
    assert (shown["team_id"], shown["user_id"]) == ("t-1", None)


async def test_an_update_changes_what_it_names_and_nothing_else(client: httpx.AsyncClient, side: Side) -> None:
    key = await made(client, side, key_alias="ci", models=["gpt-4o"], metadata={"a": 1}, rpm_limit=5, duration="1h")
    before = await info(client, key)
    changed = await client.post("/key/update", json={"key": key, "models": ["o3"], "rpm_limit": None, "tpm_limit": 7})
    task = await ended(client, side, changed)
    assert task["result"]["key"] == token_of(key)
    after = await info(client, token_of(key))
    assert (after["models"], after["rpm_limit"], after["tpm_limit"]) == (["o3"], None, 7)
    same = ("key_alias", "metadata", "expires", "duration", "created_at")
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    await ended(client, side, await client.post("/key/update", json={"key": key, "duration": "-1", "key_alias": ""}))
    shown = await info(client, key)
    assert (shown["expires"], shown.get("duration"), shown["key_alias"]) == (None, None, None)


async def test_a_change_can_say_which_version_it_means(client: httpx.AsyncClient, side: Side) -> None:
    key = await made(client, side)
    tag = (await client.get("/key/info", params={"key": key})).headers["etag"]
    stale = await client.post("/key/update", json={"key": key, "rpm_limit": 1}, headers={"If-Match": '"9-9"'})
    assert stale.status_code == 412
    task = await ended(
        client, side, await client.post("/key/update", json={"key": key, "rpm_limit": 1}, headers={"If-Match": tag})
    )
    assert task["status"] == "succeeded"


async def test_blocking_and_unblocking(client: httpx.AsyncClient, side: Side) -> None:
    key = await made(client, side)
    await ended(client, side, await client.post("/key/block", json={"key": key}))
    assert (await info(client, key))["status"] == "blocked"
    await ended(client, side, await client.post("/key/unblock", json={"key": token_of(key)}))
    assert (await info(client, key))["status"] == "active"
    actions = [entry["action"] for entry in (await client.get("/audit")).json()["audit_logs"]]
    assert actions == ["unblocked", "blocked", "created"]


@pytest.mark.parametrize("path", ["update", "block", "unblock", "regenerate", "delete"])
async def test_what_is_not_there_is_404(client: httpx.AsyncClient, path: str) -> None:
    body: Json = {"keys": ["sk-1234"]} if path == "delete" else {"key": "sk-1234"}
    response = await client.post(f"/key/{path}", json=body)
    assert (response.status_code, response.json()["error"]["message"]) == (404, "Key not found in database")


async def test_a_regenerated_key_is_a_new_one_with_the_old_ones_rights(client: httpx.AsyncClient, side: Side) -> None:
    old = await made(client, side, key_alias="ci", models=["gpt-4o"])
    before = await info(client, old)
    response = await client.post("/key/regenerate", json={"key": old, "rpm_limit": 5})
    new = response.json()["key"]
    assert new != old
    await ended(client, side, response)
    after = await info(client, new)
    assert (after["models"], after["key_alias"], after["rpm_limit"]) == (["gpt-4o"], "ci", 5)
    assert (after["created_at"], after["revoke_at"]) == (before["created_at"], None)
    assert after["key_name"] == f"sk-...{new[-4:]}"
    assert (await client.get("/key/info", params={"key": old})).status_code == 404
    (entry,) = (await client.get("/audit?page_size=1")).json()["audit_logs"]
    assert (entry["action"], entry["object_id"], entry["table_name"]) == (
        "rotated",
        token_of(old),
        "LiteLLM_VerificationToken",
    )


async def test_the_old_key_is_kept_for_the_time_of_grace(
    client: httpx.AsyncClient, side: Side, database: Connection[tuple[object, ...]]
) -> None:
    old = await made(client, side)
    response = await client.post(f"/key/{token_of(old)}/regenerate", json={"grace_period": "24h"})
    new = response.json()["key"]
    await ended(client, side, response)
    stored = database.execute(
        "SELECT token, previous_token, revoke_at > now() + interval '23 hours' FROM api_key"
    ).fetchall()
    assert stored == [(token_of(new), token_of(old), True)]
    assert (await info(client, new))["revoke_at"] is not None


async def test_a_regeneration_that_is_repeated_shows_no_key(client: httpx.AsyncClient, side: Side) -> None:
    old = await made(client, side)
    first, second = [
        await client.post("/key/regenerate", json={"key": old}, headers={"Idempotency-Key": "r"}) for _ in range(2)
    ]
    assert second.json()["task_id"] == first.json()["task_id"]
    assert "key" not in second.json()
    await ended(client, side, first)
    assert (await info(client, first.json()["key"]))["version"] == 2


async def test_the_master_key_is_not_changed_here(client: httpx.AsyncClient) -> None:
    response = await client.post("/key/regenerate", json={"key": "sk-1234", "new_master_key": "sk-5678"})
    assert (response.status_code, response.json()["error"]["param"]) == (422, "new_master_key")


async def test_keys_are_removed_by_themselves_their_hashes_and_aliases(client: httpx.AsyncClient, side: Side) -> None:
    one, two = await made(client, side, key_alias="one"), await made(client, side, key_alias="two")
    three = await made(client, side)
    both = await client.post("/key/delete", json={"keys": [token_of(one)], "key_aliases": ["two"]})
    task = await ended(client, side, both)
    assert task["result"] == {"deleted_keys": [token_of(one), token_of(two)]}
    assert (await client.get("/key/list")).json()["keys"] == [token_of(three)]
    await ended(client, side, await client.post("/key/delete", json={"keys": [three], "key_aliases": None}))
    assert (await client.get("/key/list")).json()["keys"] == []
    neither = await client.post("/key/delete", json={"keys": None, "key_aliases": None})
    assert neither.status_code == 422


async def test_of_several_keys_all_go_or_none(client: httpx.AsyncClient, side: Side) -> None:
    key = await made(client, side)
    missing = await client.post("/key/delete", json={"keys": [key, "sk-1234"]})
    assert missing.status_code == 404
    assert (await client.post("/key/delete", json={"key_aliases": ["nobody's"]})).status_code == 404
    assert (await info(client, key))["status"] == "active"


async def test_a_list_is_filtered_sorted_and_paged(client: httpx.AsyncClient, side: Side, engine: Engine) -> None:
    store_team(engine, "t-1")
    for alias in ("alpha", "beta", "gamma"):
        await made(client, side, key_alias=alias, user_id="ann" if alias == "beta" else None)
    await made(client, side, team_id="t-1", blocked=True)

    async def listed(query: str) -> list[Any]:
        found = (await client.get(f"/key/list?return_full_object=true&{query}")).json()["keys"]
        return [key["key_alias"] for key in found]

    assert await listed("") == [None, "gamma", "beta", "alpha"]
    assert await listed("sort_order=asc&size=2") == ["alpha", "beta"]
    assert await listed("sort_order=asc&size=2&page=2") == ["gamma", None]
    assert await listed("user_id=ann") == ["beta"]
    assert await listed("team_id=t-1") == [None]
    assert await listed("key_alias=gamma") == ["gamma"]
    assert await listed("key_alias=gam") == []
    assert await listed("search=AM") == ["gamma"]
    assert await listed("status=blocked") == [None]
    assert await listed("status=active&sort_by=key_alias&sort_order=asc") == ["alpha", "beta", "gamma"]
    page = (await client.get("/key/list?size=3")).json()
    assert (page["total_count"], page["current_page"], page["total_pages"], len(page["keys"])) == (4, 1, 2, 3)


async def test_aliases_are_listed_and_searched(client: httpx.AsyncClient, side: Side) -> None:
    for alias in ("beta", "alpha"):
        await made(client, side, key_alias=alias)
    await made(client, side)
    listed = (await client.get("/key/aliases")).json()
    assert listed == {"aliases": ["alpha", "beta"], "total_count": 2, "current_page": 1, "total_pages": 1, "size": 50}
    assert (await client.get("/key/aliases?search=be")).json()["aliases"] == ["beta"]


async def test_the_master_key_is_no_stored_key(client: httpx.AsyncClient) -> None:
    assert (await client.get("/key/info")).status_code == 404


async def test_a_failed_task_has_shown_no_key(client: httpx.AsyncClient, side: Side) -> None:
    await made(client, side, key_alias="ci")
    headers = {"Idempotency-Key": "f"}
    await ended(client, side, await client.post("/key/generate", json={"key_alias": "ci"}, headers=headers))
    again = await client.post("/key/generate", json={"key_alias": "ci"}, headers={**headers, "Prefer": "wait=1"})
    assert again.status_code == 409
    assert "key" not in again.json()
