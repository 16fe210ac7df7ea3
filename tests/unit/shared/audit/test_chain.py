import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.audit.chain import GENESIS, GENESIS_HASH, Fault, Head, Verdict, link, verify
from shared.audit.entries import AuditEntry

NOON = datetime(2026, 1, 31, 12, 0, 0, 5, tzinfo=UTC)


def an_entry(position: int = 1, **fields: Any) -> AuditEntry:
    given: dict[str, Any] = {
        "position": position,
        "entry_id": f"00000000-0000-7000-8000-{position:012d}",
        "recorded_at": NOON + timedelta(seconds=position),
        "actor": "default_user_id",
        "actor_key": "litellm_proxy_master_key",
        "operation": "model.create",
        "action": "created",
        "object_type": "model",
        "object_id": f"m{position}",
        "after": {"version": position, "cost": 1e-06},
        **fields,
    }
    return AuditEntry(**given)


def a_chain(length: int = 6, start: Head = GENESIS) -> list[AuditEntry]:
    first = start.position + 1
    return link(start.hash, [an_entry(position) for position in range(first, first + length)])


def altered(entry: AuditEntry, **fields: Any) -> AuditEntry:
    return msgspec.structs.replace(entry, **fields)


def relinked(entry: AuditEntry, **fields: Any) -> AuditEntry:
    """A forgery that is sound in itself."""
    return link(fields.pop("previous_hash", entry.previous_hash), [altered(entry, **fields)])[0]


def head_of(chain: list[AuditEntry]) -> Head:
    return Head(chain[-1].position, chain[-1].hash)


def found(verdict: Verdict) -> tuple[int | None, Fault | None]:
    return verdict.position, verdict.fault


def test_the_hash_is_what_the_documentation_says() -> None:
    entry = link(GENESIS_HASH, [an_entry()])[0]
    fields = msgspec.to_builtins(entry)
    del fields["hash"], fields["previous_hash"]
    fields["recorded_at"] = "2026-01-31T12:00:01.000005Z"
    text = json.dumps(fields, sort_keys=True, separators=(",", ":")).replace("1e-06", "0.000001")
    assert entry.hash == hashlib.sha256(f"pointsman-audit-1\n{'0' * 64}\n{text}".encode()).hexdigest()


def test_the_hash_does_not_change_between_releases() -> None:
    assert (
        link(GENESIS_HASH, [an_entry()])[0].hash == "20dae2738ae09c497076d327d8466d3a0c21bae53dd84e549ed448873e184b7f"
    )


def test_each_entry_follows_the_one_before() -> None:
    chain = a_chain(3)
    assert [entry.previous_hash for entry in chain] == [GENESIS_HASH, chain[0].hash, chain[1].hash]
    assert len({entry.hash for entry in chain}) == 3


def test_linking_batch_by_batch_gives_the_same_chain() -> None:
    first = a_chain(2)
    assert [*first, *a_chain(4, start=head_of(first))] == a_chain(6)


def test_a_sound_chain_is_told_with_its_head() -> None:
    chain = a_chain()
    assert verify(chain) == Verdict(head=head_of(chain))
    assert verify(iter(chain), head=head_of(chain)).is_sound


def test_an_empty_chain_is_sound() -> None:
    assert verify([]) == Verdict(head=GENESIS)
    assert verify([], head=GENESIS).is_sound


def test_a_chain_is_sound_after_it_was_exported() -> None:
    lines = [msgspec.json.encode(entry) for entry in a_chain()]
    assert verify(msgspec.json.decode(line, type=AuditEntry) for line in lines).is_sound


def test_the_time_zone_in_which_a_time_is_read_does_not_matter() -> None:
    elsewhere = timezone(timedelta(hours=5, minutes=30))
    assert verify(altered(entry, recorded_at=entry.recorded_at.astimezone(elsewhere)) for entry in a_chain()).is_sound


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        link(GENESIS_HASH, [an_entry(recorded_at=NOON.replace(tzinfo=None))])


def test_a_chain_is_verified_in_pieces() -> None:
    chain = a_chain()
    first = verify(chain[:3])
    assert verify(chain[3:], start=first.head, head=head_of(chain)) == Verdict(head=head_of(chain))


def test_a_head_before_the_entries_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="before"):
        verify(a_chain(2, start=Head(5, "5" * 64)), head=Head(4, "4" * 64), start=Head(5, "5" * 64))


CHANGES: dict[str, Any] = {
    "entry_id": "00000000-0000-7000-8000-999999999999",
    "recorded_at": NOON - timedelta(microseconds=1),
    "actor": "somebody",
    "actor_key": "k",
    "changed_by": "somebody",
    "source_address": "192.0.2.1",
    "request_id": "r",
    "task_id": "t",
    "operation": "model.delete",
    "action": "deleted",
    "object_type": "team",
    "object_id": "m9",
    "before": {},
    "after": {"version": 3, "cost": 2e-06},
    "problem": {"code": "x"},
    "hash": "f" * 64,
}


def test_every_field_is_tried() -> None:
    fields = {field.name for field in msgspec.structs.fields(AuditEntry)}
    assert set(CHANGES) | {"position", "previous_hash"} == fields


@pytest.mark.parametrize("field", list(CHANGES))
@pytest.mark.parametrize("index", [0, 2, 5])
def test_a_changed_field_is_found(field: str, index: int) -> None:
    chain = a_chain()
    chain[index] = altered(chain[index], **{field: CHANGES[field]})
    assert found(verify(chain)) == (index + 1, "changed")


