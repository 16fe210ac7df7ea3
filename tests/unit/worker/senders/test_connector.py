import socket
import ssl
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest

from shared.outbox.addresses import Allowlist, check_url
from tests.support.receivers import Receiver
from tests.unit.worker.senders.certificates import Certificate
from worker.senders.connector import Connector, Deadline, Undelivered, is_own
from worker.senders.transport import Answer, post

LOOPBACK = Allowlist.parse("127.0.0.0/8")
METADATA = "169.254.169.254"


class Names:
    """A stand-in for DNS that gives one answer a lookup, and the last one for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = answers
        self.asked: list[tuple[str, int]] = []

    def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        return self._answers[min(len(self.asked), len(self._answers)) - 1]


def send(receiver: Receiver, connector: Connector, *, host: str = "hooks.test", deadline_s: float = 10) -> Answer:
    url = receiver.url.replace("127.0.0.1", host)
    return post(url, b"{}", {}, connector=connector, deadline_s=deadline_s)


def undelivered(receiver: Receiver, connector: Connector, *, deadline_s: float = 10) -> Undelivered:
    with pytest.raises(Undelivered) as raised:
        send(receiver, connector, deadline_s=deadline_s)
    return raised.value


@contextmanager
def a_closed_port() -> Generator[int]:
    """A port that is taken and that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_a_name_is_looked_up_once_and_stays_in_the_host_header() -> None:
    names = Names(["127.0.0.1"])
    with Receiver() as receiver:
        send(receiver, Connector(allow=LOOPBACK, resolve=names))
        assert names.asked == [("hooks.test", receiver.port)]
        assert receiver.requests[0].headers["host"] == f"hooks.test:{receiver.port}"


def test_a_name_that_changes_its_answer_after_the_check_is_not_asked_again() -> None:
    names = Names(["127.0.0.1"], [METADATA])
    with Receiver() as receiver:
        assert send(receiver, Connector(allow=LOOPBACK, resolve=names)).status == 200


def test_a_name_that_has_moved_since_its_registration_is_judged_again() -> None:
    names = Names([METADATA])
    with Receiver() as receiver:
        assert check_url("http://hooks.test/", LOOPBACK).host == "hooks.test"
        assert undelivered(receiver, Connector(allow=LOOPBACK, resolve=names)).reason == "refused"
        assert receiver.requests == []


@pytest.mark.parametrize("addresses", [["127.0.0.1", "10.0.0.1"], ["10.0.0.1", "127.0.0.1"], ["127.0.0.1", "::1"]])
def test_one_refused_address_refuses_the_name(addresses: list[str]) -> None:
    with Receiver() as receiver:
        refused = undelivered(receiver, Connector(allow=LOOPBACK, resolve=Names(addresses)))
        assert refused.reason == "refused"
        assert receiver.requests == []


def test_the_reason_of_a_refusal_shows_no_resolved_address() -> None:
    with Receiver() as receiver:
        assert "10.1.2.3" not in str(undelivered(receiver, Connector(resolve=Names(["10.1.2.3"]))))


def test_nothing_is_sent_to_loopback_unless_it_is_named() -> None:
    with Receiver() as receiver:
        with pytest.raises(Undelivered, match="loopback"):
            post(receiver.url, b"{}", {}, connector=Connector())
        assert receiver.requests == []


def test_the_next_address_is_tried_when_the_first_does_not_answer() -> None:
    with Receiver() as receiver:
        assert send(receiver, Connector(allow=LOOPBACK, resolve=Names(["127.0.0.2", "127.0.0.1"]))).status == 200


def test_a_port_where_nobody_listens_is_a_failed_connection() -> None:
    with a_closed_port() as port, pytest.raises(Undelivered) as failed:
        post(f"http://127.0.0.1:{port}/", b"{}", {}, connector=Connector(allow=LOOPBACK))
    assert failed.value.reason == "connect"


def failing(error: Exception) -> Callable[[str, int], list[str]]:
    def resolve(host: str, port: int) -> list[str]:
        raise error

    return resolve


