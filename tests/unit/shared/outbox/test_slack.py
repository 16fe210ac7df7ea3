from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.outbox.slack import MAX_MESSAGE_CHARS, MAX_VALUE_CHARS, digest, message

NASTY = ["<!channel>", "<@U1>", "<#C1>", "&lt;", "<https://evil.example|click>", "a & b", "<!subteam^S1>", "&amp;amp;"]
KEYS = ["model_name", "public_name", "provider_model", "team_id", "operation", "model_id", "object_id", "changed_by"]


def a_model(**data: Any) -> dict[str, Any]:
    return {
        "model_id": "m-1",
        "model_name": "gpt-fast",
        "version": 1,
        "task_id": "0192f0c5",
        "changed_by": "anna",
    } | data


def texts(value: Any) -> list[str]:
    """Every text that Slack would show."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        value = [inner for key, inner in cast("dict[str, Any]", value).items() if key != "type"]
    return [text for inner in cast("list[Any]", value) for text in texts(inner)] if isinstance(value, list) else []


def size(shown: dict[str, Any]) -> int:
    return len(msgspec.json.encode(shown).decode())


def test_an_added_model_is_announced_with_its_facts() -> None:
    shown = message("model.created", a_model(provider_model="openai/gpt-4o", team_id="t-1"))
    header, section = shown["blocks"]
    assert header["text"]["text"] == "Model added"
    assert [field["text"] for field in section["fields"]] == [
        "Model: gpt-fast",
        "Provider model: openai/gpt-4o",
        "Team: t-1",
        "Model ID: m-1",
        "Version: 1",
        "Changed by: anna",
        "Task: 0192f0c5",
    ]
    assert shown["text"] == "Model added: gpt-fast"


@pytest.mark.parametrize(
    ("event_type", "title"),
    [
        ("model.updated", "Model changed"),
        ("model.deleted", "Model deleted"),
        ("model.blocked", "Model blocked"),
        ("task.failed", "Task failed"),
        ("model.<new>", "model.&lt;new&gt;"),
    ],
)
def test_other_events_have_titles_too(event_type: str, title: str) -> None:
    assert message(event_type, a_model())["blocks"][0]["text"]["text"] == title


def test_a_team_model_goes_by_its_public_name() -> None:
    assert message("model.created", a_model(public_name="fast"))["text"] == "Model added: fast"


def test_a_failed_task_shows_its_problem() -> None:
    data = {"task_id": "t", "operation": "model.create", "problem": {"code": "model_exists", "message": "It <exists>."}}
    shown = message("task.failed", data)
    assert shown["text"] == "Task failed: t"
    assert shown["blocks"][-1]["text"]["text"] == "Problem: It &lt;exists&gt;."


def test_what_is_not_listed_is_not_shown() -> None:
    assert "canary" not in str(
        message("model.created", a_model(litellm_params={"api_key": "canary"}, api_key="canary"))
    )


def test_an_event_without_data_is_still_a_message() -> None:
    assert message("model.created", {})["text"] == "Model added"


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("nasty", NASTY)
def test_markup_in_a_value_is_text_everywhere(key: str, nasty: str) -> None:
    escaped = nasty.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    shown = texts(message("model.created", a_model(**{key: nasty})))
    assert any(text.endswith(f": {escaped}") for text in shown)
    assert not any("<" in text or ">" in text for text in shown)


def test_every_text_of_a_block_is_plain() -> None:
    header, section = message("model.created", a_model())["blocks"]
    assert {text["type"] for text in (header["text"], *section["fields"])} == {"plain_text"}


def test_nothing_is_unfurled_linked_or_formatted() -> None:
    for shown in (message("model.created", a_model()), digest([("model.created", a_model())] * 2)):
        assert [shown[key] for key in ("mrkdwn", "link_names", "unfurl_links", "unfurl_media")] == [False] * 4


def test_a_line_break_in_a_name_forges_no_second_line() -> None:
    assert "Model: a  Team: b" in texts(message("model.created", a_model(model_name="a\r\nTeam: b")))


def test_a_long_value_is_cut_and_no_escape_is_cut_through() -> None:
    (shown,) = (text for text in texts(message("model.created", a_model(model_name="&" * 10_000))) if "Model: " in text)
    value = shown.removeprefix("Model: ")
    assert len(value) <= MAX_VALUE_CHARS
    assert value.removesuffix("…").replace("&amp;", "") == ""


def test_a_digest_counts_each_kind_and_names_the_first_few() -> None:
    added = [("model.created", a_model(model_name=f"m{number}")) for number in range(7)]
    shown = digest([("model.deleted", a_model(model_name="<old>")), *added])
    assert [block["text"]["text"] for block in shown["blocks"]] == [
        "8 events",
        "7 × Model added: m0, m1, m2, m3, m4, …",
        "1 × Model deleted: &lt;old&gt;",
    ]
    assert shown["text"] == "8 events: 7 × Model added, 1 × Model deleted"


def test_the_counts_of_a_digest_add_up_however_many_kinds_there_are() -> None:
    announcements = [(f"kind.{number % 30}", a_model()) for number in range(1_000)]
    shown = digest(announcements)
    lines = [block["text"]["text"] for block in shown["blocks"][1:]]
    assert sum(int(line.split(" × ")[0]) for line in lines) == 1_000
    assert lines[-1].endswith("× other")


def test_a_digest_of_one_event_is_its_message() -> None:
    assert digest([("model.created", a_model())]) == message("model.created", a_model())


def test_the_largest_message_is_far_from_slacks_limit() -> None:
    long = dict.fromkeys([*KEYS, "version", "task_id"], '"<&>\\' * 5_000) | {"problem": {"message": '"' * 5_000}}
    many = [('"' * 500 + str(number), long | {"public_name": str(number) + '"' * 500}) for number in range(99)]
    assert size(message("x" * 5_000, long)) < MAX_MESSAGE_CHARS
    assert size(digest(many)) < MAX_MESSAGE_CHARS


@given(st.text(max_size=20), st.dictionaries(st.sampled_from(KEYS), st.text(max_size=400)))
def test_no_text_can_hold_markup_or_a_line_break(event_type: str, data: dict[str, str]) -> None:
    for shown in (message(event_type, data), digest([(event_type, data)] * 3)):
        assert size(shown) < MAX_MESSAGE_CHARS
        assert not any(char in text for text in texts(shown) for char in "<>\n\r\u202e\u2028")
