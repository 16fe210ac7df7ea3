"""Secrets are put wherever one can be put, and then looked for wherever something is written down or answered.

The looking is the invariant that follows every test of a fleet; here the logs say all they can say.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.support.fleet import API, APPLY, Fleet, a_model, running_fleet, until
from tests.support.receivers import Answer, Receiver

pytestmark = [pytest.mark.xdist_group("no secret shows"), pytest.mark.timeout(300)]

_PRIVATE_KEY = "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n"


@pytest.fixture(scope="module")
def slack() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("config") / "config.yaml"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, slack: Receiver, config: Path) -> Iterator[Fleet]:
    url = f"{slack.url}/services/T0/B0/canary-of-slack"
    config.write_text("model_list: []\n")
    with running_fleet(tmp_path_factory, log_level="debug", slack_webhook_url=url, config=str(config)) as fleet:
        yield fleet


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def _secrets(fleet: Fleet) -> dict[str, Any]:
    """Parameters that are secrets by their name or by what they look like, in every shape that parameters have."""
    canary = fleet.canary
    return {
        "api_key": canary("api_key", "sk-{}"),
        "azure_ad_token": canary("azure_ad_token"),
        "aws_secret_access_key": canary("aws_secret_access_key"),
        "aws_session_token": canary("aws_session_token"),
        "watsonx_zen_api_key": canary("an API key of a provider"),
        "vertex_credentials": {
            "type": "service_account",
            "private_key_id": canary("vertex_credentials.private_key_id"),
            "private_key": canary("vertex_credentials.private_key", _PRIVATE_KEY),
        },
        "extra_headers": {
            "Authorization": canary("extra_headers.Authorization", "Bearer {}"),
            "X-Api-Key": canary("extra_headers.X-Api-Key"),
            "Cookie": canary("extra_headers.Cookie", "session={}"),
        },
        "extra_body": {
            "nested": [{"password": canary("a password in a list")}, {"deep": {"token": canary("a token")}}]
        },
        "fallback_api_keys": [canary("the first item of a list"), canary("the second item of a list")],
        "my_client_secret": canary("an unknown key with a sensitive name"),
        "some_setting": canary("a value that looks like a secret", "sk-{}"),
        "headers_of_mine": [canary("a list item that looks like a secret", "sk-{}1234567890")],
        "api_base": canary("a password in a URL", "https://user:{}@upstream.example.internal/v1"),
        "proxy_url": canary("a key in the query of a URL", "https://upstream.example.internal/v1?api_key={}"),
    }


def _free_texts(fleet: Fleet) -> dict[str, Any]:
    """Parameters that nothing tells from settings: whoever may read the model is shown them, nobody else."""
    return {
        "some_note": fleet.canary("an unknown key with an innocent name", is_readable=True),
        "some_object": {"note": fleet.canary("an innocent name in an object", is_readable=True)},
        "some_list": [fleet.canary("an innocent list item", is_readable=True)],
    }


def test_whoever_looks_sees_what_is_there(fleet: Fleet) -> None:
    """That nothing is found means nothing unless something can be."""
    task = fleet.ended(fleet.accepted(a_model("to be found")))
    found = {name for name, text in fleet.dumps() if task["task_id"] in text or task["object_id"] in text}
    assert {"table task", "table model", "table audit_entry", "the answers of /audit"} <= found
    assert {"log monitor", "log api.log", "log worker-apply.log"} <= found


def test_in_what_is_accepted(fleet: Fleet, slack: Receiver) -> None:
    answer = fleet.submit(a_model("holds secrets", **_secrets(fleet), **_free_texts(fleet)), prefer="wait=30")
    assert answer.status_code == 200
    assert _answered(fleet, answer) == []
    model_id = answer.json()["model_id"]
    for path in (f"/model/info?litellm_model_id={model_id}", "/v1/model/info", f"/audit?object_id={model_id}"):
        assert _answered(fleet, fleet.http.get(path)) == []
    _no_canary_was_received(fleet, slack)


def test_in_what_is_accepted_and_waits(fleet: Fleet) -> None:
    with fleet.without(APPLY):
        answer = fleet.submit(a_model("waits with secrets", **_secrets(fleet)))
        assert answer.status_code == 202
        assert _answered(fleet, answer, fleet.http.get(answer.headers["location"])) == []
        assert fleet.shown() == []


def test_in_what_is_changed_removed_and_brought_back(fleet: Fleet) -> None:
    model_id = fleet.submit(a_model("changes", **_secrets(fleet)), prefer="wait=30").json()["model_id"]
    changes: list[tuple[str, str, Any]] = [
        ("PATCH", f"/model/{model_id}/update", {"litellm_params": _secrets(fleet)}),
        ("POST", "/model/update", {"model_info": {"id": model_id}, "litellm_params": _secrets(fleet)}),
        ("PATCH", f"/model/{model_id}/update", {"litellm_params": {"api_key": None, "extra_headers": None}}),
        ("POST", f"/model/{model_id}/rollback", {"version": 2}),
        ("POST", "/model/block", {"model_id": model_id}),
        ("POST", "/model/unblock", {"model_id": model_id}),
        ("POST", "/model/delete", {"id": model_id}),
    ]
    for method, path, body in changes:
        answer = fleet.http.request(method, path, json=body, headers={"Prefer": "wait=30"})
        assert answer.status_code == 200, answer.text
        history = fleet.http.get(f"/model/{model_id}/history")
        assert _answered(fleet, answer, history, fleet.http.get(f"/model/info?litellm_model_id={model_id}")) == []


def test_in_changes_that_are_refused(fleet: Fleet) -> None:
    fleet.submit(a_model("stays", model_id="stays", **_secrets(fleet)), prefer="wait=30")
    given = [
        ("PATCH", "/model/stays/update", {"litellm_params": {**_secrets(fleet), "rpm": fleet.canary("rpm")}}, {}),
        ("PATCH", "/model/stays/update", {"litellm_params": _secrets(fleet)}, {"If-Match": '"another"'}),
        ("PATCH", "/model/gone/update", {"litellm_params": _secrets(fleet)}, {}),
        ("POST", "/model/update", {"litellm_params": _secrets(fleet)}, {}),
        ("POST", "/model/stays/rollback", {"version": fleet.canary("a version", "sk-{}")}, {}),
        ("POST", "/tasks/cancel", {"operation": fleet.canary("an operation", "sk-{}"), "x": 1}, {}),
    ]
    for method, path, body, headers in given:
        answer = fleet.http.request(method, path, json=body, headers={**headers, "Prefer": "wait=30"})
        assert 400 <= answer.status_code < 500, answer.text
        assert _answered(fleet, answer) == []
    # What a client put into a path or the name of a field it is answered; nobody else is.
    assert fleet.http.post("/tasks/retry", json={fleet.canary("the name of a field", "sk-{}"): 1}).status_code == 422
    for path in ("/model/{}/update", "/credentials/{}"):
        sent = fleet.canary("a key for an id", path.format("sk-{}"))
        assert fleet.http.patch(sent, json={}).status_code in (404, 422)
    assert fleet.shown() == []


def test_in_credentials(fleet: Fleet) -> None:
    secrets = {"credential_values": _secrets(fleet)}
    sent: list[tuple[str, str, Any, int]] = [
        ("POST", "/credentials", {"credential_name": "holds-secrets", **secrets}, 200),
        ("POST", "/credentials", {"credential_name": "holds-secrets", "credential_values": _secrets(fleet)}, 409),
        ("POST", "/credentials", {"credential_name": "a/b", "credential_values": _secrets(fleet)}, 422),
        ("PATCH", "/credentials/holds-secrets", {"credential_values": _secrets(fleet)}, 200),
        ("POST", "/model/new", a_model("names it", model_id="names-it", litellm_credential_name="holds-secrets"), 200),
        ("POST", "/credentials", {"credential_name": "of-a-model", "model_id": "names-it"}, 200),
        ("DELETE", "/credentials/holds-secrets", None, 409),
        ("PATCH", "/model/names-it/update", {"litellm_params": {"litellm_credential_name": None}}, 200),
        ("DELETE", "/credentials/holds-secrets", None, 200),
    ]
    for method, path, body, status in sent:
        answer = fleet.http.request(method, path, json=body, headers={"Prefer": "wait=30"})
        assert answer.status_code == status, (path, answer.text)
        shown = [fleet.http.get(where) for where in ("/credentials", "/credentials/holds-secrets", "/audit")]
        assert _answered(fleet, answer, *shown) == []


def test_in_what_is_cancelled_and_tried_again(fleet: Fleet, receiver: Receiver) -> None:
    with fleet.without(APPLY):
        url = fleet.canary("the query of a Webhook-Url", receiver.url + "/hook?token={}", is_readable=True)
        task_id = fleet.accepted(a_model("is cancelled", **_secrets(fleet)), webhook_url=url)
        cancelled = fleet.http.post(f"/tasks/{task_id}/cancel", headers={"Prefer": "wait=0"})
        assert _answered(fleet, cancelled) == []
    assert fleet.ended(task_id)["status"] == "cancelled"
    again = fleet.http.post(f"/tasks/{task_id}/retry", headers={"Prefer": "wait=30"})
    assert again.status_code == 200, again.text
    assert _answered(fleet, again) == []
    receiver.wait_for(2)
    assert all(fleet.shown_in("the body of a callback", request.body.decode()) == [] for request in receiver.requests)


def test_in_streams(fleet: Fleet) -> None:
    with fleet.without(APPLY):
        task_id = fleet.accepted(a_model("is streamed", **_secrets(fleet)))
    stream = fleet.http.get(f"/tasks/{task_id}/events")
    assert "succeeded" in stream.text
    assert _answered(fleet, stream) == []


def test_in_models_of_a_file(fleet: Fleet, config: Path) -> None:
    entry = {"model_name": "of the file", "litellm_params": {"model": "openai/gpt-4o", **_secrets(fleet)}}
    config.write_text(yaml.safe_dump({"model_list": [{**entry, "model_info": {"id": "of-the-file"}}]}))
    until(lambda: "of-the-file" in fleet.models())
    paths = (
        "/model/info",
        "/v2/model/info",
        "/model/info?litellm_model_id=of-the-file",
        "/models",
        "/model_group/info",
    )
    assert _answered(fleet, *(fleet.http.get(path) for path in paths)) == []
    refused = fleet.http.post("/model/delete", json={"id": "of-the-file"})
    assert refused.status_code >= 400
    broken = fleet.canary("a file that is no YAML", "model_list: [{{litellm_params: {{api_key: sk-{}")
    for text in (broken, yaml.safe_dump({"model_list": [fleet.canary("a model that is a text", "sk-{}")]})):
        before = fleet.parts[API].logged.count("config_file")
        config.write_text(text)
        until(
            lambda before=before: (
                fleet.http.get("/model/info") and fleet.parts[API].logged.count("config_file") > before
            )
        )
    config.write_text("model_list: []\n")
    until(lambda: "of-the-file" not in fleet.models())


def test_while_the_key_is_changed(fleet: Fleet) -> None:
    answer = fleet.http.post("/encryption/rotate", headers={"Prefer": "wait=60"})
    assert answer.status_code == 200, answer.text
    assert _answered(fleet, answer) == []


def test_in_what_is_refused(fleet: Fleet) -> None:
    canary = fleet.canary
    bodies: list[Any] = [
        {"model_name": "no parameters", "api_key": canary("a key at the top", "sk-{}")},
        {"model_name": "a text", "litellm_params": canary("parameters that are a text", "sk-{}")},
        {"model_name": {"name": canary("a name that is an object")}, "litellm_params": {"model": "openai/gpt-4o"}},
        {"litellm_params": {"model": "openai/gpt-4o", "api_key": canary("api_key without a name", "sk-{}")}},
        a_model("not a number", rpm=canary("rpm")),
        a_model("not a number", input_cost_per_token=canary("input_cost_per_token", "sk-{}")),
        a_model("not a text", api_key=[canary("api_key beside a wrong field")], tpm={"a": canary("tpm")}),
        a_model("cannot be stored", api_key=canary("a text with NUL", "sk-{}\0")),
        {**a_model("a wrong tier"), "model_info": {"tier": canary("tier", "sk-{}"), "api_key": canary("an info")}},
        {**a_model("a wrong id"), "model_info": {"id": [canary("an id that is a list")]}},
        {**a_model("an unknown team"), "model_info": {"team_id": "no team", "api_key": canary("an info")}},
    ]
    answers = [fleet.submit(body) for body in bodies]
    assert {answer.status_code for answer in answers} <= {400, 422}
    broken = '{"model_name": "broken", "litellm_params": {"api_key": "' + canary("a body that is no JSON", "sk-{}")
    answers.append(fleet.http.post("/model/new", content=broken))
    assert answers[-1].status_code in (400, 422)
    assert _answered(fleet, *answers) == []


def test_in_headers_that_are_refused(fleet: Fleet) -> None:
    canary = fleet.canary
    answers = [
        fleet.submit(a_model(), webhook_url=canary("a refused Webhook-Url", "http://10.0.0.1/hook?token={}")),
        fleet.submit(a_model(), webhook_url=canary("a Webhook-Url with a user", "http://user:{}@127.0.0.1/hook")),
        fleet.submit(a_model(), webhook_url=canary("a Webhook-Url that is none", "not a URL {}")),
        fleet.submit(a_model(), idempotency_key=canary("a refused Idempotency-Key", "{}") + "x" * 300),
        *(
            httpx.get(f"{fleet.url}/model/info", headers={name: value}, trust_env=False)
            for name, value in (
                ("Authorization", canary("a wrong key", "Bearer sk-{}")),
                ("Authorization", canary("another scheme", "Basic {}")),
                ("Authorization", canary("no scheme", "sk-{}")),
                ("x-api-key", canary("a wrong x-api-key", "sk-{}")),
                ("x-litellm-api-key", canary("something that is no key")),
            )
        ),
    ]
    assert {answer.status_code for answer in answers} <= {400, 401, 422}
    assert _answered(fleet, *answers) == []


def test_in_what_is_refused_because_it_exists(fleet: Fleet) -> None:
    body = a_model("exists", model_id="exists", **_secrets(fleet))
    assert fleet.submit(body, prefer="wait=30").status_code == 200
    other = {**body, "model_name": "another"}
    assert _answered(fleet, conflict := fleet.submit(other)) == []
    assert conflict.status_code == 409


def test_in_callbacks_that_fail(fleet: Fleet, receiver: Receiver, slack: Receiver) -> None:
    receiver.answer_with(Answer(status=500), Answer(status=500))
    url = fleet.canary("the query of a Webhook-Url", receiver.url + "/hook?token={}", is_readable=True)
    task_id = fleet.accepted(a_model("calls back", **_secrets(fleet)), webhook_url=url)
    fleet.ended(task_id)
    receiver.wait_for(3)
    assert all(fleet.shown_in("the body of a callback", request.body.decode()) == [] for request in receiver.requests)
    _no_canary_was_received(fleet, slack)


def test_in_callbacks_to_nobody(fleet: Fleet) -> None:
    with Receiver() as gone:
        url = fleet.canary("the path of a Webhook-Url", gone.url + "/hook/{}", is_readable=True)
    fleet.all_succeed([fleet.accepted(a_model("calls nobody"), webhook_url=url)])


def test_in_work_that_breaks_off(fleet: Fleet) -> None:
    """PostgreSQL ends the worker's session while it writes a model; the log tells of it with the statement."""
    name = "a model whose name only its readers know"
    with fleet.held_while_saving():
        sent = fleet.accepted(a_model(name, **_secrets(fleet), **_free_texts(fleet)))
        until(fleet.is_held)
        fleet.end_held_sessions()
    fleet.all_succeed([sent])
    log = fleet.parts[APPLY].logged
    assert "batch.broke_off" in log
    assert name not in log
    assert "[parameters:" not in log


