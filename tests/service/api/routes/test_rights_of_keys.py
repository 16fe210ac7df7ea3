"""What users, team admins and viewers can do with keys and users, and that nobody climbs by it."""

from typing import Any

import httpx
import pytest
from psycopg import Connection
from sqlalchemy import Engine

from shared.domain.key_text import token_of
from tests.service.building import Side, store_key, store_team, store_user

Json = dict[str, Any]


ROOT, VIEWER, ANN, BOB, TIM, WATCHER = (f"sk-key-of-{name}-0" for name in ("root", "vera", "ann", "bob", "tim", "wim"))
BOB_IN_TEAM, OF_TEAM, LIMITED = (f"sk-key-{name}-0" for name in ("bob-in-team", "of-team", "limited"))


@pytest.fixture(autouse=True)
def people(engine: Engine) -> None:
    """Ann and Bob, Tim who leads team t-1 in which Bob is, and those who only look."""
    store_user(engine, "root", "proxy_admin")
    store_user(engine, "vera", "proxy_admin_viewer")
    store_user(engine, "wim", "internal_user_viewer")
    for user_id in ("ann", "bob", "tim"):
        store_user(engine, user_id)
    store_team(engine, "t-1", admins=["tim"], users=["bob"])
    store_team(engine, "t-2", users=["tim"])
    for key, user_id in ((ROOT, "root"), (VIEWER, "vera"), (WATCHER, "wim"), (ANN, "ann"), (BOB, "bob"), (TIM, "tim")):
        store_key(engine, key, user_id)
    store_key(engine, BOB_IN_TEAM, "bob", team_id="t-1")
    store_key(engine, OF_TEAM, None, team_id="t-1")
    store_key(engine, LIMITED, "ann", allowed_routes=["/key/*"], models=["gpt-4o"])


async def ask(
    client: httpx.AsyncClient, using: str, path: str, body: Json | None = None, **query: str
) -> httpx.Response:
    headers = {"Authorization": f"Bearer {using}"}
    if body is None:
        return await client.get(path, params=query, headers=headers)
    return await client.post(path, json=body, headers=headers)


