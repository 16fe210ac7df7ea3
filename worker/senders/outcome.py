"""How one attempt ended, for the attempt log and for the decision what comes next."""

from typing import Self

import msgspec

from worker.senders.connector import Undelivered
from worker.senders.transport import Answer


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """``permanent``: trying again cannot help. ``gone``: the receiver wants nothing more at all."""

    ok: bool
    status: int | None
    error: str | None
    excerpt: str
    latency_ms: int
    retry_after_s: float | None = None
    gone: bool = False
    permanent: bool = False

    @classmethod
    def of(cls, answer: Answer, *, gone: bool = False, permanent: bool = False) -> Self:
        """Only 2xx is success; a redirect is not followed and counts as failure."""
        ok = 200 <= answer.status < 300
        return cls(
            ok=ok,
            status=answer.status,
            error=None if ok else f"answered {answer.status}",
            excerpt=answer.excerpt,
            latency_ms=answer.latency_ms,
            retry_after_s=answer.retry_after_s,
            gone=gone,
            permanent=permanent,
        )

    @classmethod
    def without_answer(cls, undelivered: Undelivered) -> Self:
        return cls(ok=False, status=None, error=str(undelivered), excerpt="", latency_ms=undelivered.latency_ms)