def test_in_submissions_while_the_database_goes_away(fleet: Fleet) -> None:
    with fleet.away(fleet.postgres):
        answer = fleet.submit(a_model("nowhere to go", **_secrets(fleet)))
        assert answer.status_code == 503
        assert _answered(fleet, answer) == []


def test_in_the_files_of_the_servers(fleet: Fleet) -> None:
    """What was deleted or overwritten since is still in what they write ahead."""
    fleet.submit(a_model("written ahead", **_secrets(fleet), **_free_texts(fleet)), prefer="wait=30")
    written = [*fleet.folder.glob("postgres/postgres/pg_wal/*"), *fleet.folder.glob("valkey/valkey/**/*.aof")]
    assert len(written) > 1
    for path in written:
        if path.is_file():
            assert fleet.shown_in(path.name, path.read_bytes().decode("latin-1")) == []


def test_the_keys_of_the_installation_show_nowhere(fleet: Fleet) -> None:
    fleet.submit(a_model("the last one"), prefer="wait=30")
    keys = [
        fleet.master_key,
        fleet.environment["POINTSMAN_ENCRYPTION_KEYS"].partition(":")[2],
        fleet.http.get("/webhooks/secret").json()["secret"].removeprefix("whsec_"),
        "canary-of-slack",
    ]
    assert [name for name, text in fleet.dumps() for key in keys if key in text] == []


def _answered(fleet: Fleet, *answers: httpx.Response) -> list[str]:
    return [
        line
        for answer in answers
        for line in fleet.shown_in(f"the answer of {answer.url.path}", answer.text, to_reader=answer.is_success)
    ]


def _no_canary_was_received(fleet: Fleet, slack: Receiver) -> None:
    slack.wait_for(1)
    assert all(fleet.shown_in("a Slack message", request.body.decode()) == [] for request in slack.requests)