def refused(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["type"].rpartition(":")[2]


BEYOND, FORBIDDEN, MISSING = (403, "beyond_own_rights"), (403, "not_permitted"), (404, "key_not_found")


@pytest.mark.parametrize(
    ("key", "path", "body", "answer"),
    [
        # One's own role, and those of others.
        (ANN, "/user/update", {"user_id": "ann", "user_role": "proxy_admin"}, FORBIDDEN),
        (ANN, "/user/update", {"user_email": "nobody@example.com", "user_role": "proxy_admin"}, FORBIDDEN),
        (ANN, "/user/new", {"user_id": "eve", "user_role": "proxy_admin"}, FORBIDDEN),
        (TIM, "/user/delete", {"user_ids": ["bob"]}, FORBIDDEN),
        (VIEWER, "/user/new", {}, FORBIDDEN),
        # Keys for somebody else, or for a team that one does not lead.
        (ANN, "/key/generate", {"user_id": "root"}, BEYOND),
        (ANN, "/key/generate", {"user_id": "bob"}, BEYOND),
        (ANN, "/key/generate", {"team_id": "t-1"}, (400, "unknown_team")),
        (BOB, "/key/service-account/generate", {"team_id": "t-1"}, FORBIDDEN),
        (TIM, "/key/generate", {"team_id": "t-1", "user_id": "root"}, BEYOND),
        (TIM, "/key/generate", {"team_id": "t-1", "user_id": "bob"}, BEYOND),
        (TIM, "/key/service-account/generate", {"team_id": "t-2"}, FORBIDDEN),
        (OF_TEAM, "/key/generate", {}, FORBIDDEN),
        (OF_TEAM, "/key/generate", {"team_id": "t-1"}, FORBIDDEN),
        # More than the key in use.
        (LIMITED, "/key/generate", {"models": ["gpt-4o"]}, BEYOND),
        (LIMITED, "/key/generate", {"allowed_routes": ["/key/info"]}, BEYOND),
        (LIMITED, "/key/generate", {"allowed_routes": ["/*"], "models": ["gpt-4o"]}, BEYOND),
        (BOB_IN_TEAM, "/key/generate", {}, BEYOND),
        (ANN, "/key/generate", {"metadata": {"allow_litellm_changed_by_header": True}}, BEYOND),
        # Keys of others.
        (ANN, "/key/update", {"key": BOB, "user_id": "ann"}, MISSING),
        (ANN, "/key/regenerate", {"key": BOB}, MISSING),
        (ANN, "/key/delete", {"keys": [ANN, BOB]}, MISSING),
        (ANN, "/key/block", {"key": BOB}, MISSING),
        (ANN, "/key/regenerate", {"key": ROOT}, MISSING),
        (BOB, "/key/update", {"key": OF_TEAM, "blocked": True}, MISSING),
        (OF_TEAM, "/key/regenerate", {"key": OF_TEAM}, MISSING),
        # One's own key, to another team, to another user, out of a block.
        (ANN, "/key/update", {"key": ANN, "team_id": "t-1"}, (400, "unknown_team")),
        (TIM, "/key/update", {"key": TIM, "team_id": "t-2"}, FORBIDDEN),
        (TIM, "/key/update", {"key": BOB_IN_TEAM, "team_id": "t-2"}, FORBIDDEN),
        (ANN, "/key/block", {"key": ANN}, FORBIDDEN),
        (ANN, "/key/unblock", {"key": ANN}, FORBIDDEN),
        # A key of which somebody else is, or that acts outside of the team to which the one in use is bound.
        (TIM, "/key/regenerate", {"key": BOB_IN_TEAM}, BEYOND),
        (BOB_IN_TEAM, "/key/regenerate", {"key": BOB}, BEYOND),
        # Those who only look.
        (VIEWER, "/key/generate", {}, FORBIDDEN),
        (WATCHER, "/key/generate", {}, FORBIDDEN),
        (WATCHER, "/key/regenerate", {"key": WATCHER}, FORBIDDEN),
        (VIEWER, "/key/delete", {"key_aliases": ["x"]}, FORBIDDEN),
    ],
)
async def test_nobody_climbs(
    client: httpx.AsyncClient, key: str, path: str, body: Json, answer: tuple[int, str]
) -> None:
    response = await ask(client, key, path, body)
    assert refused(response) == answer, response.text
    assert "root" not in response.text


@pytest.mark.parametrize(
    ("key", "path", "body", "code"),
    [
        (LIMITED, "/key/regenerate", {"key": ANN}, "beyond_own_rights"),
        (BOB_IN_TEAM, "/key/delete", {"keys": [BOB]}, "beyond_own_rights"),
        (LIMITED, "/key/update", {"key": LIMITED, "allowed_routes": [], "models": []}, "beyond_own_rights"),
        (
            TIM,
            "/key/update",
            {"key": OF_TEAM, "metadata": {"allow_litellm_changed_by_header": True}},
            "beyond_own_rights",
        ),
        (ANN, "/key/update", {"key": ANN, "user_id": None}, "beyond_own_rights"),
    ],
)
async def test_what_is_known_only_when_it_is_applied_is_refused_then(
    client: httpx.AsyncClient, side: Side, key: str, path: str, body: Json, code: str
) -> None:
    response = await ask(client, key, path, body)
    assert response.status_code == 202, response.text
    side.drain.drain()
    task = (await ask(client, ROOT, response.headers["location"])).json()
    assert (task["status"], task["error"]["type"]) == ("failed", f"urn:pointsman:problem:{code}")


async def test_a_user_makes_changes_replaces_and_removes_keys_of_his_own(
    client: httpx.AsyncClient, side: Side, database: Connection[tuple[object, ...]]
) -> None:
    made = await ask(client, ANN, "/key/generate", {"key_alias": "mine"})
    side.drain.drain()
    own = made.json()["key"]
    assert (await ask(client, own, "/key/info")).json()["info"]["user_id"] == "ann"
    for path, body in (("/key/update", {"key": own, "rpm_limit": 5}), ("/key/regenerate", {"key": own})):
        response = await ask(client, ANN, path, body)
        assert response.status_code == 202, response.text
        side.drain.drain()
    new = response.json()["key"]
    assert (await ask(client, new, "/key/info")).json()["info"]["rpm_limit"] == 5
    assert (await ask(client, ANN, "/key/delete", {"keys": [new]})).status_code == 202
    side.drain.drain()
    assert database.execute("SELECT count(*) FROM api_key WHERE user_id = 'ann'").fetchall() == [(2,)]


async def test_a_limited_key_makes_keys_that_are_as_limited(client: httpx.AsyncClient, side: Side) -> None:
    body = {"allowed_routes": ["/key/info"], "models": ["gpt-4o"]}
    made = await ask(client, LIMITED, "/key/generate", body)
    assert made.status_code == 202, made.text
    side.drain.drain()
    assert (await ask(client, made.json()["key"], "/key/list")).status_code == 403


async def test_a_team_admin_keeps_the_keys_of_the_team(client: httpx.AsyncClient, side: Side) -> None:
    asked = [
        await ask(client, TIM, "/key/service-account/generate", {"team_id": "t-1"}),
        await ask(client, TIM, "/key/block", {"key": BOB_IN_TEAM}),
        await ask(client, TIM, "/key/regenerate", {"key": OF_TEAM}),
    ]
    side.drain.drain()
    tasks = [(await ask(client, TIM, response.headers["location"])).json() for response in asked]
    assert [task["status"] for task in tasks] == ["succeeded"] * 3
    assert (await ask(client, asked[2].json()["key"], "/key/info")).json()["info"]["team_id"] == "t-1"
    assert (await ask(client, TIM, "/key/delete", {"keys": [BOB_IN_TEAM]})).status_code == 202


async def test_a_key_always_sees_itself(client: httpx.AsyncClient) -> None:
    for key in (ANN, BOB_IN_TEAM, OF_TEAM, WATCHER, VIEWER):
        for query in ({}, {"key": key}, {"key": token_of(key)}):
            shown = await ask(client, key, "/key/info", **query)
            assert shown.status_code == 200, shown.text
    assert (await ask(client, OF_TEAM, "/key/info")).json()["key"] == token_of(OF_TEAM)


async def test_who_sees_which_keys(client: httpx.AsyncClient) -> None:
    async def seen(key: str, **query: str) -> set[str]:
        listed = (await ask(client, key, "/key/list", size="100", **query)).json()["keys"]
        names = {
            token_of(known): known for known in (ROOT, VIEWER, ANN, BOB, TIM, WATCHER, BOB_IN_TEAM, OF_TEAM, LIMITED)
        }
        return {names[token] for token in listed}

    assert await seen(ANN) == {ANN, LIMITED}
    assert await seen(BOB) == {BOB, BOB_IN_TEAM}
    assert await seen(BOB, include_team_keys="true", team_id="t-1") == {BOB_IN_TEAM}
    assert await seen(TIM) == {TIM}
    assert await seen(TIM, include_team_keys="true") == {TIM, BOB_IN_TEAM, OF_TEAM}
    assert await seen(TIM, team_id="t-1") == {BOB_IN_TEAM, OF_TEAM}
    assert await seen(ANN, user_id="root") == await seen(ANN, team_id="t-1") == set()
    assert await seen(ANN, key_hash=token_of(ROOT)) == set()
    assert len(await seen(VIEWER)) == len(await seen(ROOT)) == 9
    for key, of in ((ANN, BOB), (BOB, OF_TEAM), (TIM, BOB), (WATCHER, ANN)):
        assert (await ask(client, key, "/key/info", key=of)).status_code == 404
    for key, of in ((TIM, BOB_IN_TEAM), (TIM, OF_TEAM), (VIEWER, ROOT)):
        assert (await ask(client, key, "/key/info", key=of)).status_code == 200


async def test_who_sees_which_users(client: httpx.AsyncClient) -> None:
    for key, seen in ((ANN, ["ann"]), (TIM, ["tim"]), (WATCHER, ["wim"]), (OF_TEAM, [])):
        listed = (await ask(client, key, "/user/list")).json()
        assert ([user["user_id"] for user in listed["users"]], listed["total"]) == (seen, len(seen))
    assert (await ask(client, VIEWER, "/user/list")).json()["total"] == 6
    assert (await ask(client, ANN, "/user/info")).json()["user_id"] == "ann"
    missing, hidden = [await ask(client, ANN, "/user/info", user_id=name) for name in ("nobody", "root")]
    assert missing.status_code == hidden.status_code == 404
    assert missing.text.replace("nobody", "root") == hidden.text
    bob = (await ask(client, BOB, "/user/info")).json()
    assert ({key["token"] for key in bob["keys"]}, bob["user_info"]["teams"]) == (
        {token_of(BOB), token_of(BOB_IN_TEAM)},
        ["t-1"],
    )


async def test_a_regenerated_key_opens_until_its_time_of_grace_is_over(
    client: httpx.AsyncClient, side: Side, database: Connection[tuple[object, ...]]
) -> None:
    replaced = await ask(client, ROOT, "/key/regenerate", {"key": ANN, "grace_period": "1h"})
    side.drain.drain()
    new = replaced.json()["key"]
    assert (await ask(client, ANN, "/key/info")).json()["key"] == token_of(new)
    assert (await ask(client, new, "/key/info")).status_code == 200
