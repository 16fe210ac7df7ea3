"""How guessing keys and floods of writes are slowed, and what that costs nobody else."""

from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from tests.conftest import MASTER_KEY, SettingsBuilder
from tests.service.api.serving import an_api
from tests.service.building import a_model, store_key, store_user
from tests.support.servers import ValkeyServer

ANN, BOB, ADAM = "sk-of-ann-51b2", "sk-of-bob-0c44", "sk-of-adam-7d0c"
WRONG = "sk-nobody-has-this"
NOTHING = {"id": "no-such-model"}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture(autouse=True)
def keys(engine: Engine) -> None:
    for user_id, key in (("ann", ANN), ("bob", BOB), ("adam", ADAM)):
        store_user(engine, user_id, "proxy_admin" if user_id == "adam" else "internal_user")
        store_key(engine, key, user_id)


async def reads(client: httpx.AsyncClient, key: str) -> int:
    return (await client.get("/tasks", headers=bearer(key))).status_code


async def writes(client: httpx.AsyncClient, key: str) -> int:
    return (await client.post("/model/delete", json=NOTHING, headers=bearer(key))).status_code


async def test_who_guesses_keys_is_slowed_and_learns_nothing_any_more(a_settings: SettingsBuilder) -> None:
    async with an_api(a_settings(failures_per_minute="3")) as client:
        assert await reads(client, ANN) == 200
        assert [await reads(client, WRONG) for _ in range(4)] == [401, 401, 401, 429]
        refused = await client.get("/tasks", headers=bearer(BOB))
        assert refused.status_code == 429, "a right guess looks like a wrong one"
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert refused.json()["error"]["type"] == "rate_limit_error"
        assert await reads(client, ANN) == 200, "who has worked from there before goes on"


async def test_all_processes_count_together_and_each_source_for_itself(a_settings: SettingsBuilder) -> None:
    settings = a_settings(failures_per_minute="2")
    async with an_api(settings) as one, an_api(settings) as other, an_api(settings, source="198.51.100.7") as elsewhere:
        assert [await reads(one, WRONG), await reads(other, WRONG), await reads(one, WRONG)] == [401, 401, 429]
        assert await reads(other, BOB) == 429
        assert await reads(elsewhere, BOB) == 200


async def test_one_network_of_ipv6_is_one_source(a_settings: SettingsBuilder) -> None:
    settings = a_settings(failures_per_minute="1")
    async with an_api(settings, source="2001:db8::1") as one, an_api(settings, source="2001:db8::2:1") as same:
        assert [await reads(one, WRONG), await reads(same, WRONG)] == [401, 429]


async def test_a_key_that_lost_its_right_is_a_failure_like_others(a_settings: SettingsBuilder, engine: Engine) -> None:
    store_key(engine, "sk-blocked-since", "ann", blocked=True)
    async with an_api(a_settings(failures_per_minute="1")) as client:
        assert [await reads(client, "sk-blocked-since") for _ in range(2)] == [401, 429]


@pytest.mark.parametrize("setting", ["key_writes_per_minute", "source_writes_per_minute"])
async def test_a_flood_of_writes_is_slowed(a_settings: SettingsBuilder, setting: str) -> None:
    async with an_api(a_settings(**{setting: "3"})) as client:
        assert [await writes(client, ADAM) for _ in range(4)] == [404, 404, 404, 429]
        assert await reads(client, ADAM) == 200
        other = await writes(client, BOB)
        assert other == (429 if setting.startswith("source") else 404), (
            "internal users may delete models of their teams"
        )
        assert await writes(client, MASTER_KEY) == 404, "the master key is never slowed"


async def test_a_large_limit_is_counted_in_portions(a_settings: SettingsBuilder) -> None:
    """250 writes in portions of 2, and one more."""
    async with an_api(a_settings(key_writes_per_minute="250")) as client:
        statuses = [await writes(client, ADAM) for _ in range(251)]
    assert statuses == [404] * 250 + [429]


async def test_zero_sets_no_limit(a_settings: SettingsBuilder) -> None:
    none: dict[str, Any] = dict.fromkeys(
        ("failures_per_minute", "key_writes_per_minute", "source_writes_per_minute"), "0"
    )
    async with an_api(a_settings(**none)) as client:
        assert {await reads(client, WRONG) for _ in range(5)} == {401}
        assert {await writes(client, ADAM) for _ in range(5)} == {404}


@pytest.mark.parametrize("is_hanging", [False, True])
async def test_without_redis_each_process_counts_for_itself_and_accepts(
    a_settings: SettingsBuilder, valkey: ValkeyServer, is_hanging: bool
) -> None:
    settings = a_settings(failures_per_minute="2", key_writes_per_minute="3")
    async with an_api(settings) as one, an_api(settings) as other:
        (valkey.freeze if is_hanging else valkey.stop)()
        for client in (one, other):
            assert (await client.post("/model/new", json=a_model(), headers=bearer(ADAM))).status_code == 202
            assert [await writes(client, ADAM) for _ in range(3)] == [404, 404, 429]
            assert [await reads(client, WRONG) for _ in range(3)] == [401, 401, 429]
        valkey.thaw()
