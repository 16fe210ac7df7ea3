"""Whatever is sent: an answer of the 400s that says what is wrong, never an error of the server's own."""

import asyncio
import json
import re
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import SettingsBuilder
from tests.service.api.serving import an_api
from tests.service.building import a_model

RUBBISH = [
    "",
    "\x00",
    "%00",
    "'",
    "-1",
    "9" * 40,
    "NaN",
    "null",
    "[]",
    "٣",
    "\ud83d\ude00",
    "a" * 5000,
    "../../etc",
    "1e999",
]
NOTHING_SAID = ("nothing", "null", "a nul")
NEED_NOTHING = ("/key/generate", "/user/new", "/team/new", "/encryption/rotate")
"""What they ask for is clear without a body."""
JSON_HEADERS = {"Content-Type": "application/json"}

DEEP = b'{"model_name": "a", "litellm_params": {"model": "x", "a": ' + b"[" * 5000 + b"]" * 5000 + b"}}"
DEEP_OBJECTS = b'{"a":' * 5000 + b"1" + b"}" * 5000
BODIES = {
    "nothing": b"",
    "null": b"null",
    "a list": b"[]",
    "a number": b"1",
    "half": b'{"model_name": "a"',
    "not utf-8": b'{"model_name": "\xff\xfe", "litellm_params": {"model": "\xc3\x28"}}',
    "utf-16": '{"model_name": "a"}'.encode("utf-16"),
    "a lone surrogate": b'{"model_name": "\\ud800", "litellm_params": {"model": "x"}}',
    "a nul": b'{"model_name": "a\\u0000", "litellm_params": {"model": "x", "k\\u0000": 1}}',
    "deep": DEEP,
    "deep objects": DEEP_OBJECTS,
    "many zeros": b'{"model_name": "a", "litellm_params": {"model": "x", "rpm": 1e999}}',
    "a huge number": b'{"model_name": "a", "litellm_params": {"model": "x", "rpm": ' + b"9" * 5000 + b"}}",
    "not a number": b'{"model_name": "a", "litellm_params": {"model": "x", "rpm": NaN}}',
    "a form": b"model_name=a&litellm_params=b",
}


class Route(msgspec.Struct, frozen=True):
    """One operation of the OpenAPI document, about objects that are not there."""

    method: str
    path: str
    takes_body: bool
    query: tuple[str, ...]


async def routes(client: httpx.AsyncClient) -> list[Route]:
    """All that there are: whoever adds one has it tried here."""
    document = (await client.get("/openapi.json")).json()
    return [
        Route(
            method=method.upper(),
            path=re.sub(r"\{\w+\}", "x-1", path),
            takes_body="requestBody" in operation,
            query=tuple(given["name"] for given in operation.get("parameters", ()) if given["in"] == "query"),
        )
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]


async def writes(client: httpx.AsyncClient) -> list[Route]:
    return [route for route in await routes(client) if route.takes_body]


def check_refused(answer: httpx.Response) -> None:
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text)
    assert answer.json()["status"] == answer.status_code, answer.text
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("kind", BODIES)
async def test_bodies_that_are_no_requests(client: httpx.AsyncClient, kind: str) -> None:
    for route in await writes(client):
        answer = await client.request(route.method, route.path, content=BODIES[kind], headers=JSON_HEADERS)
        if not (kind in NOTHING_SAID and route.path in NEED_NOTHING and answer.status_code == 202):
            check_refused(answer)


async def test_a_body_that_is_too_large_is_refused_without_being_kept(a_settings: SettingsBuilder) -> None:
    async with an_api(a_settings(max_body_bytes="2048")) as client:
        for route in await writes(client):
            answer = await client.request(route.method, route.path, content=b" " * 4096, headers=JSON_HEADERS)
            assert answer.status_code == 413, (route, answer.text)

        async def in_pieces() -> Any:
            for _ in range(64):
                yield b" " * 1024

        answer = await client.post("/model/new", content=in_pieces(), headers=JSON_HEADERS)
        assert answer.status_code == 413


