import pytest

from shared.contract.durations import duration_s


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("45s", 45), ("30m", 1800), ("1h", 3600), ("30d", 2592000), ("2w", 1209600), ("1mo", 2592000), (" 5s ", 5)],
)
def test_a_span_is_read_as_its_seconds(text: str, seconds: int) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "30", "d", "-1d", "1.5h", "0s", "30 days", "1y", "99999999999d", "9999999999d", "٣d"]
)
def test_what_is_no_span_is_not_guessed(text: str) -> None:
    assert duration_s(text) is None
