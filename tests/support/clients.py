"""What tests of the model routes say again and again."""

from collections.abc import Mapping
from typing import Any

import httpx

from shared.runtime.clock import new_id
from tests.support.fleet import Fleet, a_model

Json = dict[str, Any]


def send(fleet: Fleet, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
    """One request that must be answered 200."""
    response = fleet.http.request(method, path, json=body, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


def stored(fleet: Fleet, name: str = "gpt-4o", *, info: Json | None = None, **params: Any) -> str:
    """Add a model of its own for a test, and wait for it. Returns its id."""
    model_id = "m-" + new_id()
    body = a_model(name, **params)
    row = send(fleet, "POST", "/model/new", {**body, "model_info": {**(info or {}), "id": model_id}})
    assert row["model_id"] == row["model_info"]["id"] == model_id
    return model_id


def shown(fleet: Fleet, model_id: str) -> Json:
    """The model as a read shows it."""
    (entry,) = send(fleet, "GET", f"/model/info?litellm_model_id={model_id}")["data"]
    return entry


def etag_of(fleet: Fleet, model_id: str) -> str:
    return fleet.http.get("/model/info", params={"litellm_model_id": model_id}).headers["etag"]


def refusal(response: httpx.Response, status: int, code: str) -> Json:
    """The error of a refused request, in both of its forms: LiteLLM's envelope and the members of RFC 9457."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["type"] == f"urn:pointsman:problem:{code}"
    assert body["status"] == status
    assert body["title"]
    assert body["error"]["code"] == str(status)
    assert body["detail"] in (body["error"]["message"], {"error": body["error"]["message"]})
    return body["error"]
