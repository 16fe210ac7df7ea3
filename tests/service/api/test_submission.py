"""What a submission is answered with, and what it leaves in the database."""

import asyncio
from typing import Any

import httpx
import psycopg
import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from api.intake import Intake
from shared.encryption.keyring import Keyring, new_key
from tests.conftest import SettingsBuilder
from tests.service.api.serving import an_api, until
from tests.service.building import CANARY, Side, a_model
from tests.support.receivers import Receiver

Database = psycopg.Connection[Any]


def problem_of(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["Content-Type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == response.status_code
    assert body["error"]["code"] == str(response.status_code)
    return response.status_code, body["type"].removeprefix("urn:pointsman:problem:")


def fields_of(response: httpx.Response) -> list[str]:
    assert problem_of(response) == (422, "invalid_request")
    return sorted(error["field"] for error in response.json()["errors"])


def tasks_in(database: Database) -> list[tuple[str, str]]:
    return database.execute("SELECT task_id::text, object_id FROM task ORDER BY seq").fetchall()


async def accepted(client: httpx.AsyncClient, body: dict[str, Any], **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = await client.post("/model/new", json=body, headers=named)
    assert response.status_code == 202, response.text
    return response


async def one_is_queued(client: httpx.AsyncClient) -> None:
    async def is_there() -> bool:
        return bool((await client.get("/tasks")).json()["data"])

    await until(is_there)


# --- accepting ---


async def test_a_model_is_accepted_as_a_task(client: httpx.AsyncClient, database: Database) -> None:
    response = await accepted(client, a_model())
    task = response.json()
    assert response.headers["Location"] == f"/tasks/{task['task_id']}"
    assert response.headers["Retry-After"] == "1"
    assert "Preference-Applied" not in response.headers
    assert (task["status"], task["operation"], task["object_type"]) == ("queued", "model.create", "model")
    assert (task["attempt"], task["result"], task["error"], task["webhook"]) == (0, None, None, None)
    assert tasks_in(database) == [(task["task_id"], task["object_id"])]


async def test_the_answer_is_what_a_read_says_a_moment_later(client: httpx.AsyncClient) -> None:
    task = (await accepted(client, a_model())).json()
    assert (await client.get(f"/tasks/{task['task_id']}")).json() == task


async def test_secrets_are_sealed_before_the_first_durable_write(client: httpx.AsyncClient, database: Database) -> None:
    await accepted(client, a_model(extra_headers={"x": [CANARY]}))
    ((params,),) = database.execute("SELECT command->'litellm_params' FROM task").fetchall()
    sealed = [params["model"], params["api_key"], params["extra_headers"]["x"][0]]
    assert all(text.startswith("pm1:test:") for text in sealed)


async def test_where_it_came_from_is_kept(client: httpx.AsyncClient, database: Database) -> None:
    await accepted(client, a_model(), litellm_changed_by="ann@example.com", x_request_id="req-1")
    ((origin, principal),) = database.execute("SELECT origin, principal FROM task").fetchall()
    assert origin == {"request_id": "req-1", "source_address": "203.0.113.9", "changed_by": "ann@example.com"}
    assert principal["user_id"] == "default_user_id"


@pytest.mark.parametrize(
    ("given", "expected"), [("my-id", "my-id"), (77, "77"), ("a/b c", "a/b c"), ("\N{SNOWMAN}" * 255, None)]
)
async def test_an_id_of_the_clients_own_is_taken(client: httpx.AsyncClient, given: Any, expected: str | None) -> None:
    task = (await accepted(client, a_model(info={"id": given}))).json()
    assert task["object_id"] == (expected or given)


@pytest.mark.parametrize("absent", ["", None])
async def test_an_empty_id_is_none(client: httpx.AsyncClient, absent: str | None) -> None:
    first = (await accepted(client, a_model(info={"id": absent}))).json()
    second = (await accepted(client, a_model(info={"id": absent}))).json()
    assert first["object_id"] not in ("", second["object_id"])


async def test_models_of_one_name_without_ids_are_two(client: httpx.AsyncClient, database: Database) -> None:
    await accepted(client, a_model())
    await accepted(client, a_model())
    assert len(tasks_in(database)) == 2


@pytest.mark.parametrize(
    "number",
    ["12345678901234567890123", "1e300", "1" + "0" * 300, "0.1", "1e-9", "-0.0", "1" * 4300, "1" * 4301],
)
async def test_any_number_that_is_accepted_can_be_applied(client: httpx.AsyncClient, number: str) -> None:
    params = f'{{"model":"x","odd":{number},"max_budget":"{number[:300]}"}}'
    body = f'{{"model_name":"m","litellm_params":{params}}}'
    response = await client.post("/model/new", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code in (202, 422), response.text


async def test_a_submission_needs_no_content_type(client: httpx.AsyncClient) -> None:
    response = await client.post("/model/new", content=b'{"model_name":"m","litellm_params":{"model":"x"}}')
    assert response.status_code == 202


# --- refusing ---


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["model_name"]),
        ({"model_name": "m"}, ["litellm_params"]),
        ({"model_name": "m", "litellm_params": {}}, ["litellm_params.model"]),
        ({"model_name": "", "litellm_params": {"model": "x"}}, ["model_name"]),
        ({"model_name": 7, "litellm_params": {"model": "x"}}, ["model_name"]),
        ({"model_name": "m", "litellm_params": "x"}, ["litellm_params"]),
        (a_model(rpm="many"), ["litellm_params.rpm"]),
        (
            a_model(rpm=True, input_cost_per_token="cheap"),
            ["litellm_params.input_cost_per_token", "litellm_params.rpm"],
        ),
        (a_model(info={"id": {}}), ["model_info.id"]),
        (a_model(info={"tier": "gold"}), ["model_info.tier"]),
        ([], ["body"]),
    ],
)
async def test_every_wrong_field_is_named(client: httpx.AsyncClient, body: Any, fields: list[str]) -> None:
    assert fields_of(await client.post("/model/new", json=body)) == fields


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"model_name": NaN}', b"[" * 100_000])
async def test_what_is_no_json_is_refused(client: httpx.AsyncClient, body: bytes) -> None:
    response = await client.post("/model/new", content=body, headers={"Content-Type": "application/json"})
    assert problem_of(response) == (422, "invalid_request")


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "application/yaml"])
async def test_other_media_types_are_refused(client: httpx.AsyncClient, media_type: str) -> None:
    response = await client.post("/model/new", content=b"{}", headers={"Content-Type": media_type})
    assert problem_of(response) == (415, "unsupported_media_type")