async def test_of_a_key_that_comes_twice_one_value_is_taken_everywhere(client: httpx.AsyncClient) -> None:
    """Nobody may check one of them and apply the other."""
    body = b'{"model_name": "first", "model_name": "second", "litellm_params": {"model": "x"}}'
    answer = await client.post("/model/new", content=body, headers=JSON_HEADERS)
    assert answer.status_code in (202, 422)
    body = b'{"model_name": "a", "litellm_params": {"model": "x"}, "model_info": {"id": "", "id": 7, "id": []}}'
    check_refused(await client.post("/model/new", content=body, headers=JSON_HEADERS))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Idempotency-Key", ""),
        ("Idempotency-Key", "k" * 5000),
        ("Idempotency-Key", "\x7f"),
        ("If-Match", "no tag"),
        ("If-Match", '"a", "b"'),
        ("Webhook-Url", "file:///etc/passwd"),
        ("Webhook-Url", "http://[::ffff:169.254.169.254]/"),
        ("Webhook-Url", "https://" + "a" * 5000),
    ],
)
async def test_headers_that_say_nothing_usable(client: httpx.AsyncClient, name: str, value: str) -> None:
    if name == "If-Match":
        answer = await client.post("/model/delete", json={"id": "m-1"}, headers={name: value})
    else:
        answer = await client.post("/model/new", json=a_model(), headers={name: value})
    check_refused(answer)


@pytest.mark.parametrize("name", ["Prefer", "X-Request-Id", "litellm-changed-by", "Last-Event-ID"])
@pytest.mark.parametrize("value", ["", "wait=-1", "wait=1e9", "wait=\xb2", ";;;,,,==", "x" * 5000, "\xff\xfe"])
async def test_headers_that_may_be_ignored(client: httpx.AsyncClient, name: str, value: str) -> None:
    if value == "wait=1e9" and name == "Prefer":
        value = "wait=nan"
    answer = await client.post("/model/new", json=a_model(), headers=[(name.encode(), value.encode("latin-1"))])
    assert answer.status_code < 500, answer.text


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer \xff", "Basic Og==", "Bearer " + "x" * 5000, "Bearer sk-\x7f"])
async def test_keys_that_are_none(a_settings: SettingsBuilder, value: str) -> None:
    async with an_api(a_settings(), key=None) as client:
        answer = await client.get("/tasks", headers=[(b"Authorization", value.encode("latin-1"))])
        assert answer.status_code == 401, answer.text


async def test_queries_that_say_nothing_usable(client: httpx.AsyncClient) -> None:
    for route in await routes(client):
        for name in route.query:
            for value in RUBBISH:
                query = f"{name}={quote(value.encode('utf-8', 'surrogatepass'), safe='')}"
                answer = await client.request(route.method, f"{route.path}?{query}")
                assert answer.status_code < 500, (route, name, value, answer.text)


async def test_ids_that_are_none(client: httpx.AsyncClient) -> None:
    for route in await routes(client):
        if "x-1" not in route.path:
            continue
        for value in (quote(value.encode("utf-8", "surrogatepass"), safe="") for value in RUBBISH if value):
            answer = await client.request(route.method, route.path.replace("x-1", value))
            assert answer.status_code < 500, (route, value, answer.text)


_names = st.sampled_from(
    ["model", "model_name", "litellm_params", "model_info", "id", "model_id", "rpm", "version", "credential_name",
     "credential_values", "credential_info", "task_id", "status", "operation", "team_id", "blocked", "api_key"]
)  # fmt: skip
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | _names, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.leaves_open_tasks("some of it is acceptable, and nobody applies it")
async def test_any_json_is_answered(client: httpx.AsyncClient) -> None:
    loop = asyncio.get_running_loop()
    written = st.sampled_from(await writes(client))

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(route=written, body=st.dictionaries(_names, _json, max_size=5))
    def ask(route: Route, body: Any) -> None:
        sending = client.request(route.method, route.path, content=json.dumps(body).encode(), headers=JSON_HEADERS)
        answer = asyncio.run_coroutine_threadsafe(sending, loop).result(30)
        assert answer.status_code < 500, (route, body, answer.text)

    await asyncio.to_thread(ask)
