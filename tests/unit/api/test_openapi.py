"""The OpenAPI document and its page: complete, valid, and true to what the code answers."""

import re
from typing import Any

import httpx
import msgspec
import pytest
from litestar import Litestar
from openapi_spec_validator import validate

from api import openapi, shapes
from shared.contract import errors, models
from shared.contract.errors import CATALOGUE
from shared.contract.models import decode_new_model, to_command
from shared.domain.problems import FieldError, Problem
from shared.operations import OPERATIONS
from tests.support.unconnected import unconnected_app

_METHODS = {"get", "post", "put", "patch", "delete"}


@pytest.fixture(scope="module")
def app() -> Litestar:
    return unconnected_app()


@pytest.fixture(scope="module")
def document(app: Litestar) -> dict[str, Any]:
    return msgspec.json.decode(msgspec.json.encode(openapi.document(app)))


@pytest.fixture
async def http(app: Litestar) -> Any:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://pointsman") as client:
        yield client


def _operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method in _METHODS
    }


def _shape(media: dict[str, Any]) -> str:
    return media["schema"].get("$ref", media["schema"].get("type", "")).rpartition("/")[2]


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    validate(document)


def test_every_route_is_in_it(app: Litestar, document: dict[str, Any]) -> None:
    own = {"/", "/docs", "/openapi.json"}
    routes = {re.sub(r":(?:str|path)}", "}", route.path) for route in app.routes}
    assert routes - own == set(document["paths"])


def test_every_operation_has_words_of_its_own(document: dict[str, Any]) -> None:
    tags = {tag["name"] for tag in document["tags"]}
    for name, operation in _operations(document).items():
        assert operation["summary"], name
        assert set(operation["tags"]) <= tags, name
        assert all("Request fulfilled" not in answer["description"] for answer in operation["responses"].values()), name


def test_every_refusal_is_described_as_a_problem(document: dict[str, Any]) -> None:
    for name, operation in _operations(document).items():
        refusals = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
        if "health" in operation["tags"]:
            continue
        assert {"401", "500", "503"} <= refusals.keys(), name
        for answer in refusals.values():
            assert {media: _shape(of) for media, of in answer["content"].items()} == {errors.CONTENT_TYPE: "Problem"}


def test_every_example_is_what_the_catalogue_answers(document: dict[str, Any]) -> None:
    for operation in _operations(document).values():
        for status, answer in operation["responses"].items():
            for code, example in answer["content"].get(errors.CONTENT_TYPE, {}).get("examples", {}).items():
                assert str(CATALOGUE[code].status) == status
                msgspec.convert(example["value"], shapes.Problem)


def test_every_operation_of_the_table_has_a_documented_body(document: dict[str, Any]) -> None:
    bodies = {
        name: operation["requestBody"]
        for name, operation in _operations(document).items()
        if "requestBody" in operation
    }
    # A change has two routes; so have changes of teams, of members, and two of keys.
    by_path_alone = 6
    bodiless = 1  # changing the encryption key
    second_routes = 5
    of_tasks = 2
    assert len(bodies) == len(OPERATIONS) - by_path_alone - bodiless + second_routes + of_tasks
    for body in bodies.values():
        described = body["content"]["application/json"]
        if not body["required"]:
            # Nothing at all is as good as an empty object.
            schema, nothing = described["schema"]["oneOf"]
            assert nothing == {"type": "null"}
            described = {"schema": schema}
        assert _shape(described) in document["components"]["schemas"]


def test_a_write_answers_a_row_or_a_task(document: dict[str, Any]) -> None:
    responses = _operations(document)["POST /model/new"]["responses"]
    assert _shape(responses["200"]["content"]["application/json"]) == "ModelRow"
    assert _shape(responses["202"]["content"]["application/json"]) == "TaskView"
    assert {"Location", "Retry-After", "Idempotency-Replayed"} <= responses["202"]["headers"].keys()


