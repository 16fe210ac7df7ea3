"""Those who wait are told when it is done, those who look see how far it has come."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import httpx
import msgspec
import pytest

from tests.support.fleet import API, APPLY, Fleet, a_model, running_fleet, until

pytestmark = [pytest.mark.xdist_group("waiting and seeing"), pytest.mark.timeout(300)]

Event = dict[str, str]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with running_fleet(tmp_path_factory) as fleet:
        yield fleet


# --- waiting ---


def test_who_waits_is_answered_with_the_finished_row(fleet: Fleet) -> None:
    response = fleet.submit(a_model("waited for", rpm="10", api_key="sk-of-a-provider-1234"), prefer="wait=20")
    assert response.status_code == 200
    assert response.headers["preference-applied"] == "wait=20"
    row = response.json()
    assert (row["model_name"], row["version"], row["created_by"]) == ("waited for", 1, "default_user_id")
    assert row["litellm_params"] == {"model": "openai/gpt-4o", "rpm": 10}
    assert row["model_info"] == {"id": row["model_id"], "db_model": True}
    task = fleet.http.get(response.headers["location"]).json()
    assert (task["status"], task["object_id"], task["result"]) == ("succeeded", row["model_id"], row)


def test_a_wait_that_runs_out_answers_the_task(fleet: Fleet) -> None:
    with fleet.without(APPLY):
        response = fleet.submit(a_model("waited for in vain"), prefer="wait=1")
        assert response.status_code == 202
        assert response.headers["preference-applied"] == "wait=1"
        assert response.headers["retry-after"]
        assert response.json()["status"] == "queued"
        assert response.headers["location"] == f"/tasks/{response.json()['task_id']}"
    assert fleet.ended(response.json()["task_id"])["status"] == "succeeded"


def test_who_prefers_not_to_wait_is_answered_at_once(fleet: Fleet) -> None:
    response = fleet.submit(a_model(), prefer="respond-async")
    assert response.status_code == 202
    assert response.headers["preference-applied"] == "respond-async"
    assert response.json()["status"] == "queued"


def test_an_id_that_is_taken_is_refused_at_once(fleet: Fleet) -> None:
    assert fleet.submit(a_model(model_id="wanted twice"), prefer="wait=20").status_code == 200
    response = fleet.submit(a_model("other", model_id="wanted twice"), prefer="wait=20")
    assert response.status_code == 409
    assert response.json()["type"] == "urn:pointsman:problem:model_exists"
    assert response.headers["content-type"] == "application/problem+json"


def test_looking_at_a_task_can_wait_for_its_end(fleet: Fleet) -> None:
    with fleet.without(APPLY):
        task_id = fleet.accepted(a_model())
        queued = fleet.http.get(f"/tasks/{task_id}", params={"wait": 1})
        assert (queued.status_code, queued.json()["status"]) == (200, "queued")
        assert queued.headers["retry-after"]
    ended = fleet.http.get(f"/tasks/{task_id}", params={"wait": 30})
    assert ended.json()["status"] == "succeeded"
    assert "retry-after" not in ended.headers
    assert ended.headers["etag"] != queued.headers["etag"]
    assert fleet.http.get(f"/tasks/{task_id}").headers["etag"] == ended.headers["etag"]


def test_waiting_by_default_is_what_clients_of_litellm_get(fleet: Fleet) -> None:
    fleet.stop(API)
    fleet.start(API, POINTSMAN_DEFAULT_WAIT="10")
    assert fleet.submit(a_model("by default")).json()["model_name"] == "by default"
    assert fleet.submit(a_model(), prefer="respond-async").status_code == 202
    fleet.stop(API)


def test_somebody_without_the_key_sees_no_task(fleet: Fleet) -> None:
    task_id = fleet.accepted(a_model())
    for path in (
        f"/tasks/{task_id}",
        f"/tasks/{task_id}/events",
        "/tasks",
        "/audit",
        "/model/info",
        "/webhooks/secret",
    ):
        assert httpx.get(f"{fleet.url}{path}", trust_env=False).status_code == 401
        wrong = {"Authorization": "Bearer sk-of-somebody-else-123456"}
        assert httpx.get(f"{fleet.url}{path}", headers=wrong, trust_env=False).status_code == 401


def test_an_unknown_task_is_not_found(fleet: Fleet) -> None:
    for task_id in ("0190c8a0-0000-7000-8000-000000000000", "no-id"):
        for path in (f"/tasks/{task_id}", f"/tasks/{task_id}/events"):
            assert fleet.http.get(path).status_code == 404


def test_tasks_are_listed_page_by_page(fleet: Fleet) -> None:
    sent = [fleet.accepted(a_model(f"listed {number}")) for number in range(7)]
    fleet.all_succeed(sent)
    listed: list[str] = []
    cursor: str | None = None
    while len(listed) < len(sent):
        page = fleet.http.get("/tasks", params={"limit": 3, **({"cursor": cursor} if cursor else {})}).json()
        listed += [task["task_id"] for task in page["data"]]
        cursor = page["next_cursor"]
    assert listed[: len(sent)] == sent[::-1]


# --- following ---


def test_the_stream_begins_at_once_and_ends_with_the_task(fleet: Fleet) -> None:
    with fleet.without(APPLY):
        task_id = fleet.accepted(a_model())
        with _stream(fleet, task_id) as events:
            first = next(events)
            assert (first["event"], _task(first)["status"]) == ("task", "queued")
            fleet.start(APPLY)
            rest = list(events)
        fleet.stop(APPLY)
    assert [_task(event)["task_id"] for event in rest] == [task_id] * len(rest)
    assert _task(rest[-1])["status"] == "succeeded"
    numbers = [int(event["id"]) for event in [first, *rest]]
    assert numbers == sorted(set(numbers))


def test_the_stream_of_an_ended_task_is_its_end(fleet: Fleet) -> None:
    task_id = fleet.accepted(a_model())
    fleet.ended(task_id)
    with _stream(fleet, task_id) as events:
        (only,) = list(events)
    assert _task(only)["status"] == "succeeded"
    with _stream(fleet, task_id, last_event_id=only["id"]) as events:
        assert list(events) == []


def test_the_stream_resumes_after_a_restart_of_the_api(fleet: Fleet) -> None:
    with fleet.without(APPLY):
        task_id = fleet.accepted(a_model())
        with _stream(fleet, task_id) as events:
            seen = next(events)
            fleet.parts[API].kill()
            with pytest.raises(httpx.TransportError):
                list(events)
        fleet.start(API)
        with _stream(fleet, task_id, last_event_id=seen["id"]) as events:
            fleet.start(APPLY)
            rest = list(events)
        fleet.stop(APPLY)
    assert all(int(event["id"]) > int(seen["id"]) for event in rest)
    assert _task(rest[-1])["status"] == "succeeded"


# --- the audit and the health ---


def test_the_audit_says_who_added_what(fleet: Fleet) -> None:
    headers = {"litellm_changed_by": "maria", "x_request_id": "request-77"}
    task_id = fleet.accepted(a_model("audited", rpm=10, api_key="sk-of-a-provider-1234"), **headers)
    model_id = fleet.ended(task_id)["object_id"]
    (entry,) = fleet.audit(object_id=model_id)
    assert (entry["action"], entry["task_id"], entry["operation"]) == ("created", task_id, "model.create")
    assert (entry["actor"], entry["changed_by"], entry["request_id"]) == ("default_user_id", "maria", "request-77")
    assert entry["changed_by_api_key"] == "litellm_proxy_master_key"
    assert entry["before_value"] is None
    shown = entry["updated_values"]["litellm_params"]
    assert (shown["model"], shown["rpm"]) == ("openai/gpt-4o", 10)
    assert shown["api_key"].startswith("fp:test:")
    assert fleet.http.get(f"/audit/{entry['id']}").json() == entry


def test_the_audit_pages_are_the_chain_backwards(fleet: Fleet) -> None:
    fleet.all_succeed([fleet.accepted(a_model()) for _ in range(5)])
    entries = fleet.audit()
    assert [entry["position"] for entry in entries] == list(range(1, len(entries) + 1))
    assert [entry["previous_hash"] for entry in entries[1:]] == [entry["hash"] for entry in entries[:-1]]


def test_probes_need_no_key(fleet: Fleet) -> None:
    for path in ("/health/liveliness", "/health/liveness"):
        alive = httpx.get(f"{fleet.url}{path}", trust_env=False)
        assert (alive.status_code, "I'm alive!" in alive.text) == (200, True)
    ready = until(lambda: _ready(fleet))
    assert (ready["status"], ready["db"]) == ("healthy", "connected")
    assert ready["parts"] == dict.fromkeys(("database", "worker", "redis", "config_file"), "ready")


def test_the_document_of_the_api_is_there_with_its_page(fleet: Fleet) -> None:
    document = httpx.get(f"{fleet.url}/openapi.json", trust_env=False).raise_for_status().json()
    assert {"/model/new", "/model/info", "/tasks/{task_id}", "/audit", "/health/readiness"} <= document["paths"].keys()
    assert "text/html" in httpx.get(f"{fleet.url}/docs", trust_env=False).raise_for_status().headers["content-type"]


def _ready(fleet: Fleet) -> Any:
    response = httpx.get(f"{fleet.url}/health/readiness", trust_env=False)
    return response.json() if response.status_code == 200 else None


@contextmanager
def _stream(fleet: Fleet, task_id: str, last_event_id: str | None = None) -> Generator[Iterator[Event]]:
    headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
    with fleet.client() as client, client.stream("GET", f"/tasks/{task_id}/events", headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield _events(response.iter_lines())


def _events(lines: Iterator[str]) -> Iterator[Event]:
    """As the specification of server-sent events says: fields by line, an empty line ends an event."""
    for is_field, group in groupby(lines, key=bool):
        fields = dict(line.split(": ", 1) for line in group if is_field and not line.startswith(":"))
        if "data" in fields:
            yield fields


def _task(event: Event) -> dict[str, Any]:
    return msgspec.json.decode(event["data"])
