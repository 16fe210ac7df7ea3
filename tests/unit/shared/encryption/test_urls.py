"""A URL is shown so that it is known again, and gives nothing away."""

import pytest

from shared.encryption.urls import shown_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://example.com/hooks/in", "https://example.com/hooks/in"),
        ("https://example.com/in?token=abc&x=1", "https://example.com/in?token=***&x=***"),
        ("https://user:pw@example.com/in", "https://example.com/in"),
        (
            "https://hooks.slack.com/services/T0123456/B01234567/abcdefghijklmnopqrstuvwx1",
            "https://hooks.slack.com/services/***/***/***",
        ),
    ],
)
def test_shown(url: str, shown: str) -> None:
    assert shown_url(url) == shown
