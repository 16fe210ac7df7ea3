from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.outbox.addresses import (
    MAX_URL_LENGTH,
    NOTHING_ALLOWED,
    Allowlist,
    RefusedTarget,
    check_address,
    check_url,
)


def corpus(verdict: str) -> list[str]:
    lines = Path(__file__).with_name("addresses.corpus").read_text(encoding="utf-8").splitlines()
    return [line.removeprefix(verdict).removeprefix(" ") for line in lines if line.startswith(verdict)]


def refusal_of(url: str, allow: Allowlist = NOTHING_ALLOWED) -> str:
    with pytest.raises(RefusedTarget) as refused:
        check_url(url, allow)
    return refused.value.reason


def test_the_corpus_is_large_and_knows_both_verdicts() -> None:
    assert len(set(corpus("refused"))) >= 300
    assert len(set(corpus("allowed"))) >= 60


@pytest.mark.parametrize("url", corpus("refused"))
def test_a_target_of_the_corpus_is_refused(url: str) -> None:
    refusal_of(url)


@pytest.mark.parametrize("url", corpus("allowed"))
def test_a_target_of_the_corpus_is_allowed(url: str) -> None:
    assert check_url(url, NOTHING_ALLOWED).url


@pytest.mark.parametrize("url", corpus("allowed"))
def test_a_normalised_url_stays_as_it_is(url: str) -> None:
    target = check_url(url, NOTHING_ALLOWED)
    assert check_url(target.url, NOTHING_ALLOWED) == target


@pytest.mark.parametrize("url", [url for url in corpus("refused") if "::ffff:" in url or "64:ff9b::" in url])
def test_naming_a_private_network_opens_no_disguise_but_the_mapped_one(url: str) -> None:
    allow = Allowlist.parse("10.0.0.0/8")
    if url in ("http://[::ffff:10.0.0.1]/", "http://[::ffff:a00:1]/"):
        assert check_url(url, allow).address == IPv4Address("10.0.0.1")
    else:
        refusal_of(url, allow)


def test_the_parts_of_a_url_are_normalised() -> None:
    target = check_url("HTTPS://Bücher.Example.:8443/a%2Fb/ü?q=<x>&r=1", NOTHING_ALLOWED)
    assert (target.scheme, target.host, target.port) == ("https", "xn--bcher-kva.example", 8443)
    assert target.path == "/a%2Fb/%C3%BC?q=%3Cx%3E&r=1"
    assert target.authority == "xn--bcher-kva.example:8443"


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("https://example.com:443/", "example.com"),
        ("http://example.com:443/", "example.com:443"),
        ("http://example.com:80/", "example.com"),
        ("https://[2606:4700::1111]:8443/", "[2606:4700::1111]:8443"),
    ],
)
def test_the_authority_names_the_port_only_when_it_is_unusual(url: str, authority: str) -> None:
    assert check_url(url, NOTHING_ALLOWED).authority == authority


def test_a_url_may_be_as_long_as_the_limit_and_no_longer() -> None:
    longest = "https://example.com/".ljust(MAX_URL_LENGTH, "a")
    assert check_url(longest, NOTHING_ALLOWED).url == longest
    assert "longer" in refusal_of(longest + "a")


def test_the_reason_says_what_is_wrong_and_repeats_no_password() -> None:
    reason = refusal_of("http://user:canary@example.com/")
    assert "user name or password" in reason
    assert "canary" not in reason


def test_the_reason_names_the_setting_that_would_allow_it() -> None:
    assert refusal_of("http://10.0.0.1/") == (
        "its address is private, and POINTSMAN_WEBHOOK_ALLOW names no network that holds it"
    )


def test_a_named_network_is_allowed_and_its_neighbour_is_not() -> None:
    allow = Allowlist.parse("10.1.0.0/16, 127.0.0.1/32, ::1/128")
    assert check_url("http://10.1.255.255:8080/", allow).address == IPv4Address("10.1.255.255")
    assert check_url("http://localhost/", allow).address is None
    assert check_url("http://[::1]/", allow).address == IPv6Address("::1")
    refusal_of("http://10.2.0.0/", allow)
    refusal_of("http://127.0.0.2/", allow)


def test_an_allowlist_may_be_empty_and_hold_single_addresses() -> None:
    assert Allowlist.parse(" , ") == NOTHING_ALLOWED
    assert Allowlist.parse("192.168.0.7").names(IPv4Address("192.168.0.7"))


@pytest.mark.parametrize("bad", ["10.0.0.1/8", "10.0.0.0/33", "internal.example", "10.0.0.0-10.0.0.9", "::1/129"])
def test_an_allowlist_names_its_bad_item(bad: str) -> None:
    with pytest.raises(ValueError, match=f"'{bad}' is not a network"):
        Allowlist.parse(f"127.0.0.0/8,{bad}")


def test_a_mapped_address_is_connected_to_as_what_it_carries() -> None:
    assert check_address(ip_address("::ffff:8.8.8.8"), NOTHING_ALLOWED) == IPv4Address("8.8.8.8")


def test_an_address_bound_to_an_interface_is_refused() -> None:
    with pytest.raises(RefusedTarget):
        check_address(ip_address("2606:4700::1%eth0"), NOTHING_ALLOWED)


@given(st.ip_addresses(v=4))
def test_whatever_python_calls_private_is_refused_in_every_disguise(address: IPv4Address) -> None:
    forms = [address, IPv6Address(f"::ffff:{address}"), IPv6Address(f"64:ff9b::{address}")]
    if not address.is_global:
        for form in forms:
            with pytest.raises(RefusedTarget):
                check_address(form, NOTHING_ALLOWED)


@given(st.ip_addresses(v=6))
def test_no_ipv6_address_that_is_not_global_unicast_is_allowed(address: IPv6Address) -> None:
    if not address.is_global or address.is_multicast or address.sixtofour or address.teredo:
        with pytest.raises(RefusedTarget):
            check_address(address, NOTHING_ALLOWED)


@given(st.text(max_size=60).map(lambda text: f"http://{text}"))
def test_rubbish_is_judged_and_never_breaks_the_judge(url: str) -> None:
    try:
        target = check_url(url, NOTHING_ALLOWED)
    except RefusedTarget:
        return
    assert target.url.isascii()
    assert check_url(target.url, NOTHING_ALLOWED) == target
