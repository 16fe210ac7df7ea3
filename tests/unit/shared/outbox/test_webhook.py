import base64
import operator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from shared.outbox.webhook import MAX_BODY_BYTES, UnusableSecretError, body, new_secret, sign

EVENT_ID = "evt_0192f0c5a1b27c3d8e4f5a6b7c8d9e0f"
OCCURRED_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BODY = b'{"type":"model.created"}'


def verify(secret: str, headers: dict[str, str], signed: bytes = BODY) -> None:
    Webhook(secret).verify(signed, headers)


def headers_for(*secrets: str, signed: bytes = BODY, sent_at: datetime | None = None) -> dict[str, str]:
    return sign(secrets, EVENT_ID, sent_at or datetime.now(UTC), signed)


def test_a_new_secret_has_the_standards_form_and_is_never_the_same() -> None:
    secret, other = new_secret(), new_secret()
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    assert secret.startswith("whsec_")
    assert secret != other


def test_the_standards_own_library_verifies_the_signature() -> None:
    secret = new_secret()
    verify(secret, headers_for(secret))


def test_the_signature_is_the_one_of_the_standards_example() -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    headers = sign(
        [secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", datetime.fromtimestamp(1614265330, UTC), b'{"test": 2432232314}'
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_while_a_secret_is_replaced_both_verify() -> None:
    old, new = new_secret(), new_secret()
    headers = headers_for(new, old)
    verify(old, headers)
    verify(new, headers)
    assert len(headers["webhook-signature"].split(" ")) == 2


def test_another_secret_does_not_verify() -> None:
    with pytest.raises(WebhookVerificationError):
        verify(new_secret(), headers_for(new_secret()))


def test_another_body_does_not_verify() -> None:
    secret = new_secret()
    with pytest.raises(WebhookVerificationError):
        verify(secret, headers_for(secret), BODY + b" ")


def test_two_attempts_differ_in_time_and_signature_and_not_in_id() -> None:
    secret = new_secret()
    first = headers_for(secret, sent_at=OCCURRED_AT)
    second = headers_for(secret, sent_at=OCCURRED_AT + timedelta(seconds=30))
    assert first["webhook-id"] == second["webhook-id"]
    assert int(second["webhook-timestamp"]) - int(first["webhook-timestamp"]) == 30
    assert first["webhook-signature"] != second["webhook-signature"]


@pytest.mark.parametrize("bad", ["", "whsec_", "whsec_canary!", "whsec_Y2FuYXJ5", "whsec_" + "A" * 100])
def test_a_secret_that_cannot_sign_is_refused_and_not_shown(bad: str) -> None:
    with pytest.raises(UnusableSecretError) as unusable:
        headers_for(bad)
    assert "anary" not in str(unusable.value)


def test_without_a_secret_nothing_is_signed() -> None:
    with pytest.raises(UnusableSecretError):
        headers_for()


@pytest.mark.parametrize("bad", ["", "evt.1"])
def test_an_id_that_could_be_mistaken_for_other_parts_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="full stop"):
        sign([new_secret()], bad, OCCURRED_AT, BODY)


def test_the_body_holds_type_time_and_data_and_nothing_else() -> None:
    local = OCCURRED_AT.astimezone(timezone(timedelta(hours=2)))
    assert body("model.created", local, {"model_id": "m1", "version": 1}) == (
        b'{"type":"model.created","timestamp":"2026-01-02T03:04:05Z","schema":1,"data":{"model_id":"m1","version":1}}'
    )


def test_data_that_is_too_large_is_cut_and_says_so() -> None:
    data = {
        "model_id": "m1",
        "model_name": "x" * 30_000,
        "problem": {"message": "y" * 30_000},
        "list": [1],
        "version": 7,
    }
    kept = msgspec.json.decode(body("model.created", OCCURRED_AT, data))["data"]
    assert kept["model_id"] == "m1"
    assert kept["version"] == 7
    assert kept["model_name"] == "x" * 255
    assert kept["problem"] == {"message": "y" * 255}
    assert kept["truncated"] is True


long_texts = st.builds(operator.mul, st.characters(codec="utf-8"), st.integers(0, 20_000))
values = (
    long_texts | st.integers() | st.lists(long_texts, max_size=3) | st.dictionaries(st.text(), long_texts, max_size=3)
)


@given(st.dictionaries(st.text(max_size=20), values, max_size=30))
def test_every_body_is_under_the_standards_limit(data: dict[str, Any]) -> None:
    assert len(body("model.created", OCCURRED_AT, data)) < MAX_BODY_BYTES
