"""Kills, freezes, wipes and disconnects one part after the other, and measures how long recovering takes."""

import contextlib
import random
import time
from collections.abc import Callable

import httpx
import msgspec
import psutil
import psycopg

from tests.support.fleet import API, APPLY, DELIVER, SCHEDULE, Fleet, a_model
from tests.support.servers import Server

REST_S = (0.5, 2.5)
FREEZE_S = (1.0, 7.0)
LONG_FREEZE_S = 18.0
"""Longer than every timeout of a worker's transaction."""
RECOVERY_DEADLINE_S = 90.0


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    recovered_after_s: float


class Nemesis:
    """Runs in the main thread: the system ends what a thread has started together with that thread.

    ``faults`` names what it did, and how long after the part was back a new change took to be carried out.
    """

    def __init__(self, seed: int, fleet: Fleet) -> None:
        self._random = random.Random(f"{seed}/nemesis")
        self._fleet = fleet
        self.faults: list[Fault] = []
        self.probes: list[str] = []

    def rage(self, seconds: float) -> None:
        kinds = self._kinds()
        names: list[str] = []
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(self._random.uniform(*REST_S))
            # Every kind once, in a random order, then all over again.
            names = names or self._random.sample(sorted(kinds), len(kinds))
            name = names.pop()
            kinds[name]()
            self.faults.append(Fault(name=name, recovered_after_s=self._recovery_s()))

    def _kinds(self) -> dict[str, Callable[[], None]]:
        fleet = self._fleet
        parts = (API, APPLY, DELIVER, SCHEDULE)
        servers = {"Redis": fleet.valkey, "PostgreSQL": fleet.postgres}
        return {
            **{f"kill {name}": lambda name=name: self._kill(name) for name in parts},
            **{f"freeze {name}": lambda name=name: self._freeze(name) for name in parts},
            **{f"kill {name}": lambda server=server: self._restart(server) for name, server in servers.items()},
            **{f"freeze {name}": lambda server=server: self._stall(server) for name, server in servers.items()},
            "kill the worker's parent": self._kill_parent,
            "kill the worker's children": self._kill_children,
            "freeze the worker for long": lambda: self._freeze(APPLY, LONG_FREEZE_S),
            "wipe Redis": self._wipe,
            "terminate all backends": self._terminate,
        }

    def _kill(self, name: str) -> None:
        self._fleet.parts[name].kill()
        self._fleet.start(name)

    def _kill_parent(self) -> None:
        self._fleet.parts[APPLY].kill_parent_only()
        self._fleet.start(APPLY)

    def _kill_children(self) -> None:
        for child in self._fleet.parts[APPLY].children():
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()

    def _freeze(self, name: str, seconds: float | None = None) -> None:
        part = self._fleet.parts[name]
        part.freeze()
        time.sleep(seconds or self._random.uniform(*FREEZE_S))
        part.thaw()

    def _restart(self, server: Server) -> None:
        server.kill()
        time.sleep(self._random.uniform(0, 2))
        server.restart()

    def _stall(self, server: Server) -> None:
        server.freeze()
        time.sleep(self._random.uniform(*FREEZE_S))
        server.thaw()

    def _wipe(self) -> None:
        with self._fleet.redis() as client:
            client.flushall()

    def _terminate(self) -> None:
        with self._fleet.database(autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND usename = current_user"
            )

    def _recovery_s(self) -> float:
        """From now until a change that is asked for now has been carried out."""
        began_at = time.monotonic()
        key = f"probe-{len(self.faults)}"
        self.probes.append(key)
        while time.monotonic() - began_at < RECOVERY_DEADLINE_S:
            for part in self._fleet.parts.values():
                part.revive()
            with contextlib.suppress(httpx.HTTPError, psycopg.Error), self._fleet.client() as http:
                headers = {"Idempotency-Key": key, "Prefer": "wait=5"}
                answer = http.post("/model/new", json=a_model(key, model_id=key), headers=headers, timeout=8)
                if answer.status_code == 200:
                    return time.monotonic() - began_at
            time.sleep(0.05)
        return RECOVERY_DEADLINE_S
