"""From an event to whoever is told."""

import pytest

from shared.contract.events import EVENTS, is_pattern
from shared.domain.decision import Event
from shared.outbox.routing import Endpoint, Routes, targets

CREATED = Event(type="model.created", object_type="model", object_id="m", data={"team_id": "red"})
NO_ROUTES = Routes()


def an_endpoint(*event_types: str, team_id: str | None = None, enabled: bool = True) -> Endpoint:
    return Endpoint(webhook_id="w", event_types=event_types, team_id=team_id, enabled=enabled)


@pytest.mark.parametrize(
    ("pattern", "hears"), [("model.created", True), ("model.*", True), ("*", True), ("task.*", False)]
)
def test_types_and_wildcards(pattern: str, hears: bool) -> None:
    assert an_endpoint(pattern).hears(CREATED) == hears


@pytest.mark.parametrize(("team_id", "hears"), [(None, True), ("red", True), ("blue", False)])
def test_a_team_hears_of_its_own(team_id: str | None, hears: bool) -> None:
    assert an_endpoint("*", team_id=team_id).hears(CREATED) == hears


def test_what_a_disabled_endpoint_would_hear_is_held() -> None:
    assert [target.is_held for target in targets(CREATED, NO_ROUTES, [an_endpoint("*", enabled=False)], None)] == [True]


def test_a_callback_hears_how_its_task_ended_and_nothing_else() -> None:
    ended = Event(type="task.failed", object_type="task", object_id="t", data={})
    assert [target.destination_id for target in targets(ended, NO_ROUTES, [], "callback:x")] == ["callback:x"]
    assert targets(CREATED, NO_ROUTES, [], "callback:x") == []


def test_slack_channels() -> None:
    routes = Routes(slack=True, slack_events=("model.*",), slack_teams=frozenset(("red", "blue")))
    assert [target.destination_id for target in targets(CREATED, routes, [], None)] == ["slack:", "slack:red"]


@pytest.mark.parametrize("text", [*EVENTS, "*", "model.*", "team.*", "key.*", "credential.*"])
def test_known_patterns(text: str) -> None:
    assert is_pattern(text)


@pytest.mark.parametrize("text", ["", "model", "model.", "model.made", "*.created", "mod*", "other.*", "model.**"])
def test_unknown_patterns(text: str) -> None:
    assert not is_pattern(text)