async def test_a_body_above_the_limit_is_refused(a_settings: SettingsBuilder) -> None:
    async with an_api(a_settings(max_body_bytes="2048")) as client:
        assert problem_of(await client.post("/model/new", json=a_model("m" * 2048))) == (413, "body_too_large")
        await accepted(client, a_model("m" * 400))


async def test_a_refused_value_is_never_repeated(client: httpx.AsyncClient) -> None:
    response = await client.post("/model/new", json=a_model(rpm=CANARY, info={"tier": CANARY, "id": [CANARY]}))
    assert len(fields_of(response)) == 3
    assert CANARY not in response.text


async def test_a_team_that_does_not_exist_is_named(client: httpx.AsyncClient) -> None:
    response = await client.post("/model/new", json=a_model(info={"team_id": "t-1"}))
    assert problem_of(response) == (400, "unknown_team")


async def test_another_method_is_told_which_are_allowed(client: httpx.AsyncClient) -> None:
    response = await client.delete("/model/new")
    assert problem_of(response) == (405, "method_not_allowed")
    assert "POST" in response.headers["Allow"]


# --- the same again ---


async def test_an_id_that_is_stored_is_refused(
    client: httpx.AsyncClient, engine: Engine, keyring: Keyring, database: Database
) -> None:
    await accepted(client, a_model(info={"id": "taken"}))
    assert Side(engine, keyring).applier.apply_due().task_ids
    response = await client.post("/model/new", json=a_model("another", info={"id": "taken"}))
    assert problem_of(response) == (409, "model_exists")
    assert len(tasks_in(database)) == 1


async def test_the_same_submission_once_it_is_stored_is_the_same_task(
    client: httpx.AsyncClient, engine: Engine, keyring: Keyring, database: Database
) -> None:
    """The retry of a client whose first answer was lost."""
    first = await accepted(client, a_model(info={"id": "mine"}))
    assert Side(engine, keyring).applier.apply_due().task_ids
    again = await client.post("/model/new", json=a_model(info={"id": "mine"}))
    assert again.json()["task_id"] == first.json()["task_id"]
    assert again.headers["idempotency-replayed"] == "true"
    assert len(tasks_in(database)) == 1


async def test_an_id_that_waits_to_be_stored_is_refused_with_other_content(client: httpx.AsyncClient) -> None:
    await accepted(client, a_model(info={"id": "taken"}))
    response = await client.post("/model/new", json=a_model("another", info={"id": "taken"}))
    assert problem_of(response) == (409, "model_exists")


