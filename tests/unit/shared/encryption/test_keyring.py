from base64 import b64encode, urlsafe_b64encode
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.encryption.keyring import BadKey, Keyring, Unreadable, is_sealed, new_key

OLD = sha256(b"an old key of these tests").digest()
NEW = sha256(b"a new key of these tests").digest()
CONTEXT = b"a place"


def entry(key_id: str = "k1", material: bytes = OLD) -> str:
    return f"{key_id}:{b64encode(material).decode()}"


def a_keyring(*key_ids: str) -> Keyring:
    materials = {key_id: sha256(key_id.encode() + b" of these tests").digest() for key_id in key_ids or ("k1",)}
    return Keyring.parse(",".join(entry(key_id, material) for key_id, material in materials.items()))


def refusal_of(text: str) -> str:
    with pytest.raises(BadKey) as refused:
        Keyring.parse(text)
    return str(refused.value)


def test_first_key_writes_and_all_read() -> None:
    before, rotated = a_keyring("old"), a_keyring("new", "old")
    sealed = before.seal("a secret", CONTEXT)
    assert rotated.open(sealed, CONTEXT) == "a secret"
    assert rotated.seal("a secret", CONTEXT).startswith("pm1:new:")
    assert (rotated.writing_key_id, rotated.key_ids) == ("new", ("new", "old"))


def test_a_new_key_is_accepted() -> None:
    assert Keyring.parse(new_key("fresh")).key_ids == ("fresh",)


def test_keys_are_read_in_both_alphabets_with_and_without_padding() -> None:
    spellings = [encode(NEW).decode() for encode in (b64encode, urlsafe_b64encode)]
    sealed = Keyring.parse(entry(material=NEW)).seal("a secret", CONTEXT)
    for spelling in [*spellings, *(spelled.rstrip("=") for spelled in spellings)]:
        assert Keyring.parse(f"k1:{spelling}").open(sealed, CONTEXT) == "a secret"


def test_keys_may_stand_on_lines_of_their_own() -> None:
    assert Keyring.parse(f"\n{entry('b', NEW)}\r\n{entry('a', OLD)},\n").key_ids == ("b", "a")


@pytest.mark.parametrize("text", ["", " ", ",", "\n"])
def test_a_missing_key_is_refused(text: str) -> None:
    assert "there is no encryption key" in refusal_of(text)
    assert "openssl rand -base64 32" in refusal_of(text)


@pytest.mark.parametrize("key_id", ["", "a b", "a.b", "x" * 33, "schlüssel"])
def test_an_id_that_is_not_simple_is_refused_by_number(key_id: str) -> None:
    assert "encryption key number 2 does not start with an id" in refusal_of(f"{entry()},{entry(key_id, NEW)}")


def test_a_key_without_an_id_is_refused_and_not_shown() -> None:
    bare = b64encode(OLD).decode()
    assert bare not in refusal_of(bare)
    assert "number 1" in refusal_of(bare)


def test_an_id_after_its_key_is_refused_and_the_key_not_shown() -> None:
    turned = b64encode(OLD).decode() + ":k1"
    assert turned[:8] not in refusal_of(turned)


@pytest.mark.parametrize("encoded", ["not base64!", "abc=def", "äöü", "a"])
def test_a_key_that_is_not_base64_is_refused_and_not_shown(encoded: str) -> None:
    refusal = refusal_of(f"k1:{encoded}")
    assert "'k1' is not base64" in refusal
    assert encoded not in refusal.removeprefix("encryption key 'k1' is not base64") or encoded == "a"


@pytest.mark.parametrize("size_bytes", [0, 16, 31, 33, 64])
def test_a_key_of_another_length_is_refused(size_bytes: int) -> None:
    assert f"'k1' has {size_bytes} bytes instead of 32" in refusal_of(entry(material=(OLD + NEW)[:size_bytes]))


def test_one_id_for_two_keys_is_refused() -> None:
    assert "'k1' stands for two encryption keys" in refusal_of(f"{entry(material=OLD)},{entry(material=NEW)}")


def test_one_key_under_two_ids_is_refused() -> None:
    assert "'a' and 'b' are the same encryption key" in refusal_of(f"{entry('a')},{entry('b')}")


