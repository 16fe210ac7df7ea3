import httpx
import pytest

from tests.conftest import MASTER_KEY, SettingsBuilder
from tests.service.api.serving import an_api

NOTHING = "/tasks/00000000-0000-7000-8000-000000000000"


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Authorization", f"Bearer {MASTER_KEY}"),
        ("Authorization", f"bearer {MASTER_KEY}"),
        ("x-litellm-api-key", MASTER_KEY),
        ("x-litellm-api-key", f"Bearer {MASTER_KEY}"),
        ("x-api-key", MASTER_KEY),
        ("api-key", MASTER_KEY),
        ("x-goog-api-key", MASTER_KEY),
        ("Ocp-Apim-Subscription-Key", MASTER_KEY),
    ],
)
async def test_the_key_is_taken_from_any_header_that_litellm_takes(
    a_settings: SettingsBuilder, header: str, value: str
) -> None:
    async with an_api(a_settings(), key=None) as client:
        response = await client.get("/model/info", headers={header: value})
    assert response.status_code == 200, response.text
    assert response.json() == {"data": []}


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "Authentication Error, No api key passed in."),
        ({"Authorization": MASTER_KEY}, "Malformed API Key passed in. Ensure Key has `Bearer ` prefix."),
        ({"Authorization": "Bearer "}, "Malformed API Key passed in. Ensure Key has `Bearer ` prefix."),
        ({"Authorization": "Basic c2stMTIzNA=="}, "Malformed API Key passed in. Ensure Key has `Bearer ` prefix."),
        (
            {"Authorization": "Bearer no-virtual-key"},
            "LiteLLM Virtual Key expected. Received=****, expected to start with 'sk-'.",
        ),
    ],
)
async def test_who_has_no_valid_key_is_told_what_is_wrong_with_it(
    a_settings: SettingsBuilder, headers: dict[str, str], message: str
) -> None:
    async with an_api(a_settings(), key=None) as client:
        response = await client.get(
            "/model/info", headers={name: value.encode("latin-1") for name, value in headers.items()}
        )
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert response.headers["Content-Type"] == "application/problem+json"
    body = response.json()
    assert body["error"] == {"message": message, "type": "auth_error", "param": None, "code": "401"}
    assert "no-virtual-key" not in response.text
    assert "somebody" not in response.text


@pytest.mark.parametrize("key", ["sk-of-somebody-else", MASTER_KEY + "x", "sk-\xe9"])
async def test_a_key_that_nobody_has_is_said_to_be_unknown(a_settings: SettingsBuilder, key: str) -> None:
    async with an_api(a_settings(), key=None) as client:
        response = await client.get("/model/info", headers={"x-api-key": key.encode("latin-1")})
    assert response.status_code == 401
    message = "Authentication Error, Invalid proxy server token passed."
    error = {"message": message, "type": "token_not_found_in_db", "param": "key", "code": "401"}
    assert response.json()["error"] == error
    assert "somebody" not in response.text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/model/new"),
        ("GET", "/model/info"),
        ("GET", "/v1/model/info"),
        ("GET", "/tasks"),
        ("GET", NOTHING),
        ("GET", f"{NOTHING}/events"),
        ("GET", "/audit"),
        ("GET", "/audit/some-id"),
        ("GET", "/webhooks/secret"),
    ],
)
async def test_nothing_is_done_for_the_anonymous(a_settings: SettingsBuilder, method: str, path: str) -> None:
    async with an_api(a_settings(), key=None) as client:
        response = await client.request(method, path, content=b"{}")
    assert response.status_code == 401, response.text


@pytest.mark.parametrize("path", ["/health/liveliness", "/health/liveness", "/health/readiness", "/openapi.json"])
async def test_probes_and_the_description_need_no_key(a_settings: SettingsBuilder, path: str) -> None:
    async with an_api(a_settings(), key=None) as client:
        assert (await client.get(path)).status_code == 200


async def test_a_wrong_key_comes_before_a_wrong_body(a_settings: SettingsBuilder) -> None:
    async with an_api(a_settings(), key="sk-of-somebody-else") as client:
        response = await client.post("/model/new", content=b"rubbish")
    assert response.status_code == 401


async def test_the_key_in_one_header_is_not_replaced_by_that_in_another(client: httpx.AsyncClient) -> None:
    response = await client.get("/model/info", headers={"Authorization": "Bearer sk-wrong", "x-api-key": MASTER_KEY})
    assert response.status_code == 401
