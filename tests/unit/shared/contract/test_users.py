"""What is read of a user's body, and what is shown of a user."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from shared.contract import users as contract
from shared.domain.key_text import token_of
from shared.domain.problems import InvalidRequest
from shared.domain.users import DeleteUsers, User, document

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
KEY = "sk-ofAClient0123456789abc"


def body(**fields: Any) -> bytes:
    return msgspec.json.encode(fields)


def a_user(**fields: Any) -> User:
    stamps = {"version": 1, "created_at": NOW, "created_by": "root", "updated_at": NOW, "updated_by": "root"}
    return User(**{"user_id": "ann", "role": "internal_user", **stamps, **fields})


def test_a_user_has_what_was_sent_and_the_key_what_is_a_keys() -> None:
    request = contract.decode_new(
        body(
            user_id="ann",
            user_role="proxy_admin_viewer",
            models=["gpt-4o"],
            max_budget=5,
            duration="1h",
            key_alias="first",
            allowed_routes=["/key/info"],
            default_wait=3,
            teams=["a", {"team_id": "b", "user_role": "admin"}, "a"],
        )
    )
    command = contract.to_create(request, "drawn", KEY)
    assert (command.user_id, command.role, command.models) == ("ann", "proxy_admin_viewer", ("gpt-4o",))
    assert (command.settings, command.team_ids) == ({"max_budget": 5}, ("a", "b"))
    key = command.key
    assert key is not None
    assert (key.token, key.user_id, key.models, key.duration_s) == (token_of(KEY), "ann", ("gpt-4o",), 3600)
    assert (key.key_alias, key.allowed_routes, key.default_wait) == ("first", ("/key/info",), 3)


def test_who_says_nothing_is_an_internal_user_with_a_drawn_id() -> None:
    command = contract.to_create(contract.decode_new(b""), "drawn", None)
    assert (command.user_id, command.role, command.key) == ("drawn", "internal_user", None)
    assert contract.to_create(contract.decode_new(body(user_id="")), "drawn", None).user_id == "drawn"


@pytest.mark.parametrize(
    ("decode", "sent", "field"),
    [
        (contract.decode_new, {"user_id": "default_user_id"}, "user_id"),
        (contract.decode_new, {"user_id": "pointsman"}, "user_id"),
        (contract.decode_new, {"user_id": "key:x"}, "user_id"),
        (contract.decode_new, {"user_role": "org_admin"}, "user_role"),
        (contract.decode_new, {"teams": [{"id": "x"}]}, "teams"),
        (contract.decode_new, {"password": "x"}, "password"),
        (contract.decode_new, {"duration": "-1"}, "duration"),
        (contract.decode_change, {"user_alias": "x"}, "user_id"),
        (contract.decode_change, {"user_id": "ann", "password": "x"}, "password"),
        (contract.decode_change, {"user_id": "ann", "user_role": "team"}, "user_role"),
        (contract.decode_deletion, {"user_ids": []}, "user_ids"),
        (contract.decode_deletion, {}, "user_ids"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(decode: Any, sent: Any, field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        decode(msgspec.json.encode(sent))
    assert refused.value.param == field


def test_an_address_says_whom_or_what() -> None:
    named = contract.to_update(contract.decode_change(body(user_email="a@b.c", max_budget=1)), "ann")
    assert (named.user_id, named.user_email, named.settings) == ("ann", UNSET, {"max_budget": 1})
    set_to = contract.to_update(contract.decode_change(body(user_id="ann", user_email="a@b.c")), "ann")
    assert set_to.user_email == "a@b.c"
    taken_away = contract.to_update(contract.decode_change(body(user_id="ann", user_email=None)), "ann")
    assert taken_away.user_email is None


def test_memberships_are_not_changed_here() -> None:
    assert contract.to_update(contract.decode_change(body(user_id="ann", teams=["a"])), "ann").settings == {}


def test_who_is_named_twice_is_deleted_once() -> None:
    request = contract.decode_deletion(body(user_ids=["ann", "bob", "ann"]))
    assert contract.to_delete(request) == DeleteUsers(user_ids=("ann", "bob"))


def test_a_user_is_shown_as_litellm_shows_one() -> None:
    shown = contract.info(a_user(settings={"max_budget": 5}, models=("gpt-4o",)), ["t-1"])
    assert (shown["user_role"], shown["teams"], shown["models"]) == ("internal_user", ["t-1"], ["gpt-4o"])
    assert (shown["max_budget"], shown["spend"], shown["created_at"]) == (5, 0.0, "2026-11-23T12:00:00Z")
    assert "role" not in shown
    assert "settings" not in shown


def test_a_new_user_without_a_key_has_nothing_where_the_key_would_be() -> None:
    answered = contract.created({**document(a_user()), "teams": [], "key": None})
    assert (answered["user_id"], answered["key"], answered["token"]) == ("ann", None, None)
