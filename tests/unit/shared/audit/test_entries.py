from typing import Any

from shared.audit.entries import describe
from shared.domain.decision import Change
from shared.encryption.sealing import Binding, seal_document
from tests.unit.shared.encryption.test_keyring import a_keyring

KEYRING = a_keyring("k1")
SECRET = "sk-canary-A1b2C3d4E5f6"


def a_model(object_id: str = "m1", *, keyring: Any = KEYRING, **params: Any) -> dict[str, Any]:
    document = {"model": "openai/gpt-4o", "api_key": SECRET, "rpm": 5, **params}
    return {
        "model_id": object_id,
        "model_name": "gpt",
        "litellm_params": seal_document(keyring, Binding("model", object_id), document),
        "model_info": {"id": object_id, "mode": "chat", "input_cost_per_token": 1e-06},
        "blocked": False,
        "version": 1,
    }


def a_change(before: dict[str, Any] | None, after: dict[str, Any] | None) -> Change:
    return Change(action="updated", object_type="model", object_id="m1", before=before, after=after)


def after_of(document: dict[str, Any]) -> dict[str, Any]:
    after = describe(KEYRING, a_change(None, document))[1]
    assert after is not None
    return after


def test_harmless_parameters_and_info_are_shown_and_secrets_are_fingerprints() -> None:
    assert after_of(a_model()) == {
        **{name: value for name, value in a_model().items() if name != "litellm_params"},
        "litellm_params": {"model": "openai/gpt-4o", "api_key": KEYRING.fingerprint(SECRET), "rpm": 5},
    }


def test_no_secret_and_no_ciphertext_is_shown() -> None:
    shown = str(after_of(a_model(extra_headers={"Authorization": f"Bearer {SECRET}"}, note=SECRET, list=[[SECRET]])))
    assert "canary" not in shown
    assert "pm1:" not in shown


def test_a_secret_that_changed_is_seen_to_have_changed() -> None:
    before, after = describe(KEYRING, a_change(a_model(api_key="old"), a_model(api_key="new")))
    assert before is not None
    assert after is not None
    assert before["litellm_params"]["api_key"] != after["litellm_params"]["api_key"]
    assert before["litellm_params"]["model"] == after["litellm_params"]["model"]


def test_a_secret_that_stayed_is_seen_to_have_stayed_although_it_was_sealed_anew() -> None:
    before, after = describe(KEYRING, a_change(a_model(), a_model()))
    assert before == after


def test_what_did_not_exist_is_nothing() -> None:
    assert describe(KEYRING, a_change(None, None)) == (None, None)


def test_an_unreadable_value_is_named_by_its_key_and_stops_nothing() -> None:
    document = a_model(keyring=a_keyring("lost"), tags=["a"])
    assert after_of(document)["litellm_params"] == {
        "model": "unreadable:lost",
        "api_key": "unreadable:lost",
        "tags": ["unreadable:lost"],
        "rpm": 5,
    }


def test_a_value_of_another_object_is_unreadable() -> None:
    assert after_of(a_model("m2"))["litellm_params"]["model"] == "unreadable:k1"


def test_the_values_of_a_credential_are_opened_and_masked() -> None:
    sealed = seal_document(KEYRING, Binding("credential", "shared"), {"api_key": SECRET}, path="credential_values")
    document = {"credential_name": "shared", "credential_values": sealed, "credential_info": {"description": "ours"}}
    change = Change(action="created", object_type="credential", object_id="shared", before=None, after=document)
    assert describe(KEYRING, change)[1] == {
        "credential_name": "shared",
        "credential_values": {"api_key": KEYRING.fingerprint(SECRET)},
        "credential_info": {"description": "ours"},
    }