async def test_the_same_submission_while_it_waits_is_the_same_task(
    client: httpx.AsyncClient, database: Database
) -> None:
    first = await accepted(client, a_model(info={"id": "mine"}))
    again = await accepted(client, a_model(info={"id": "mine"}))
    assert again.json() == first.json()
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    assert len(tasks_in(database)) == 1


async def test_an_idempotency_key_replays_its_task(client: httpx.AsyncClient, database: Database) -> None:
    first = await accepted(client, a_model(), Idempotency_Key="k-1")
    again = await accepted(client, a_model(), Idempotency_Key="k-1")
    assert again.json()["task_id"] == first.json()["task_id"]
    assert again.headers["Idempotency-Replayed"] == "true"
    assert len(tasks_in(database)) == 1


async def test_an_idempotency_key_replays_a_task_that_has_ended(
    client: httpx.AsyncClient, engine: Engine, keyring: Keyring
) -> None:
    first = await accepted(client, a_model(info={"id": "mine"}), Idempotency_Key="k-1")
    Side(engine, keyring).applier.apply_due()
    again = await accepted(client, a_model(info={"id": "mine"}), Idempotency_Key="k-1")
    assert again.json()["task_id"] == first.json()["task_id"]
    assert again.json()["status"] == "succeeded"
    assert "Retry-After" not in again.headers


async def test_an_idempotency_key_outlives_the_rotation_of_the_encryption_key(
    a_settings: SettingsBuilder, database: Database
) -> None:
    old = new_key("old")
    async with an_api(a_settings(encryption_keys=old)) as client:
        first = await accepted(client, a_model(), Idempotency_Key="k-1")
    async with an_api(a_settings(encryption_keys=f"{new_key('test')},{old}")) as client:
        again = await accepted(client, a_model(), Idempotency_Key="k-1")
    assert again.json()["task_id"] == first.json()["task_id"]
    database.execute("DELETE FROM task")  # sealed with a key that nobody has any more


async def test_an_idempotency_key_is_refused_for_another_request(client: httpx.AsyncClient, database: Database) -> None:
    await accepted(client, a_model(), Idempotency_Key="k-1")
    response = await client.post("/model/new", json=a_model("another"), headers={"Idempotency-Key": "k-1"})
    assert problem_of(response) == (422, "idempotency_key_reused")
    assert len(tasks_in(database)) == 1


@pytest.mark.parametrize("key", ["", "   ", "k" * 256, "\xe9"])
async def test_an_idempotency_key_that_cannot_be_kept_is_refused(client: httpx.AsyncClient, key: str) -> None:
    headers = {"Idempotency-Key": key.encode("latin-1")}
    assert problem_of(await client.post("/model/new", json=a_model(), headers=headers)) == (400, "invalid_header")


async def test_fifty_at_once_with_one_idempotency_key_are_one_task(
    a_settings: SettingsBuilder, database: Database
) -> None:
    """Sent to two API processes' worth of intakes, so that one's own memory does not help."""
    async with an_api(a_settings()) as one, an_api(a_settings()) as another:
        clients = [one, another] * 25
        answers = await asyncio.gather(*(accepted(client, a_model(), Idempotency_Key="k-1") for client in clients))
    assert len({answer.json()["task_id"] for answer in answers}) == 1
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1
    assert len(tasks_in(database)) == 1


async def test_fifty_at_once_for_one_id_are_one_task(a_settings: SettingsBuilder, database: Database) -> None:
    async with an_api(a_settings()) as one, an_api(a_settings()) as another:
        bodies = [a_model(f"name-{i % 5}", info={"id": "wanted"}) for i in range(50)]
        answers = await asyncio.gather(
            *(client.post("/model/new", json=body) for client, body in zip([one, another] * 25, bodies, strict=True))
        )
    assert sorted({answer.status_code for answer in answers}) == [202, 409]
    assert sum(answer.status_code == 202 for answer in answers) == 10
    assert len(tasks_in(database)) == 1


# --- waiting ---


async def test_who_waits_is_answered_with_the_finished_row(
    client: httpx.AsyncClient, engine: Engine, keyring: Keyring, database: Database
) -> None:
    waiting = asyncio.create_task(client.post("/model/new", json=a_model(), headers={"Prefer": "wait=30"}))
    await one_is_queued(client)
    await asyncio.to_thread(Side(engine, keyring).applier.apply_due)
    response = await waiting
    assert response.status_code == 200, response.text
    assert response.headers["Preference-Applied"] == "wait=30"
    row = response.json()
    assert (row["model_name"], row["litellm_params"], row["version"]) == ("gpt-4o", {"model": "openai/gpt-4o"}, 1)
    assert row["model_info"] == {"id": row["model_id"], "db_model": True}


