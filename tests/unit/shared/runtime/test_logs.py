from typing import Any

import pytest

from shared.runtime.logs import mask


def masked(**event: Any) -> dict[str, Any]:
    return dict(mask(None, "info", event))


@pytest.mark.parametrize(
    "name", ["api_key", "apikey", "master_key", "password", "client_secret", "Authorization", "access_token"]
)
def test_what_is_named_like_a_secret_is_hidden(name: str) -> None:
    assert masked(**{name: "anything"})[name] == "***"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("key sk-abc123def456 given", "key *** given"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8I", "***"),
        ("xoxb-1234567890-abc", "***"),
        ("postgresql://user:pass@host/db", "postgresql://***@host/db"),
        ("redis://:pass@host/0", "redis://***@host/0"),
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str, shown: str) -> None:
    assert masked(event=text) == {"event": shown}


@pytest.mark.parametrize(
    "event",
    [
        {"event": "task.applied", "task_id": "0192f0c5-a1b2-7c3d-8e4f-5a6b7c8d9e0f", "count": 3},
        {"event": "a task-list for ask-me", "url": "https://example.com/path"},
    ],
)
def test_what_is_harmless_is_shown(event: dict[str, Any]) -> None:
    assert masked(**event) == event
