"""The load: a lean HTTP/1.1 client on raw connections, in a process of its own. The same for whoever is measured.

``python -m benchmarks.load`` reads one ``Load`` as JSON from standard input and prints one ``Report``. It stops after
``requests`` answers or ``seconds``, whichever is given and comes first.
"""

import asyncio
import sys
import time
from collections.abc import Iterator
from itertools import cycle
from typing import cast

import msgspec
import uvloop

LONGEST_S = 60.0
_GRACE_S = 10.0
_VARIANTS = 512
_PROVIDERS = ("openai/gpt-4o", "azure/gpt-4o-mini", "anthropic/claude-sonnet-4", "bedrock/anthropic.claude-haiku")


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """``headers`` are added to every request; ``{n}`` in one of them becomes a number that is never used again."""

    port: int
    key: str
    connections: int
    seconds: float = LONGEST_S
    requests: int | None = None
    headers: dict[str, str] = {}
    status: int = 202


class Report(msgspec.Struct, frozen=True, kw_only=True):
    answers: int
    wrong: int
    seconds: float
    latencies_ms: list[float]

    @property
    def per_second(self) -> float:
        return self.answers / self.seconds


def body(number: int) -> bytes:
    """A deployment as a gateway's configuration has it: about 450 bytes."""
    return msgspec.json.encode(
        {
            "model_name": f"gpt-4o-eu-{number % 40}",
            "litellm_params": {
                "model": _PROVIDERS[number % len(_PROVIDERS)],
                "api_key": f"provider-key-{number:06d}-0123456789abcdefABCDEF",
                "api_base": f"https://eu-{number % 7}.example-gateway.net/openai/v1",
                "api_version": "2025-03-01-preview",
                "rpm": 600 + number,
                "tpm": 90_000,
                "timeout": 45.5,
                "extra_headers": {"x-tenant": f"tenant-{number % 12}"},
            },
            "model_info": {"mode": "chat", "base_model": "gpt-4o", "supports_vision": True, "owner": "platform"},
        }
    )


def requests_of(load: Load) -> Iterator[bytes]:
    """Without end."""
    bodies = [body(number) for number in range(_VARIANTS)]
    extra = "".join(f"{name}: {value}\r\n" for name, value in load.headers.items())
    heads = [
        "POST /model/new HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {load.key}\r\nContent-Length: {len(content)}\r\n"
        for content in bodies
    ]
    if "{n}" not in extra:
        return cycle([f"{head}{extra}\r\n".encode() + content for head, content in zip(heads, bodies, strict=True)])
    return _numbered(heads, bodies, extra)


def _numbered(heads: list[str], bodies: list[bytes], extra: str) -> Iterator[bytes]:
    run = time.time_ns()
    for number, (head, content) in enumerate(cycle(zip(heads, bodies, strict=True))):
        yield (head + extra.replace("{n}", f"{run}-{number}") + "\r\n").encode() + content


class _Run:
    """What the connections share."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.requests = requests_of(load)
        self.expected = f"HTTP/1.1 {load.status} ".encode()
        self.to_send = load.requests if load.requests is not None else sys.maxsize
        self.wrong = 0
        self.latencies_s: list[float] = []
        self.open_connections = 0
        self.until = time.perf_counter() + load.seconds
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class _Connection(asyncio.Protocol):
    """One request at a time, the next one as soon as the answer is complete."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._buffer = b""
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own are none by inheritance
        self._run.open_connections += 1
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator or len(rest) < _content_length(head):
            return
        now = time.perf_counter()
        self._run.latencies_s.append(now - self._sent_at)
        if not self._buffer.startswith(self._run.expected):
            self._run.wrong += 1
        self._buffer = b""
        if now < self._run.until:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._run.open_connections -= 1
        if self._run.open_connections == 0 and not self._run.done.done():
            self._run.done.set_result(None)

    def _send(self) -> None:
        if self._run.to_send <= 0:
            self._transport.close()
            return
        self._run.to_send -= 1
        self._sent_at = time.perf_counter()
        self._transport.write(next(self._run.requests))


def _content_length(head: bytes) -> int:
    _, found, after = head.lower().partition(b"content-length:")
    return int(after.split(b"\r\n", 1)[0]) if found else 0


async def generate(load: Load) -> Report:
    loop = asyncio.get_running_loop()
    run = _Run(load)
    started = time.perf_counter()
    for _ in range(load.connections):
        await loop.create_connection(lambda: _Connection(run), "127.0.0.1", load.port)
    async with asyncio.timeout(load.seconds + _GRACE_S):
        await run.done
    return Report(
        answers=len(run.latencies_s),
        wrong=run.wrong,
        seconds=time.perf_counter() - started,
        latencies_ms=[latency * 1000 for latency in run.latencies_s],
    )


if __name__ == "__main__":
    given = msgspec.json.decode(sys.stdin.buffer.read(), type=Load)
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(generate(given))))
