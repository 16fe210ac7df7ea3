import socket

import pytest

from cli.stack.listening import Address
from shared.runtime.settings import Misconfigured


def test_a_taken_port_is_named_with_the_option_that_changes_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(Misconfigured, match=f"Port {port} .* in use .* --port"):
            Address("127.0.0.1", port).refuse_taken()


def test_a_port_that_was_just_left_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    Address("127.0.0.1", port).refuse_taken()


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(Misconfigured, match=r"cannot listen on 192\.0\.2\.1:4000"):
        Address("192.0.2.1", 4000).refuse_taken()


@pytest.mark.parametrize(
    ("host", "listen", "url"),
    [
        ("127.0.0.1", "127.0.0.1:4000", "http://127.0.0.1:4000"),
        ("0.0.0.0", "0.0.0.0:4000", "http://127.0.0.1:4000"),
        ("::1", "[::1]:4000", "http://[::1]:4000"),
        ("::", "[::]:4000", "http://[::1]:4000"),
    ],
)
def test_the_shown_address_is_one_that_this_machine_reaches(host: str, listen: str, url: str) -> None:
    address = Address(host, 4000)
    assert (address.listen, address.url) == (listen, url)


def test_nobody_listening_is_not_ready() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert not Address("127.0.0.1", port).is_ready()
