"""What a virtual key opens, and for how long."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.types.json import Jsonb
from sqlalchemy import Engine

from api.auth import Bearer
from api.reads import Reads
from api.virtual_keys import VirtualKeys
from shared.domain.key_text import RANDOM_BYTES, new_key, token_of
from shared.domain.principals import TRUST_FLAG, principal_of
from shared.encryption.keyring import Keyring
from shared.runtime.clock import now
from shared.store.engines import async_engine
from tests.conftest import MASTER_KEY, SettingsBuilder
from tests.service.api.serving import an_api, until
from tests.service.building import Json, Side, a_model, store_key, store_team, store_user
from tests.support.servers import PostgresServer

Database = psycopg.Connection[Any]
ADMIN, ANN, OF_TEAM = "sk-of-an-admin-7d0c", "sk-of-ann-51b2", "sk-of-a-team-90e3"


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
def keys(engine: Engine) -> None:
    """Of an admin, of a user who is a member of a team, and of that team."""
    store_user(engine, "adam", "proxy_admin")
    store_user(engine, "ann")
    store_team(engine, "t", users=["ann"])
    store_key(engine, ADMIN, "adam")
    store_key(engine, ANN, "ann")
    store_key(engine, OF_TEAM, team_id="t")


async def is_refused(client: httpx.AsyncClient, key: str, code: str, status: int = 401) -> None:
    response = await client.get("/tasks", headers=bearer(key))
    assert response.status_code == status, response.text
    assert response.json()["type"] == f"urn:pointsman:problem:{code}"


@pytest.mark.usefixtures("keys")
async def test_a_key_has_the_rights_of_its_user(client: httpx.AsyncClient) -> None:
    accepted = await client.post("/model/new", json=a_model(), headers=bearer(ADMIN))
    assert accepted.status_code == 202
    assert accepted.json()["submitted_by"] == "adam"
    assert (await client.get(accepted.headers["Location"], headers=bearer(ANN))).status_code == 404
    for key in (ANN, OF_TEAM):
        refused = await client.post("/model/new", json=a_model(), headers=bearer(key))
        assert refused.status_code == 403, refused.text


@pytest.mark.usefixtures("keys")
async def test_a_key_that_is_taken_away_is_refused_soon_by_every_process(
    a_settings: SettingsBuilder, database: Database
) -> None:
    async with an_api(a_settings()) as one, an_api(a_settings()) as other:
        for client in (one, other):
            assert (await client.get("/tasks", headers=bearer(ANN))).status_code == 200
        database.execute("DELETE FROM api_key WHERE user_id = 'ann'")
        for client in (one, other):
            await until(lambda client=client: answers(client, ANN, 401))
            await is_refused(client, ANN, "unknown_key")


async def answers(client: httpx.AsyncClient, key: str, status: int) -> bool:
    return (await client.get("/tasks", headers=bearer(key))).status_code == status


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("UPDATE api_key SET blocked = true", "key_blocked"),
        ("UPDATE api_key SET expires = now()", "key_expired"),
        ("UPDATE api_key SET token = 'other', previous_token = token, revoke_at = now()", "unknown_key"),
        ("UPDATE team SET blocked = true", "key_blocked"),
    ],
)
@pytest.mark.usefixtures("keys")
async def test_a_key_that_holds_no_more_says_why(
    client: httpx.AsyncClient, database: Database, change: str, code: str
) -> None:
    database.execute(f"{change} WHERE team_id = 't'".encode())
    await is_refused(client, OF_TEAM, code)


async def test_a_key_holds_until_it_expires_and_after_its_regeneration_for_the_time_of_grace(
    client: httpx.AsyncClient, engine: Engine, database: Database
) -> None:
    store_key(engine, ANN, "ann", expires=now() + timedelta(hours=1))
    assert await answers(client, ANN, 200)
    database.execute("UPDATE api_key SET token = 'x', previous_token = token, revoke_at = now() + interval '1 hour'")
    assert await answers(client, ANN, 200)


async def test_a_mistyped_key_is_known_without_asking_and_an_unknown_one_is_not_refused_unheard(
    client: httpx.AsyncClient, postgres: PostgresServer
) -> None:
    drawn = new_key(bytes(range(RANDOM_BYTES)))
    mistyped = drawn[:-1] + ("a" if drawn[-1] != "a" else "b")
    postgres.stop()
    await is_refused(client, mistyped, "unknown_key")
    await is_refused(client, drawn, "unavailable", 503)


@pytest.mark.parametrize(
    ("allowed", "method", "path", "status"),
    [
        (["/model/info"], "GET", "/model/info", 200),
        (["/model/*"], "GET", "/model/info", 200),
        (["info_routes"], "GET", "/tasks", 200),
        (["/model/{model_id}/history"], "GET", "/model/m-1/history", 404),
        (["/model/info"], "GET", "/tasks", 403),
        (["info_routes"], "POST", "/model/delete", 403),
        (["llm_api_routes"], "GET", "/model/info", 403),
    ],
)
async def test_a_key_may_be_for_some_routes_only(
    client: httpx.AsyncClient, engine: Engine, allowed: list[str], method: str, path: str, status: int
) -> None:
    store_user(engine, "adam", "proxy_admin")
    store_key(engine, ADMIN, "adam", allowed_routes=allowed)
    response = await client.request(method, path, headers=bearer(ADMIN))
    assert response.status_code == status, response.text
    assert ("not allowed to call this route" in response.text) == (status == 403)


async def test_the_wait_of_a_key_goes_before_ours(
    a_settings: SettingsBuilder, engine: Engine, keyring: Keyring
) -> None:
    store_user(engine, "adam", "proxy_admin")
    store_key(engine, ADMIN, "adam", default_wait=30)
    side = Side(engine, keyring)
    async with an_api(a_settings(default_wait="0")) as client:
        waiting = asyncio.create_task(client.post("/model/new", json=a_model(), headers=bearer(ADMIN)))
        await until(lambda: asyncio.to_thread(lambda: side.applier.apply_due().task_ids))
        answer = await waiting
        assert answer.status_code == 200, answer.text
        at_once = await client.post("/model/new", json=a_model(), headers=bearer(ADMIN) | {"Prefer": "respond-async"})
        assert at_once.status_code == 202


@pytest.mark.usefixtures("keys")
async def test_it_is_written_down_when_a_key_was_last_used(a_settings: SettingsBuilder, database: Database) -> None:
    async with an_api(a_settings()) as client:
        assert await answers(client, ANN, 200)
        assert await answers(client, ANN, 200)
    rows = database.execute("SELECT user_id, version FROM api_key WHERE last_used_at IS NOT NULL").fetchall()
    assert rows == [("ann", 1)]


@pytest.mark.usefixtures("keys")
@pytest.mark.leaves_open_tasks("nobody applies it, so that it can be followed")
async def test_who_follows_a_task_is_cut_off_with_the_right(
    client: httpx.AsyncClient, database: Database, engine: Engine
) -> None:
    submitted = await client.post("/model/new", json=a_model(), headers=bearer(ADMIN))
    path = submitted.headers["Location"]
    following = asyncio.create_task(client.get(f"{path}/events", headers=bearer(ADMIN)))
    asking = asyncio.create_task(client.get(f"{path}?wait=60", headers=bearer(ADMIN)))
    submitting = asyncio.create_task(
        client.post("/model/new", json=a_model(), headers=bearer(ADMIN) | {"Prefer": "wait=30"})
    )
    assert await answers(client, ADMIN, 200)
    database.execute("UPDATE api_key SET blocked = true WHERE user_id = 'adam'")
    assert (await following).text.count("event: task") == 1
    assert (await asking).status_code == 401
    assert (await submitting).status_code == 401


@pytest.mark.parametrize(
    ("metadata", "team_metadata", "is_trusted"),
    [
        ({}, {}, False),
        ({TRUST_FLAG: True}, {}, True),
        ({TRUST_FLAG: "true"}, {}, False),
        ({}, {TRUST_FLAG: True}, True),
    ],
)
@pytest.mark.usefixtures("keys")
async def test_a_key_may_say_for_whom_it_acts_if_its_metadata_or_its_teams_let_it(
    a_settings: SettingsBuilder, database: Database, metadata: Json, team_metadata: Json, is_trusted: bool
) -> None:
    database.execute("UPDATE team SET metadata = %s", [Jsonb(team_metadata)])
    database.execute("UPDATE api_key SET metadata = %s WHERE team_id = 't'", [Jsonb(metadata)])
    engine = async_engine(a_settings().database_url.reveal())
    standing = await VirtualKeys(Reads(engine)).standing(token_of(OF_TEAM))
    await engine.dispose()
    assert standing is not None
    assert standing.is_trusted == is_trusted
    assert Bearer(standing=standing).may_act_for(principal_of(standing, now())) == is_trusted


@pytest.mark.parametrize("key", [MASTER_KEY, ADMIN])
@pytest.mark.usefixtures("keys")
async def test_admins_say_for_whom_they_act(client: httpx.AsyncClient, database: Database, key: str) -> None:
    headers = bearer(key) | {"litellm-changed-by": "terraform"}
    response = await client.post("/model/new", json=a_model(), headers=headers)
    assert response.json()["submitted_by"] != "terraform"
    assert database.execute("SELECT origin->>'changed_by' FROM task").fetchall() == [("terraform",)]


async def test_without_team_models_a_team_is_refused_before_anything_else(
    a_settings: SettingsBuilder, engine: Engine
) -> None:
    store_user(engine, "ann")
    store_key(engine, ANN, "ann")
    async with an_api(a_settings(team_models="false")) as client:
        for key in (MASTER_KEY, ANN):
            body = a_model(info={"team_id": "t"})
            refused = await client.post("/model/new", json=body, headers=bearer(key))
            assert refused.status_code == 403
            assert refused.json()["type"] == "urn:pointsman:problem:team_models_off"
        patch = {"model_info": {"team_id": "t"}}
        assert (await client.patch("/model/m-1/update", json=patch)).status_code == 403
