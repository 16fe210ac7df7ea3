"""GET /audit by cursor and filter, and its export."""

import json
from typing import Any

import httpx
import psycopg
import pytest
from sqlalchemy import Engine

from shared.audit import export
from shared.audit.chain import verify
from shared.encryption.keyring import Keyring
from tests.service.building import Side, a_model, a_task, accept


@pytest.fixture
def logged_changes(engine: Engine, keyring: Keyring) -> list[str]:
    """Twelve entries: eleven models, the last of them refused once."""
    rows = [a_task(keyring) for _ in range(11)]
    ids = accept(engine, *rows, a_task(keyring, model_id=rows[-1].object_id))
    Side(engine, keyring, batch_size=5).drain.drain()
    return ids


async def listed(client: httpx.AsyncClient, **query: Any) -> dict[str, Any]:
    response = await client.get("/audit", params=query)
    assert response.status_code == 200, response.text
    return response.json()


async def test_pages_by_cursor_meet_each_entry_once(client: httpx.AsyncClient, logged_changes: list[str]) -> None:
    page = await listed(client, page_size=5)
    assert (page["total"], page["total_pages"]) == (12, 3)
    positions = [entry["position"] for entry in page["audit_logs"]]
    while page["next_cursor"] is not None:
        page = await listed(client, page_size=5, cursor=page["next_cursor"])
        assert "total" not in page
        positions += [entry["position"] for entry in page["audit_logs"]]
    assert positions == list(range(12, 0, -1))


async def test_entries_that_come_meanwhile_do_not_shift_a_cursor(
    client: httpx.AsyncClient, logged_changes: list[str], engine: Engine, keyring: Keyring
) -> None:
    page = await listed(client, page_size=5)
    accept(engine, a_task(keyring))
    Side(engine, keyring).drain.drain()
    following = await listed(client, page_size=5, cursor=page["next_cursor"])
    assert following["audit_logs"][0]["position"] == page["audit_logs"][-1]["position"] - 1


async def test_filters_narrow(client: httpx.AsyncClient, logged_changes: list[str]) -> None:
    newest, *_ = (await listed(client))["audit_logs"]
    for query, count in (
        ({"action": "refused"}, 1),
        ({"action": "created"}, 11),
        ({"operation": "model.create"}, 12),
        ({"object_type": "model"}, 12),
        ({"table_name": "LiteLLM_ProxyModelTable"}, 12),
        ({"object_id": newest["object_id"]}, 2),
        ({"task_id": logged_changes[0]}, 1),
        ({"changed_by": "default_user_id"}, 12),
        ({"changed_by": "nobody"}, 0),
        ({"changed_by_api_key": "litellm_proxy_master_key"}, 12),
        ({"since": newest["updated_at"], "until": newest["updated_at"], "task_id": newest["task_id"]}, 1),
        ({"since": "2100-01-01T00:00:00"}, 0),
        ({"end_date": "2001-01-01"}, 0),
        ({"since": "2001-01-01 00:00:00"}, 12),
        ({"since": "2001-01-01T00:00:00+02:00"}, 12),
    ):
        assert (await listed(client, **query))["total"] == count, query


@pytest.mark.parametrize(
    "query",
    [
        {"cursor": "x"},
        {"cursor": "-1"},
        {"cursor": "9" * 30},
        {"task_id": "x"},
        {"since": "x"},
        {"since": "0001-01-01T00:00:00+23:59"},
        {"until": "12:00"},
    ],
)
async def test_what_cannot_be_meant_is_refused(client: httpx.AsyncClient, query: dict[str, str]) -> None:
    assert (await client.get("/audit", params=query)).status_code == 422


async def test_the_export_holds_the_whole_chain(client: httpx.AsyncClient, logged_changes: list[str]) -> None:
    response = await client.get("/audit/export")
    assert response.headers["content-type"].startswith("application/x-ndjson")
    first, *lines = response.content.splitlines()
    opening = export.read_opening(first)
    verdict = verify(export.read_entries(lines), opening.head.head, opening.after.head)
    assert verdict.is_sound
    assert verdict.head == opening.head.head
    assert len(lines) == 12


