"""Who is in a team, and as what."""

import pytest

from shared.domain import members
from shared.domain.members import Member
from shared.domain.problems import AlreadyMember, MemberNotFound

ANN = Member(user_id="ann", user_email="ann@example.com", role="admin")
BOB = Member(user_email="bob@example.com")


def test_members_are_known_by_user_id_and_only_else_by_address() -> None:
    assert members.is_meant(ANN, "ann", None)
    assert members.is_meant(ANN, None, "Ann@Example.com")
    assert not members.is_meant(ANN, "somebody", "ann@example.com")
    assert members.is_meant(BOB, "bob", "BOB@example.com")
    assert not members.is_meant(BOB, None, None)


def test_only_those_join_who_are_not_in() -> None:
    eve = Member(user_id="eve")
    assert members.added([ANN], [ANN, eve, eve]) == (eve,)


def test_when_all_are_in_terraform_is_told_so_in_its_words() -> None:
    with pytest.raises(AlreadyMember, match="team_member_already_in_team"):
        members.added([ANN, BOB], [ANN, BOB])


def test_one_is_found_or_missing() -> None:
    assert members.found([BOB, ANN], "ann", None) is ANN
    with pytest.raises(MemberNotFound, match="not found"):
        members.found([BOB, ANN], "eve", None)


def test_one_entry_is_replaced_or_goes() -> None:
    demoted = Member(user_id="ann")
    assert members.replaced([ANN, BOB], ANN, demoted) == (demoted, BOB)
    assert members.replaced([ANN, BOB], BOB, None) == (ANN,)


def test_users_can_be_told_from_addresses() -> None:
    assert members.user_ids([ANN, BOB]) == ["ann"]
    assert members.user_ids([ANN, BOB], "user") == []
    assert members.without_users([ANN, BOB], ["ann"]) == (BOB,)