@pytest.mark.parametrize(
    "resolve", [failing(socket.gaierror(-2, "canary")), failing(UnicodeError("canary")), Names([])]
)
def test_a_name_that_cannot_be_resolved_is_said_in_our_words(resolve: Callable[[str, int], list[str]]) -> None:
    with Receiver() as receiver:
        failed = undelivered(receiver, Connector(allow=LOOPBACK, resolve=resolve))
    assert str(failed) == "dns: its host name cannot be resolved"


def test_a_lookup_that_hangs_ends_at_the_deadline() -> None:
    released = threading.Event()

    def hang(host: str, port: int) -> list[str]:
        released.wait(60)
        return []

    with Receiver() as receiver:
        failed = undelivered(receiver, Connector(allow=LOOPBACK, resolve=hang), deadline_s=0.2)
        released.set()
    assert failed.reason == "too_slow"
    assert failed.latency_ms < 30_000


def test_the_certificate_is_checked_against_the_name(tmp_path: Path) -> None:
    certificate = Certificate(tmp_path, "hooks.test")
    connector = Connector(allow=LOOPBACK, resolve=Names(["127.0.0.1"]), tls=certificate.trust())
    asked_for: list[str | None] = []
    tls = certificate.server()
    tls.sni_callback = lambda _socket, name, _context: asked_for.append(name)
    with Receiver(tls=tls) as receiver:
        assert send(receiver, connector).status == 200
        assert asked_for == ["hooks.test"]
        assert receiver.requests[0].headers["host"].startswith("hooks.test:")


@pytest.mark.parametrize("name", ["other.test", "127.0.0.1"])
def test_a_certificate_for_another_name_is_refused(tmp_path: Path, name: str) -> None:
    certificate = Certificate(tmp_path, name)
    connector = Connector(allow=LOOPBACK, resolve=Names(["127.0.0.1"]), tls=certificate.trust())
    with Receiver(tls=certificate.server()) as receiver:
        assert str(undelivered(receiver, connector)).startswith(
            "tls: its certificate is not accepted: Hostname mismatch"
        )
        assert receiver.requests == []


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    certificate = Certificate(tmp_path, "hooks.test")
    with Receiver(tls=certificate.server()) as receiver:
        failed = undelivered(receiver, Connector(allow=LOOPBACK, resolve=Names(["127.0.0.1"])))
        assert failed.reason == "tls"
        assert receiver.requests == []


def test_https_to_a_receiver_without_encryption_fails() -> None:
    with Receiver() as receiver, pytest.raises(Undelivered) as failed:
        post(f"https://127.0.0.1:{receiver.port}/", b"", {}, connector=Connector(allow=LOOPBACK))
    assert failed.value.reason == "tls"


def test_a_handshake_that_never_comes_ends_at_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(Undelivered) as failed:
            post(url, b"", {}, connector=Connector(allow=LOOPBACK), deadline_s=0.2)
    assert failed.value.reason == "too_slow"


def test_an_own_address_is_told_from_a_foreign_one() -> None:
    assert is_own(ip_address("127.0.0.1"))
    assert not is_own(ip_address("127.0.0.9"))


def test_a_spent_deadline_has_nothing_left() -> None:
    with pytest.raises(Undelivered, match="within 0 s"):
        Deadline(0).left_s()


def test_the_system_is_asked_when_no_resolver_is_given() -> None:
    allow = Allowlist.parse("127.0.0.0/8,::1/128")
    with Receiver() as receiver:
        assert send(receiver, Connector(allow=allow), host="localhost").status == 200


def test_a_connection_is_open_when_it_is_handed_out() -> None:
    with Receiver() as receiver:
        target = check_url(receiver.url, LOOPBACK)
        with closing(Connector(allow=LOOPBACK).connect(target, Deadline(10))) as connection:
            assert connection.getpeername() == ("127.0.0.1", receiver.port)
            assert not isinstance(connection, ssl.SSLSocket)
