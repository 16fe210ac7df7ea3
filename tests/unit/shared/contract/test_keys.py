"""What is read of a key's body, and what is shown of a key."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from shared.contract import keys as contract
from shared.domain.key_text import token_of
from shared.domain.keys import Key, KeyFields, document
from shared.domain.problems import InvalidRequest

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
KEY = "sk-ofAClient0123456789abc"


def body(**fields: Any) -> bytes:
    return msgspec.json.encode(fields)


def a_key(**fields: Any) -> Key:
    known = {"token": token_of(KEY), "key_name": "sk-...9abc", "version": 1, "created_at": NOW, "created_by": "ann"}
    return Key(**{**known, "updated_at": NOW, "updated_by": "ann", **fields})


def test_what_is_not_interpreted_is_kept_as_it_was_sent() -> None:
    request = contract.decode_new(body(max_budget=5, new_thing={"a": [None]}, tpm_limit=None, user_id="ann"))
    command = contract.to_create(request, KEY)
    assert command.settings == {"max_budget": 5, "new_thing": {"a": [None]}, "tpm_limit": None}
    assert (command.token, command.key_name, command.user_id) == (token_of(KEY), "sk-...9abc", "ann")


@pytest.mark.parametrize("empty", [b"", b"{}", b"null"])
def test_nothing_at_all_makes_a_key(empty: bytes) -> None:
    command = contract.to_create(contract.decode_new(empty), KEY)
    assert (command.models, command.allowed_routes, command.duration_s, command.settings) == ((), (), None, {})


def test_what_the_server_says_of_a_key_is_not_taken_back() -> None:
    sent = body(token="x", expires="2030-01-01", created_by="eve", status="active", version=9, key_name="mine")
    assert contract.to_create(contract.decode_new(sent), KEY).settings == {}


def test_empty_texts_name_nothing() -> None:
    command = contract.to_create(contract.decode_new(body(user_id="", team_id="", key_alias="", duration="")), KEY)
    assert (command.user_id, command.team_id, command.key_alias, command.duration_s) == (None, None, None, None)
    fields = contract.to_fields(contract.decode_change(body(key=KEY, user_id="", key_alias="", duration="")))
    assert (fields.user_id, fields.key_alias, fields.duration_s) == (None, None, UNSET)


def test_a_change_names_what_it_changes() -> None:
    assert contract.to_fields(contract.decode_change(body(key=KEY))) == KeyFields()
    fields = contract.to_fields(contract.decode_change(body(key=KEY, models=None, metadata=None, blocked=None, rpm=5)))
    assert (fields.models, fields.metadata, fields.blocked, fields.settings) == ((), {}, UNSET, {"rpm": 5})


@pytest.mark.parametrize(("duration", "seconds"), [("30d", 2592000), ("-1", None), (None, UNSET), ("", UNSET)])
def test_an_expiry_is_set_taken_away_or_left(duration: str | None, seconds: Any) -> None:
    assert contract.to_fields(contract.decode_change(body(key=KEY, duration=duration))).duration_s == seconds


def test_a_stored_command_keeps_what_is_unset_apart_from_what_is_null() -> None:
    fields = KeyFields(key_alias=None, duration_s=None)
    assert msgspec.json.encode(fields) == b'{"key_alias":null,"duration_s":null,"settings":{}}'
    assert msgspec.json.decode(msgspec.json.encode(fields), type=KeyFields) == fields


@pytest.mark.parametrize(
    ("decode", "sent", "field"),
    [
        (contract.decode_new, {"duration": "-1"}, "duration"),
        (contract.decode_new, {"duration": "forever"}, "duration"),
        (contract.decode_new, {"key": "sk-short"}, "key"),
        (contract.decode_new, {"models": [""]}, "models[0]"),
        (contract.decode_new, {"user_id": "key:x"}, "user_id"),
        (contract.decode_new, {"default_wait": -1}, "default_wait"),
        (contract.decode_new, {"aliases": {"a": "\ud800"}}, "body"),
        (contract.decode_change, {}, "key"),
        (contract.decode_change, {"key": ""}, "key"),
        (contract.decode_regeneration, {"grace_period": "a while"}, "grace_period"),
        (contract.decode_regeneration, {"new_key": "sk-short"}, "key"),
        (contract.decode_regeneration, {"new_master_key": "sk-1234"}, "new_master_key"),
        (contract.decode_deletion, {}, "keys"),
        (contract.decode_deletion, {"keys": [], "key_aliases": None}, "keys"),
        (contract.decode_deletion, {"keys": ["a"] * 101}, "keys"),
        (contract.decode_named, {}, "key"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(decode: Any, sent: Any, field: str) -> None:
    raw = msgspec.json.encode(sent) if "aliases" not in sent else b'{"aliases": {"a": "\\ud800"}}'
    with pytest.raises(InvalidRequest) as refused:
        decode(raw)
    assert refused.value.param == field
    assert "sk-short" not in str(refused.value)


def test_a_regeneration_says_how_long_the_old_key_lives() -> None:
    request = contract.decode_regeneration(body(grace_period="24h", duration="30d", new_key=KEY))
    command = contract.to_regenerate(request, "old", KEY)
    assert (command.token, command.new_token, command.grace_s) == ("old", token_of(KEY), 86400)
    assert command.fields.duration_s == 2592000


def test_a_written_key_is_shown_flat_and_by_its_hash() -> None:
    row = contract.row(document(a_key(settings={"max_budget": 5, "mine": 1}, models=("gpt-4o",), previous_token="old")))
    assert row["key"] == row["token"] == row["token_id"] == token_of(KEY)
    assert (row["max_budget"], row["mine"], row["models"], row["spend"], row["aliases"]) == (5, 1, ["gpt-4o"], 0.0, {})
    assert "settings" not in row
    assert "previous_token" not in row


def test_what_is_sent_cannot_stand_in_for_what_is_stored() -> None:
    shown = contract.info(a_key(settings={"key_name": "sk-...mine", "version": 9}), None, NOW)
    assert (shown["key_name"], shown["version"]) == ("sk-...9abc", 1)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, "active"),
        ({"expires": NOW + timedelta(seconds=1)}, "active"),
        ({"expires": NOW}, "expired"),
        ({"blocked": True, "expires": NOW}, "blocked"),
    ],
)
def test_a_key_says_whether_it_can_be_used(fields: Any, status: str) -> None:
    assert contract.info(a_key(**fields), None, NOW)["status"] == status


def test_the_hash_stands_where_whoever_reads_it_is_known_to_look() -> None:
    assert "token" not in contract.info(a_key(), NOW, NOW)
    listed = contract.listed(a_key(), NOW, NOW)
    assert (listed["token"], listed["last_used_at"]) == (token_of(KEY), "2026-11-23T12:00:00Z")