def test_a_write_names_the_headers_that_shape_it(document: dict[str, Any]) -> None:
    parameters = _operations(document)["POST /model/new"]["parameters"]
    named = {parameter["name"] for parameter in parameters if parameter["in"] == "header"}
    assert {"Prefer", "Idempotency-Key", "Webhook-Url", "litellm-changed-by"} <= named


def test_keys_may_come_in_any_of_the_accepted_headers(document: dict[str, Any]) -> None:
    schemes = document["components"]["securitySchemes"]
    assert schemes["bearer"]["scheme"] == "bearer"
    assert schemes["x-api-key"] == {"type": "apiKey", "name": "x-api-key", "in": "header"}
    assert [list(one) for one in document["security"]] == [[name] for name in schemes]


def test_only_health_needs_no_key(document: dict[str, Any]) -> None:
    is_open = {name for name, operation in _operations(document).items() if operation.get("security") == []}
    assert is_open == {name for name in _operations(document) if "/health/" in name}


async def test_what_says_that_it_needs_no_key_needs_none_and_the_rest_does(
    http: httpx.AsyncClient, document: dict[str, Any]
) -> None:
    for name, operation in _operations(document).items():
        if operation.get("security") != []:
            method, _, path = name.partition(" ")
            response = await http.request(method, re.sub(r"{\w+}", "x", path))
            assert response.status_code == 401, name


def test_rows_and_entries_are_as_described() -> None:
    body = decode_new_model(b'{"model_name": "a", "litellm_params": {"model": "openai/a"}}')
    command = to_command(body, "m1")
    stored = {
        **msgspec.to_builtins(command),
        "public_name": None,
        "version": 1,
        **dict.fromkeys(("created_at", "created_by", "updated_at", "updated_by"), "x"),
    }
    for shape, answered in ((shapes.ModelRow, models.row(stored)), (shapes.ModelEntry, models.entry(stored))):
        assert msgspec.to_builtins(msgspec.convert(answered, shape)) == answered


@pytest.mark.parametrize("detail_object", [False, True])
def test_problems_are_as_described(detail_object: bool) -> None:
    problem = Problem(
        code="invalid_request", message="a: is required", param="a", errors=(FieldError("a", "is required"),)
    )
    answered = msgspec.json.decode(
        msgspec.json.encode(errors.body(problem, request_id="r1", detail_object=detail_object))
    )
    assert msgspec.to_builtins(msgspec.convert(answered, shapes.Problem)) == answered


async def test_the_document_is_served_without_a_key(http: httpx.AsyncClient, document: dict[str, Any]) -> None:
    response = await http.get("/openapi.json")
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert response.json() == document


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_the_page_is_served_without_a_key_and_loads_nothing(
    http: httpx.AsyncClient, document: dict[str, Any], path: str
) -> None:
    response = await http.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    assert response.headers["content-security-policy"].startswith("default-src 'none'")
    assert not re.search(r"<script|<link|<img|@import|url\(|https?://", response.text)
    for name in document["paths"]:
        assert f"<code>{name}</code>" in response.text


async def test_every_link_of_the_page_leads_somewhere(http: httpx.AsyncClient) -> None:
    page = (await http.get("/")).text
    anchors = set(re.findall(r'href="#([^"]+)"', page))
    assert anchors
    assert anchors <= set(re.findall(r'id="([^"]+)"', page))


@pytest.mark.parametrize(
    "path", ["/nope", "/nope/deeper/still", "/docs/x", "/openapi.json/x", "/schema", "/x.html", "/model/x"]
)
async def test_an_unknown_path_answers_the_json_problem(http: httpx.AsyncClient, path: str) -> None:
    response = await http.get(path)
    assert (response.status_code, response.headers["content-type"]) == (404, errors.CONTENT_TYPE)
    assert response.json()["type"] == "urn:pointsman:problem:not_found"
