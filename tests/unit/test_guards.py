"""The guard that every test stands behind."""

import socket

import pytest

from tests.conftest import LeftTheMachine


def test_no_test_connects_to_another_machine() -> None:
    with socket.socket() as connection, pytest.raises(LeftTheMachine):
        connection.connect(("192.0.2.1", 80))


def test_no_test_looks_up_a_name() -> None:
    with pytest.raises(LeftTheMachine):
        socket.getaddrinfo("example.com", 443)


def test_loopback_can_be_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        pass