@pytest.mark.parametrize(
    ("weakness", "material"),
    [
        ("repetition", bytes(32)),
        ("repetition", b"\xff" * 32),
        ("repetition", b"changeme" * 4),
        ("repetition", b"password".ljust(32, b"\0")),
        ("repetition", OLD[:16] * 2),
        ("sequence", bytes(range(32))),
        ("sequence", bytes(range(1, 33))),
        ("sequence", bytes(range(255, 223, -1))),
        ("text", b"abcdefghijklmnopqrstuvwxyz012345"),
        ("text", b"ThisIsMySuperSecretEncryptionKey"),
        ("publicly known", sha256(b"changeme").digest()),
        ("publicly known", sha256(b"sk-1234").digest()),
        ("publicly known", sha256(b"SECRET").digest()),
        ("publicly known", sha256(b"").digest()),
        ("publicly known", sha256(b"password\n").digest()),
        ("publicly known", bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")),
    ],
)
def test_a_weak_or_known_key_is_refused_by_name_and_not_shown(weakness: str, material: bytes) -> None:
    refusal = refusal_of(entry("prod-1", material))
    assert "'prod-1'" in refusal
    assert weakness in refusal
    assert b64encode(material).decode().rstrip("=") not in refusal


@given(st.binary(min_size=32, max_size=32).map(lambda seed: sha256(seed).digest()))
def test_a_random_key_is_accepted(material: bytes) -> None:
    if material != sha256(b"").digest():
        assert Keyring.parse(entry(material=material)).key_ids == ("k1",)


def test_its_repr_shows_ids_only() -> None:
    assert repr(a_keyring("new", "old")) == "Keyring(new, old)"


@given(st.text(alphabet=st.characters()), st.binary())
def test_what_is_sealed_opens_and_is_ascii(plaintext: str, context: bytes) -> None:
    keyring = a_keyring()
    sealed = keyring.seal(plaintext, context)
    assert sealed.isascii()
    assert keyring.open(sealed, context) == plaintext


@given(st.text())
def test_the_form_of_a_sealed_text_is_known(plaintext: str) -> None:
    assert is_sealed(a_keyring().seal(plaintext, CONTEXT))
    assert not is_sealed(plaintext)


def test_sealing_twice_gives_two_texts() -> None:
    keyring = a_keyring()
    assert keyring.seal("a secret", CONTEXT) != keyring.seal("a secret", CONTEXT)


@given(st.data())
def test_no_character_can_be_changed(data: st.DataObject) -> None:
    keyring = a_keyring("k1", "k2")
    sealed = keyring.seal(data.draw(st.text(max_size=20)), CONTEXT)
    position = data.draw(st.integers(0, len(sealed) - 1))
    other = data.draw(st.characters().filter(lambda character: character != sealed[position]))
    with pytest.raises(Unreadable):
        keyring.open(sealed[:position] + other + sealed[position + 1 :], CONTEXT)


@given(st.data())
def test_no_character_can_be_removed_or_added(data: st.DataObject) -> None:
    keyring = a_keyring()
    sealed = keyring.seal("a secret", CONTEXT)
    position = data.draw(st.integers(0, len(sealed) - 1))
    extra = data.draw(st.characters())
    for altered in (
        sealed[:position] + sealed[position + 1 :],
        sealed[:position] + extra + sealed[position:],
        sealed + "=",
    ):
        with pytest.raises(Unreadable):
            keyring.open(altered, CONTEXT)


@given(st.text())
def test_rubbish_does_not_open(rubbish: str) -> None:
    with pytest.raises(Unreadable):
        a_keyring().open(rubbish, CONTEXT)


def unreadable(keyring: Keyring, sealed: str, context: bytes = CONTEXT) -> tuple[str, str]:
    with pytest.raises(Unreadable) as problem:
        keyring.open(sealed, context)
    assert sealed not in str(problem.value)
    return problem.value.key_id, problem.value.reason


def test_another_context_is_told_as_tampered() -> None:
    keyring = a_keyring()
    assert unreadable(keyring, keyring.seal("a secret", b"here"), b"there") == ("k1", "tampered")


def test_a_key_that_is_gone_is_told_by_its_id() -> None:
    assert unreadable(a_keyring("new"), a_keyring("old").seal("a secret", CONTEXT)) == ("old", "unknown_key")


def test_a_key_id_that_was_swapped_is_told_as_tampered() -> None:
    keyring = a_keyring("k1", "k2")
    assert unreadable(keyring, keyring.seal("a secret", CONTEXT).replace("k1", "k2")) == ("k2", "tampered")


def test_a_key_replaced_under_the_same_id_is_told_as_tampered() -> None:
    sealed = Keyring.parse(entry(material=OLD)).seal("a secret", CONTEXT)
    assert unreadable(Keyring.parse(entry(material=NEW)), sealed) == ("k1", "tampered")


@pytest.mark.parametrize(
    ("sealed", "key_id"),
    [
        ("", ""),
        ("sk-plain", ""),
        ("pm2:k1:AAAA", ""),
        ("pm1:k1", ""),
        ("pm1:k1:", "k1"),
        ("pm1:k1:AAAA", "k1"),
        ("pm1:k1:ä", "k1"),
    ],
)
def test_what_was_never_sealed_is_told_as_format(sealed: str, key_id: str) -> None:
    with pytest.raises(Unreadable) as problem:
        a_keyring().open(sealed, CONTEXT)
    assert (problem.value.key_id, problem.value.reason) == (key_id, "format")


def test_fingerprints_show_equality_and_nothing_else() -> None:
    keyring = a_keyring()
    fingerprint = keyring.fingerprint("a secret")
    prefix, key_id, shown = fingerprint.split(":")
    assert (prefix, key_id, len(shown)) == ("fp", "k1", 16)
    assert fingerprint == keyring.fingerprint("a secret")
    assert fingerprint != keyring.fingerprint("another secret")


def test_fingerprints_differ_by_purpose_and_by_key() -> None:
    shown = {
        keyring.fingerprint("a secret", purpose)[-16:]
        for keyring in (a_keyring("a"), a_keyring("b"))
        for purpose in "xy"
    }
    assert len(shown) == 4


def test_digests_match_across_a_rotation() -> None:
    digest = a_keyring("old").digest(b"a body", "idempotency")
    key_id, shown = digest.split(":")
    assert (key_id, len(shown)) == ("old", 64)
    rotated = a_keyring("new", "old")
    assert rotated.digest_matches(digest, b"a body", "idempotency")
    assert not rotated.digest_matches(digest, b"another body", "idempotency")
    assert not rotated.digest_matches(digest, b"a body", "another purpose")


def test_a_digest_whose_key_is_gone_does_not_match() -> None:
    digest = a_keyring("old").digest(b"a body", "idempotency")
    assert not a_keyring("new").digest_matches(digest, b"a body", "idempotency")


@pytest.mark.parametrize("rubbish", ["", "k1", "k1:", "k1:ä", ":"])
def test_rubbish_is_a_digest_of_nothing(rubbish: str) -> None:
    assert not a_keyring().digest_matches(rubbish, b"", "idempotency")
