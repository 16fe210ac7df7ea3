import httpx
import pytest
from sqlalchemy import Engine

from shared.encryption.keyring import Keyring
from tests.service.building import Side, a_model


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