async def test_the_server_can_wait_for_who_says_nothing(
    a_settings: SettingsBuilder, engine: Engine, keyring: Keyring, database: Database
) -> None:
    async with an_api(a_settings(default_wait="30")) as client:
        waiting = asyncio.create_task(client.post("/model/new", json=a_model()))
        await one_is_queued(client)
        await asyncio.to_thread(Side(engine, keyring).applier.apply_due)
        response = await waiting
        assert response.status_code == 200, response.text
        at_once = await accepted(client, a_model(), Prefer="respond-async")
    assert at_once.headers["Preference-Applied"] == "respond-async"


async def test_a_wait_that_runs_out_is_answered_with_the_task(a_settings: SettingsBuilder) -> None:
    async with an_api(a_settings(default_wait="0.01")) as client:
        task = (await accepted(client, a_model())).json()
    assert task["status"] == "queued"


async def test_a_task_that_fails_meanwhile_is_answered_with_its_problem(
    client: httpx.AsyncClient, engine: Engine, keyring: Keyring, database: Database
) -> None:
    waiting = asyncio.create_task(
        client.post("/model/new", json=a_model(info={"id": "x"}), headers={"Prefer": "wait=30"})
    )
    await one_is_queued(client)
    database.execute(
        """UPDATE task SET principal = jsonb_set(principal, '{role}', '"internal_user"')"""
    )  # as if the rights had been taken away meanwhile
    await asyncio.to_thread(Side(engine, keyring).applier.apply_due)
    response = await waiting
    assert problem_of(response) == (403, "not_permitted")
    assert response.headers["Location"].startswith("/tasks/")


async def test_what_was_committed_unheard_is_accepted_and_not_judged_again(
    client: httpx.AsyncClient, engine: Engine, keyring: Keyring, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is lost after COMMIT was sent. To a second look the model would be gone, through this deletion."""
    await accepted(client, a_model(info={"id": "m-1"}))
    Side(engine, keyring).drain.drain()
    commit = Intake._commit

    async def commit_unheard(intake: Intake, requests: list[Any], *, is_repeated: bool) -> list[Any]:
        outcomes = await commit(intake, requests, is_repeated=is_repeated)
        if not is_repeated:
            raise DBAPIError("COMMIT", None, ConnectionError(), connection_invalidated=True)
        return outcomes

    monkeypatch.setattr(Intake, "_commit", commit_unheard)
    answer = await client.post("/model/delete", json={"id": "m-1"})
    assert answer.status_code == 202, answer.text
    Side(engine, keyring).drain.drain()
    found = database.execute("SELECT status FROM task WHERE operation = 'model.delete'").fetchall()
    assert found == [("succeeded",)]


async def test_with_too_many_waiters_a_submission_is_accepted_without_waiting(a_settings: SettingsBuilder) -> None:
    async with an_api(a_settings(max_waiters="1")) as client:
        first = asyncio.create_task(client.post("/model/new", json=a_model(), headers={"Prefer": "wait=1"}))
        await one_is_queued(client)
        second = await accepted(client, a_model(), Prefer="wait=30")
        assert second.json()["status"] == "queued"
        assert (await first).status_code == 202


# --- callbacks ---


@pytest.mark.parametrize("url", ["http://127.0.0.1/x", "http://localhost:9", "ftp://example.com", "http://10.0.0.1"])
async def test_a_callback_into_the_machine_or_its_network_is_refused(
    client: httpx.AsyncClient, database: Database, url: str
) -> None:
    response = await client.post("/model/new", json=a_model(), headers={"Webhook-Url": url})
    assert problem_of(response) == (422, "webhook_refused")
    assert response.json()["error"]["param"] == "Webhook-Url"
    assert tasks_in(database) == []


async def test_a_callback_into_an_allowed_network_is_kept_sealed(
    a_settings: SettingsBuilder, database: Database
) -> None:
    with Receiver() as receiver:
        url = f"{receiver.url}/?token={CANARY}"
        async with an_api(a_settings(webhook_allow="127.0.0.0/8")) as client:
            task = (await accepted(client, a_model(), Webhook_Url=url)).json()
            assert task["webhook"] == {"url": url, "deliveries": []}
            assert (await client.get(f"/tasks/{task['task_id']}")).json() == task
    ((sealed,),) = database.execute("SELECT webhook_url FROM task").fetchall()
    assert sealed.startswith("pm1:test:")