@pytest.mark.parametrize("value", [float("inf"), float("nan"), "\ud800", object()])
def test_a_value_that_could_never_be_linked_is_a_change(value: object) -> None:
    chain = a_chain()
    chain[2] = altered(chain[2], after={"version": value})
    assert found(verify(chain)) == (3, "changed")


@pytest.mark.parametrize("index", [0, 2, 4])
def test_an_entry_replaced_by_a_sound_forgery_is_found(index: int) -> None:
    chain = a_chain()
    chain[index] = relinked(chain[index], actor="somebody")
    assert found(verify(chain)) == (index + 1, "changed")


def test_a_last_entry_replaced_by_a_sound_forgery_is_found_against_the_head() -> None:
    chain = a_chain()
    head = head_of(chain)
    chain[-1] = relinked(chain[-1], actor="somebody")
    assert verify(chain).is_sound
    assert found(verify(chain, head=head)) == (6, "rewritten")


def test_a_chain_rewritten_to_its_end_is_found_against_an_earlier_head() -> None:
    chain = a_chain()
    forged = [*chain[:2], *link(chain[1].hash, [altered(entry, actor="somebody") for entry in chain[2:]])]
    assert verify(forged).is_sound
    assert found(verify(forged, head=head_of(chain[:4]))) == (4, "rewritten")
    assert verify(forged, head=head_of(chain[:2])).is_sound


@pytest.mark.parametrize("index", [0, 2, 4])
def test_a_removed_entry_is_found(index: int) -> None:
    chain = a_chain()
    del chain[index]
    assert found(verify(chain)) == (index + 1, "missing")


@pytest.mark.parametrize("index", [0, 2, 4])
def test_a_removed_entry_is_found_although_the_rest_was_renumbered(index: int) -> None:
    chain = a_chain()
    rest = [altered(entry, position=entry.position - 1) for entry in chain[index + 1 :]]
    assert found(verify([*chain[:index], *rest])) == (index + 1, "missing")


def test_a_cut_off_end_is_found_against_the_head() -> None:
    chain = a_chain()
    assert found(verify(chain[:4], head=head_of(chain))) == (5, "truncated")
    assert found(verify([], head=head_of(chain))) == (1, "truncated")


@pytest.mark.parametrize("index", [1, 3, 5])
def test_a_forgery_under_a_position_that_exists_is_found(index: int) -> None:
    chain = a_chain()
    chain.insert(index, relinked(chain[index], actor="somebody"))
    assert found(verify(chain)) == (index + 1, "inserted")


@pytest.mark.parametrize("index", [1, 3, 5])
def test_a_clumsy_forgery_among_the_others_is_found(index: int) -> None:
    chain = a_chain()
    chain.insert(index, altered(chain[index], actor="somebody", previous_hash="f" * 64))
    assert found(verify(chain)) == (index + 1, "inserted")


@pytest.mark.parametrize("index", [0, 2, 5])
def test_a_forgery_that_pushes_the_others_on_is_found(index: int) -> None:
    chain = a_chain()
    forged = relinked(chain[index], actor="somebody")
    pushed = [altered(entry, position=entry.position + 1) for entry in chain[index:]]
    assert found(verify([*chain[:index], forged, *pushed])) == (index + 1, "inserted")


@pytest.mark.parametrize("index", [0, 2, 4])
def test_entries_in_another_order_are_found(index: int) -> None:
    chain = a_chain()
    chain[index], chain[index + 1] = chain[index + 1], chain[index]
    assert found(verify(chain)) == (index + 1, "moved")


@pytest.mark.parametrize("index", [0, 2, 4])
def test_entries_that_swapped_their_positions_are_found(index: int) -> None:
    chain = a_chain()
    first, second = chain[index], chain[index + 1]
    chain[index : index + 2] = [altered(second, position=first.position), altered(first, position=second.position)]
    assert found(verify(chain)) == (index + 1, "moved")


def test_a_repeated_entry_is_found() -> None:
    chain = a_chain()
    assert found(verify([*chain[:3], chain[1], *chain[3:]])) == (2, "inserted")


def test_the_verdict_names_the_last_sound_entry() -> None:
    chain = a_chain()
    sound = head_of(chain[:2])
    assert verify([*chain[:2], *chain[3:]]).head == sound
    assert verify([*chain[:2], altered(chain[2], actor="x"), *chain[3:]]).head == sound
    assert verify([*chain[:2], relinked(chain[2], actor="x"), *chain[3:]]).head == sound


tamperings = st.sampled_from(["edit", "remove", "insert", "swap", "truncate"])


@given(tamperings, st.integers(2, 12), st.data())
def test_any_tampering_is_found_where_it_begins(tampering: str, length: int, data: st.DataObject) -> None:
    chain = a_chain(length)
    head = head_of(chain)
    index = data.draw(st.integers(0, length - 2))
    if tampering == "edit":
        chain[index] = altered(chain[index], after={"version": -1})
    elif tampering == "remove":
        del chain[index]
    elif tampering == "insert":
        chain.insert(index, altered(chain[index], entry_id="00000000-0000-7000-8000-999999999999"))
    elif tampering == "swap":
        other = data.draw(st.integers(index + 1, length - 1))
        chain[index], chain[other] = chain[other], chain[index]
    else:
        del chain[index:]
    assert verify(chain, head=head).position == index + 1
