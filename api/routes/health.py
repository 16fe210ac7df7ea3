"""``/health/*``: for probes. Needs no key and says nothing that one would need a key for."""

import asyncio
from typing import Any

import redis.asyncio
from litestar import Response, Router, get
from litestar.di import NamedDependency

from api.openapi import Answer, described
from api.reads import Reads
from api.shapes import ReadinessReport
from shared.domain.problems import Unavailable
from shared.domain.tasks import NO_PROGRESS
from shared.runtime.config_file import ConfigFile
from shared.store import tasks

ALIVE = "I'm alive!"
PROBE_TIMEOUT_S = 2.0


class Readiness:
    """Looks at the parts. Redis being away does not make the API unready: changes are still accepted."""

    def __init__(
        self,
        reads: Reads,
        redis_client: redis.asyncio.Redis,
        config_file: ConfigFile[Any],
        stall_after_s: float,
        version: str,
    ) -> None:
        self._reads = reads
        self._config_file = config_file
        self._redis = redis_client
        self._stall_after_s = stall_after_s
        self._version = version

    async def report(self) -> tuple[int, dict[str, Any]]:
        """The status code and what to answer with."""
        (database, worker), redis_state = await asyncio.gather(self._database_and_worker(), self._redis_state())
        is_ready = database == "ready" and worker == "ready"
        config_state = self._config_file.state()
        is_whole = redis_state == "ready" and config_state == "ready"
        status = "unhealthy" if not is_ready else "healthy" if is_whole else "degraded"
        parts = {"database": database, "worker": worker, "redis": redis_state, "config_file": config_state}
        return (200 if is_ready else 503), {
            "status": status,
            "db": "connected" if database == "ready" else "Not connected",
            "parts": parts,
            "pointsman_version": self._version,
        }

    async def _database_and_worker(self) -> tuple[str, str]:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                row = await self._reads.row(tasks.progress())
        except (Unavailable, TimeoutError):
            return "unreachable", "unknown"
        if row is None or row.due_since is None:
            return "ready", "ready"
        since = max(row.due_since, row.last_ended_at or row.due_since)
        is_stalled = (row.now - since).total_seconds() > self._stall_after_s
        return "ready", NO_PROGRESS if is_stalled else "ready"

    async def _redis_state(self) -> str:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                await self._redis.ping()  # pyright: ignore[reportGeneralTypeIssues, reportUnknownMemberType, reportUnknownVariableType]
        except (redis.RedisError, OSError, TimeoutError):
            return "unreachable"
        return "ready"


@get(
    ["/health/liveliness", "/health/liveness"],
    operation_class=described({200: Answer(shape=str, text=f"`{ALIVE}`", media_type="text/plain")}, is_open=True),
    summary="Is the process alive?",
    tags=["health"],
)
async def liveliness() -> str:
    return ALIVE


@get(
    "/health/readiness",
    operation_class=described(
        {
            200: Answer(shape=ReadinessReport, text="Changes are accepted and carried out."),
            503: Answer(shape=ReadinessReport, text="The part that is not ready is named."),
        },
        is_open=True,
    ),
    summary="Which part is not ready?",
    tags=["health"],
)
async def readiness(readiness: NamedDependency[Readiness]) -> Response[dict[str, Any]]:
    """503 while the database is away or due work makes no progress; `degraded` while only Redis is away."""
    status_code, report = await readiness.report()
    return Response(report, status_code=status_code)


router = Router("/", route_handlers=[liveliness, readiness])
