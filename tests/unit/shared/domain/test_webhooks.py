"""What changes to an endpoint mean."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.domain.decision import Context, Decision
from shared.domain.problems import PreconditionFailed, WebhookNotFound
from shared.domain.rights import MASTER
from shared.domain.webhooks import (
    SECRET_OVERLAP,
    CreateWebhook,
    DisableWebhook,
    EnableWebhook,
    RotateSecret,
    SendTest,
    UpdateWebhook,
    Webhook,
    create,
    disable,
    enable,
    ref,
    rotate_secret,
    update,
)
from shared.domain.webhooks import test as send_test

NOW = datetime(2026, 11, 1, tzinfo=UTC)
CONTEXT = Context(now=NOW, principal=MASTER, task_id="t")
LATER = Context(now=NOW + timedelta(hours=1), principal=MASTER, task_id="t2")
CREATE = CreateWebhook(webhook_id="w", url="sealed", event_types=("*",), secret="sealed secret")


def state_of(decision: Decision) -> Webhook:
    webhook: Webhook = decision.objects[ref("w")]
    return webhook


CREATED = state_of(create({ref("w"): None}, CREATE, CONTEXT))


def test_a_new_endpoint_is_on_and_its_result_holds_no_secret() -> None:
    decision = create({ref("w"): None}, CREATE, CONTEXT)
    assert state_of(decision).enabled
    assert "secret" not in decision.result
    assert "sealed" not in str(decision.events)


def test_only_what_is_named_changes() -> None:
    after = state_of(update({ref("w"): CREATED}, UpdateWebhook(webhook_id="w", event_types=("model.*",)), LATER))
    assert (after.event_types, after.url, after.version) == (("model.*",), CREATED.url, 2)


def test_nothing_named_changes_nothing() -> None:
    assert not update({ref("w"): CREATED}, UpdateWebhook(webhook_id="w"), LATER).is_change


def test_a_rotation_keeps_the_secret_of_before_for_a_while() -> None:
    after = state_of(rotate_secret({ref("w"): CREATED}, RotateSecret(webhook_id="w", secret="new"), LATER))
    assert (after.secret, after.previous_secret) == ("new", CREATED.secret)
    assert after.overlap_until == LATER.now + SECRET_OVERLAP


def test_an_endpoint_that_changed_since_it_failed_is_not_switched_off() -> None:
    after = state_of(update({ref("w"): CREATED}, UpdateWebhook(webhook_id="w", url="other"), LATER))
    command = DisableWebhook(webhook_id="w", reason="gone", seen_version=CREATED.version)
    assert not disable({ref("w"): after}, command, LATER).is_change
    assert disable({ref("w"): CREATED}, command, LATER).is_change


def test_on_and_off() -> None:
    off = state_of(disable({ref("w"): CREATED}, DisableWebhook(webhook_id="w"), LATER))
    assert (off.enabled, off.disabled_reason) == (False, "asked")
    on = state_of(enable({ref("w"): off}, EnableWebhook(webhook_id="w"), LATER))
    assert (on.enabled, on.disabled_reason) == (True, None)


def test_a_test_is_for_this_endpoint_alone() -> None:
    (event,) = send_test({ref("w"): CREATED}, SendTest(webhook_id="w"), LATER).events
    assert (event.type, event.only_to) == ("webhook.test", "w")


def test_what_is_not_there_or_not_as_expected_is_refused() -> None:
    with pytest.raises(WebhookNotFound):
        enable({ref("w"): None}, EnableWebhook(webhook_id="w"), LATER)
    with pytest.raises(PreconditionFailed):
        enable({ref("w"): CREATED}, EnableWebhook(webhook_id="w", if_match='"9-9"'), LATER)
