from base64 import b64encode

import pytest

from shared.encryption.signing import BadSigningKey, SigningKey, check_public_key, is_signed_by, new_signing_key

# RFC 8032, section 7.1, test 2.
SEED = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


def text(data: bytes) -> str:
    return b64encode(data).decode()


def test_it_signs_as_the_specification_says() -> None:
    key = SigningKey.parse(text(SEED))
    assert key.public == text(PUBLIC)
    assert key.sign(b"\x72") == text(SIGNATURE)


def test_a_signature_holds_for_its_message_and_its_key_only() -> None:
    key, other = SigningKey.parse(new_signing_key()), SigningKey.parse(new_signing_key())
    signature = key.sign(b"message")
    assert is_signed_by(key.public, b"message", signature)
    assert not is_signed_by(key.public, b"another", signature)
    assert not is_signed_by(other.public, b"message", signature)
    assert not is_signed_by(key.public, b"message", "no signature")


@pytest.mark.parametrize("bad", ["", "x", text(b"short"), text(bytes(33)), "A" * 44])
def test_what_is_no_key_is_refused(bad: str) -> None:
    with pytest.raises(BadSigningKey):
        SigningKey.parse(bad)
    with pytest.raises(BadSigningKey):
        check_public_key(bad)


@pytest.mark.parametrize("weak", [bytes(32), bytes(range(32)), b"a" * 32])
def test_a_weak_key_is_refused(weak: bytes) -> None:
    with pytest.raises(BadSigningKey, match="keygen"):
        SigningKey.parse(text(weak))


def test_it_never_shows_by_accident() -> None:
    assert text(SEED) not in repr(SigningKey(SEED))
