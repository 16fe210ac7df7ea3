import pytest

from shared.domain.routes import may_call


@pytest.mark.parametrize(
    ("entries", "allowed", "refused"),
    [
        ((), [("GET", "/audit"), ("POST", "/model/new")], []),
        (("/model/new",), [("POST", "/model/new"), ("POST", "/model/new/")], [("POST", "/model/delete"), ("GET", "/")]),
        (
            ("/model/*",),
            [("POST", "/model/new"), ("GET", "/model/info")],
            [("GET", "/models"), ("GET", "/v1/model/info")],
        ),
        (
            ("/model/{id}/update",),
            [("PATCH", "/model/a.b/update")],
            [("PATCH", "/model/a/b/update"), ("GET", "/model")],
        ),
        (("info_routes",), [("GET", "/audit")], [("POST", "/model/new"), ("DELETE", "/credentials/c")]),
        (("llm_api_routes",), [("GET", "/v1/models"), ("GET", "/models/a/b")], [("GET", "/model/info")]),
        (("management_routes",), [("GET", "/audit"), ("POST", "/key/generate")], []),
        (("no_such_group", "/audit"), [("GET", "/audit")], [("GET", "/tasks")]),
        (("/m.del/info",), [], [("GET", "/model/info")]),
        (("/model/{id}/*",), [("GET", "/model/a/history/b"), ("PATCH", "/model/a/update")], [("GET", "/model/a")]),
        (("/mod*",), [("GET", "/models"), ("GET", "/model/info")], [("GET", "/v1/models")]),
        (("*",), [("GET", "/"), ("POST", "/model/new")], []),
    ],
)
def test_a_key_may_call_what_its_entries_name(
    entries: tuple[str, ...], allowed: list[tuple[str, str]], refused: list[tuple[str, str]]
) -> None:
    assert all(may_call(entries, *route) for route in allowed)
    assert not any(may_call(entries, *route) for route in refused)


def test_the_task_of_a_submission_may_always_be_followed() -> None:
    assert may_call(("/model/new",), "GET", "/tasks/x")
    assert may_call(("/model/new",), "GET", "/tasks/x/events")
    assert not may_call(("/model/new",), "GET", "/tasks")
    assert not may_call(("/model/new",), "POST", "/tasks/x/cancel")


def test_no_entry_takes_long_to_be_compared() -> None:
    """With backtracking this would not end in a lifetime."""
    assert not may_call(("/" + "{a}" * 160 + "/x",), "GET", "/" + "a" * 60_000)
