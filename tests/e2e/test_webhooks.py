"""An endpoint's life over HTTP, with every process there is."""

from collections.abc import Iterator

import pytest
from standardwebhooks.webhooks import Webhook as Verifier

from tests.support.fleet import Fleet, running_fleet, until
from tests.support.receivers import Answer, Receiver

pytestmark = [pytest.mark.xdist_group("webhooks"), pytest.mark.timeout(300)]

WAIT = {"Prefer": "wait=20"}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with running_fleet(tmp_path_factory) as fleet:
        yield fleet


def test_register_hear_rotate_replay_and_remove(fleet: Fleet) -> None:
    with Receiver() as receiver:
        body = {"url": f"{receiver.url}/in?token=canary-token", "event_types": ["model.*"]}
        created = fleet.http.post("/webhooks", json=body, headers=WAIT)
        assert created.status_code == 200, created.text
        webhook_id, secret = created.json()["webhook_id"], created.json()["secret"]
        shown = fleet.http.get(f"/webhooks/{webhook_id}")
        assert shown.json()["url"] == f"{receiver.url}/in?token=***"
        assert "secret" not in shown.json()

        model = {"model_name": "gpt", "litellm_params": {"model": "openai/gpt-4o"}}
        assert fleet.http.post("/model/new", json=model, headers=WAIT).status_code == 200
        heard = receiver.wait_for(1)[0]
        assert Verifier(secret).verify(heard.body, heard.headers)["type"] == "model.created"

        rotated = fleet.http.post(f"/webhooks/{webhook_id}/rotate", headers=WAIT)
        assert rotated.json()["secret"] != secret
        listed = until(lambda: fleet.http.get(f"/webhooks/{webhook_id}/deliveries?status=succeeded").json()["data"])
        delivery = fleet.http.get(f"/webhooks/{webhook_id}/deliveries/{listed[0]['delivery_id']}").json()
        assert [attempt["status_code"] for attempt in delivery["attempts"]] == [200]

        asked = {"delivery_id": delivery["delivery_id"]}
        assert fleet.http.post(f"/webhooks/{webhook_id}/replay", json=asked, headers=WAIT).status_code == 200
        again = receiver.wait_for(2)[1]
        assert again.headers["webhook-id"] == heard.headers["webhook-id"]
        for one in (secret, rotated.json()["secret"]):
            Verifier(one).verify(again.body, again.headers)

        assert fleet.http.delete(f"/webhooks/{webhook_id}", headers=WAIT).json()["deleted"]
        assert fleet.http.get(f"/webhooks/{webhook_id}").status_code == 404


def test_the_secret_is_in_the_first_answer_only(fleet: Fleet) -> None:
    headers = {"Idempotency-Key": "once", "Prefer": "respond-async"}
    body = {"url": "https://hooks.example.com/", "event_types": ["*"], "enabled": False}
    first = fleet.http.post("/webhooks", json=body, headers=headers)
    assert first.status_code == 202
    assert first.json()["secret"].startswith("whsec_")
    task = fleet.http.get(f"{first.headers['location']}?wait=20")
    assert "whsec_" not in task.text
    again = fleet.http.post("/webhooks", json=body, headers=headers)
    assert again.headers["idempotency-replayed"] == "true"
    assert "secret" not in again.json()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"url": "http://169.254.169.254/", "event_types": ["*"]}, "url"),
        ({"url": "https://example.com/", "event_types": ["model.made"]}, "event_types[0]"),
        ({"url": "https://example.com/", "event_types": []}, "event_types"),
        ({"event_types": ["*"]}, "url"),
        ({"url": "https://example.com/", "event_types": ["*"], "secret": "x"}, "body"),
    ],
)
def test_what_is_wrong_is_named(fleet: Fleet, body: dict[str, object], field: str) -> None:
    refused = fleet.http.post("/webhooks", json=body)
    assert refused.status_code == 422
    assert refused.json()["error"]["param"] == field


def test_410_switches_an_endpoint_off_and_the_audit_log_says_so(fleet: Fleet) -> None:
    with Receiver(default=Answer(status=410)) as receiver:
        body = {"url": receiver.url, "event_types": ["webhook.test"]}
        webhook_id = fleet.http.post("/webhooks", json=body, headers=WAIT).json()["webhook_id"]
        fleet.http.post(f"/webhooks/{webhook_id}/test", headers=WAIT)
        until(lambda: not fleet.http.get(f"/webhooks/{webhook_id}").json()["enabled"])
        entries = fleet.http.get(f"/audit?object_id={webhook_id}&action=disabled").json()["audit_logs"]
        assert entries[0]["actor"] == "pointsman"


@pytest.mark.parametrize("path", ["", "/deliveries", "/deliveries/x"])
def test_what_is_not_there_is_404(fleet: Fleet, path: str) -> None:
    assert fleet.http.get(f"/webhooks/01a20888-6933-729d-bae4-4ac9edf714ef{path}").status_code == 404
