import socket
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from email.utils import format_datetime

import pytest

from shared.outbox.addresses import Allowlist, check_url
from shared.runtime.clock import now
from tests.support import receivers
from tests.support.receivers import Receiver
from worker.senders.connector import Connector, Undelivered
from worker.senders.transport import Answer, post

CONNECTOR = Connector(allow=Allowlist.parse("127.0.0.1/32"))
GENEROUS_MS = 30_000
"""Far above any deadline set here, far below a hang."""


def send(receiver: Receiver, body: bytes = b"{}", *, path: str = "/hook", deadline_s: float = 10) -> Answer:
    return post(receiver.url + path, body, {"X-Own": "yes"}, connector=CONNECTOR, deadline_s=deadline_s)


def answer_to(answer: receivers.Answer) -> Answer:
    with Receiver(answer) as receiver:
        return send(receiver)


@contextmanager
def a_server_that_says(raw: bytes) -> Generator[str]:
    """Reads a little, says this, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(raw)
                connection.shutdown(socket.SHUT_WR)
                connection.recv(65536)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        thread.join()


def test_the_bytes_arrive_as_they_were_given() -> None:
    body = bytes(range(256)) * 20
    with Receiver() as receiver:
        send(receiver, body, path="/hook?a=%2F")
        (received,) = receiver.requests
    assert (received.method, received.path, received.body) == ("POST", "/hook?a=%2F", body)
    assert received.headers["x-own"] == "yes"
    assert received.headers["content-length"] == str(len(body))


def test_a_target_that_was_parsed_before_is_taken_as_it_is() -> None:
    with Receiver() as receiver:
        assert post(check_url(receiver.url, CONNECTOR.allow), b"", {}, connector=CONNECTOR).status == 200


def test_a_url_that_is_refused_is_undelivered() -> None:
    with pytest.raises(Undelivered, match=r"^refused: it holds a user name or password$"):
        post("http://user@127.0.0.1/", b"", {}, connector=CONNECTOR)


def test_every_post_has_a_connection_of_its_own() -> None:
    with Receiver() as receiver:
        send(receiver)
        send(receiver)
        assert [request.headers["connection"] for request in receiver.requests] == ["close", "close"]


@pytest.mark.parametrize("status", [200, 204, 400, 410, 500, 503])
def test_every_status_is_an_answer(status: int) -> None:
    assert answer_to(receivers.Answer(status=status, body=b"")).status == status


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with (
        Receiver() as elsewhere,
        Receiver(receivers.Answer(status=status, headers={"Location": elsewhere.url})) as receiver,
    ):
        assert send(receiver).status == status
        assert elsewhere.requests == []


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver() as proxy, Receiver() as receiver:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        send(receiver)
        assert len(receiver.requests) == 1
        assert proxy.requests == []


@pytest.mark.parametrize(
    "endless",
    [
        receivers.Answer(hang=True),
        receivers.Answer(drip=True),
        receivers.Answer(drip_head=True),
    ],
    ids=["never answers", "drips its body", "drips its head"],
)
def test_a_receiver_without_end_is_left_at_the_deadline(endless: receivers.Answer) -> None:
    with Receiver(endless) as receiver:
        with pytest.raises(Undelivered) as failed:
            send(receiver, deadline_s=0.3)
        assert failed.value.reason == "too_slow"
        assert failed.value.latency_ms < GENEROUS_MS
        assert send(receiver).status == 200


def test_a_receiver_that_reads_nothing_is_left_at_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/"
        with pytest.raises(Undelivered) as failed:
            post(url, b"x" * 50_000_000, {}, connector=CONNECTOR, deadline_s=0.3)
    assert failed.value.reason == "too_slow"


def test_an_endless_body_is_read_up_to_a_limit() -> None:
    answer = answer_to(receivers.Answer(body=b"x" * 5_000_000))
    assert answer.status == 200
    assert answer.excerpt == "x" * 1024


def test_the_excerpt_is_one_line_without_control_characters() -> None:
    answer = answer_to(receivers.Answer(body="a\x00b\x1b[31m\r\nc\u202ed\u2028é".encode() + b"\xff"))
    assert answer.excerpt == "a b [31m  c d é\ufffd"


@pytest.mark.parametrize(
    "raw", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", b"\x00" * 99]
)
def test_what_is_not_a_whole_http_answer_is_undelivered(raw: bytes) -> None:
    with a_server_that_says(raw) as url, pytest.raises(Undelivered) as failed:
        post(url, b"", {}, connector=CONNECTOR)
    assert failed.value.reason == "protocol"


def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    with a_server_that_says(b"HTTP/1.1 202 Fine\r\n\r\nall of it") as url:
        assert post(url, b"", {}, connector=CONNECTOR).excerpt == "all of it"


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        (" 1.5 ", 1.5),
        ("-1", None),
        ("soon", None),
        ("", None),
        ("1e9", None),
        ("Sat, 01 Jan 99999999999999999999 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_read_in_seconds(asked: str, seconds: float | None) -> None:
    assert answer_to(receivers.Answer(status=429, headers={"Retry-After": asked})).retry_after_s == seconds


@pytest.mark.parametrize(("ahead_s", "least", "most"), [(600, 500, 600), (-600, 0, 0)])
def test_retry_after_is_read_as_a_date(ahead_s: int, least: float, most: float) -> None:
    date = format_datetime(now() + timedelta(seconds=ahead_s), usegmt=True)
    waited = answer_to(receivers.Answer(status=503, headers={"Retry-After": date})).retry_after_s
    assert waited is not None
    assert least <= waited <= most


def test_threads_do_not_see_each_others_answers() -> None:
    with ThreadPoolExecutor(8) as threads, Receiver() as one, Receiver(default=receivers.Answer(body=b"two")) as two:
        answers = list(threads.map(send, [one, two] * 50))
    assert [answer.excerpt for answer in answers] == ["ok", "two"] * 50
