from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.encryption.documents import JsonValue, fields
from shared.encryption.masking import Plain, masked, without_secrets

leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
documents = st.dictionaries(
    st.text(),
    st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)),
    max_size=4,
)


def tagged(text: str) -> str:
    return f"<{len(text)}>"


def masked_params(**params: Any) -> dict[str, Any]:
    return masked(params, tagged)


def masked_info(**info: Any) -> dict[str, Any]:
    return masked(info, tagged, shown="unless_sensitive")


def test_a_read_leaves_secrets_out_and_keeps_the_rest_exactly() -> None:
    kept: dict[str, Any] = {
        "model": "openai/gpt-4o",
        "api_base": "https://example.com/v1",
        "litellm_credential_name": "shared",
        "rpm": 5,
        "input_cost_per_token": 1e-06,
        "timeout": 1.0,
        "drop_params": True,
        "stop": None,
        "use_xai_oauth": False,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "tags": ["a", 1, None, []],
        "extra_headers": {"X-Trace": "on"},
    }
    document: dict[str, Any] = {
        **kept,
        "api_key": "abc",
        "vertex_credentials": {"type": "service_account", "nested": [1]},
        "password": 12345678,
        "azure_ad_token": None,
        "note": "sk-A1b2C3d4E5f6G7h8J9k0",
        "tags": ["a", 1, "Bearer abcdef", None, []],
        "extra_headers": {"Authorization": "x", "X-Api-Key": "y", "Cookie": "z", "X-Trace": "on"},
    }
    assert without_secrets(document) == kept


def test_a_read_has_no_secret_from_a_list_in_a_list() -> None:
    document: dict[str, Any] = {"fallbacks": [[{"api_key": "abc", "model": "gpt"}, "Bearer abcdef"]]}
    assert without_secrets(document) == {"fallbacks": [[{"model": "gpt"}]]}


@given(documents)
def test_reading_twice_leaves_out_no_more(document: dict[str, JsonValue]) -> None:
    once = without_secrets(document)
    assert without_secrets(once) == once


def test_a_read_does_not_touch_the_document() -> None:
    document: dict[str, Any] = {"a": {"api_key": "abc"}}
    without_secrets(document)
    assert document == {"a": {"api_key": "abc"}}


def test_the_audit_shows_harmless_parameters_and_hides_all_other_strings() -> None:
    assert masked_params(
        model="openai/gpt-4o",
        aws_region_name="eu-west-1",
        litellm_credential_name="shared",
        api_key="abc",
        note="hello",
    ) == {
        "model": "openai/gpt-4o",
        "aws_region_name": "eu-west-1",
        "litellm_credential_name": "shared",
        "api_key": "<3>",
        "note": "<5>",
    }


def test_the_audit_shows_numbers_booleans_and_null() -> None:
    plain = {"rpm": 5, "timeout": 1.5, "drop_params": True, "stop": None, "extra": {"n": [1, 2.5, False]}}
    assert masked_params(**plain) == plain


def test_the_audit_hides_numbers_under_a_sensitive_name() -> None:
    assert masked_params(password=1234, auth={"pin": [1.5, True, None]}) == {
        "password": "<4>",
        "auth": {"pin": ["<3>", True, None]},
    }


def test_a_harmless_name_counts_only_at_the_top() -> None:
    assert masked_params(extra_body={"model": "abc", "mode": ["ab"]}) == {
        "extra_body": {"model": "<3>", "mode": ["<2>"]}
    }


def test_a_harmless_name_does_not_show_what_looks_like_a_secret() -> None:
    assert masked_params(model="sk-1234") == {"model": "<7>"}


def test_references_to_the_environment_are_shown() -> None:
    shown = {"api_key": "os.environ/KEY", "api_base": "os.environ/BASE", "note": "os.environ/NOTE"}
    assert masked_params(**shown) == shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://example.com/v1", "https://example.com/v1"),
        ("http://10.0.0.1:8000", "http://10.0.0.1:8000"),
        ("https://user:pw@example.com:8443/v1?x=1#y", "https://example.com:8443/v1 (<41>)"),
        ("https://example.com/v1?api-key=abc", "https://example.com/v1 (<34>)"),
        ("https://hooks.slack.com/services/T0/B0/X", "<40>"),
        ("https://user:p/w@example.com", "<28>"),
        ("user:pw@example.com", "<19>"),
        ("example.com/v1", "<14>"),
        ("https://[broken", "<15>"),
        ("", ""),
    ],
)
def test_urls_are_shown_without_user_and_query(url: str, shown: str) -> None:
    assert masked_params(api_base=url) == {"api_base": shown}


def test_a_url_that_changed_only_in_what_is_hidden_shows_that_it_changed() -> None:
    first, second = (
        masked({"api_base": f"https://example.com/?k={value}"}, lambda text: text[-1])["api_base"] for value in "ab"
    )
    assert (first, second) == ("https://example.com/ (a)", "https://example.com/ (b)")


def test_info_is_shown_unless_it_is_sensitive() -> None:
    info = {"mode": "chat", "description": "for all", "access_groups": ["a"], "nested": {"x": "y", "max_tokens": 5}}
    assert masked_info(**info, api_key="abc", note="Bearer abcdef", deep={"auth": ["ab", 12]}) == {
        **info,
        "api_key": "<3>",
        "note": "<13>",
        "deep": {"auth": ["<2>", "<2>"]},
    }


def test_long_texts_are_cut_with_a_fingerprint_of_the_whole() -> None:
    assert masked_info(note="é" * 501) == {"note": "é" * 500 + "… (501 characters, <501>)"}
    assert masked_info(note="é" * 500) == {"note": "é" * 500}


def test_a_name_that_looks_like_a_secret_is_hidden() -> None:
    assert masked_info(**{"sk-A1b2C3d4E5f6G7h8J9k0": "x"}) == {"<23>": "<1>"}


def test_a_text_that_stands_in_is_shown_anywhere() -> None:
    shown = masked_params(api_key=Plain("unreadable:k1"), nested=[Plain("unreadable:k1")])
    assert shown == {"api_key": "unreadable:k1", "nested": ["unreadable:k1"]}
    assert type(shown["api_key"]) is str


def test_what_the_database_cannot_store_is_replaced() -> None:
    assert masked_info(**{"no\0te": "a\0b\ud800"}) == {"no\ufffdte": "a\ufffdb?"}


@given(documents)
def test_no_string_under_an_unknown_name_gets_through(document: dict[str, JsonValue]) -> None:
    hidden = masked({f"x{name}": value for name, value in document.items()}, lambda _: "hidden")
    assert {value for _, value in fields(hidden) if isinstance(value, str)} <= {"hidden", ""}