async def test_an_export_can_go_on_after_a_position(client: httpx.AsyncClient, logged_changes: list[str]) -> None:
    response = await client.get("/audit/export", params={"after": 7})
    first, *lines = response.content.splitlines()
    opening = export.read_opening(first)
    assert [json.loads(line)["position"] for line in lines] == [8, 9, 10, 11, 12]
    assert verify(export.read_entries(lines), opening.head.head, opening.after.head).is_sound
    assert (await client.get("/audit/export", params={"after": 13})).status_code == 422


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_entry SET actor = 'x'",
        "DELETE FROM audit_entry",
        "TRUNCATE audit_entry",
        "UPDATE audit_entry SET actor = 'x' WHERE false",
        "INSERT INTO audit_entry SELECT * FROM audit_entry ON CONFLICT (position) DO UPDATE SET actor = 'x'",
    ],
)
def test_the_database_refuses_to_change_the_log(
    database: psycopg.Connection[Any], logged_changes: list[str], statement: str
) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
        database.execute(statement)  # pyright: ignore


@pytest.fixture
async def three(client: httpx.AsyncClient, engine: Engine, keyring: Keyring) -> httpx.AsyncClient:
    """Three models were added, the last one on somebody's behalf."""
    for number in (1, 2):
        await client.post("/model/new", json=a_model(info={"id": f"m-{number}"}))
    await client.post("/model/new", json=a_model(info={"id": "m-3"}), headers={"litellm-changed-by": "ann"})
    Side(engine, keyring).applier.apply_due()
    return client


async def test_entries_are_listed_newest_first_page_by_page(three: httpx.AsyncClient) -> None:
    first = (await three.get("/audit", params={"page_size": 2})).json()
    second = (await three.get("/audit", params={"page_size": 2, "page": 2})).json()
    assert (first["total"], first["total_pages"], first["page"], first["page_size"]) == (3, 2, 1, 2)
    seen = [entry["object_id"] for page in (first, second) for entry in page["audit_logs"]]
    assert seen == ["m-3", "m-2", "m-1"]


async def test_an_entry_says_who_did_what_and_shows_no_secret(three: httpx.AsyncClient) -> None:
    entry = (await three.get("/audit", params={"object_id": "m-3"})).json()["audit_logs"][0]
    assert (entry["action"], entry["table_name"]) == ("created", "LiteLLM_ProxyModelTable")
    assert (entry["changed_by"], entry["actor"]) == ("ann", "default_user_id")
    assert entry["changed_by_api_key"] == "litellm_proxy_master_key"
    assert entry["updated_values"]["litellm_params"]["api_key"].startswith("fp:")
    assert entry["before_value"] is None
    assert (await three.get(f"/audit/{entry['id']}")).json() == entry


@pytest.mark.parametrize(
    ("params", "count"),
    [
        ({"action": "created"}, 3),
        ({"action": "deleted"}, 0),
        ({"table_name": "LiteLLM_ProxyModelTable"}, 3),
        ({"table_name": "LiteLLM_TeamTable"}, 0),
        ({"changed_by": "ann"}, 1),
        ({"changed_by": "default_user_id"}, 2),
        ({"start_date": "2020-01-01T00:00:00Z"}, 3),
        ({"end_date": "2020-01-01T00:00:00Z"}, 0),
        ({"start_date": "2020-01-01T00:00:00"}, 3),
        ({"start_date": "2020-01-01"}, 3),
    ],
)
async def test_entries_are_filtered(three: httpx.AsyncClient, params: dict[str, str], count: int) -> None:
    response = await three.get("/audit", params=params)
    assert response.status_code == 200, response.text
    assert response.json()["total"] == count


@pytest.mark.parametrize("entry_id", ["00000000-0000-7000-8000-000000000000", "rubbish"])
async def test_an_entry_that_is_not_there_is_not_found(client: httpx.AsyncClient, entry_id: str) -> None:
    response = await client.get(f"/audit/{entry_id}")
    assert response.status_code == 404
    assert response.json()["type"] == "urn:pointsman:problem:audit_entry_not_found"


@pytest.mark.parametrize("params", [{"page": "0"}, {"page_size": "101"}, {"start_date": "yesterday"}])
async def test_a_query_that_makes_no_sense_is_refused_by_name(
    client: httpx.AsyncClient, params: dict[str, str]
) -> None:
    response = await client.get("/audit", params=params)
    assert response.status_code == 422, response.text
    assert response.json()["error"]["param"] == next(iter(params))
