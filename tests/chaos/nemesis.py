"""Kills, freezes, wipes, fills and disconnects one part after the other, and measures how long recovering takes."""

import contextlib
import random
import time
from collections.abc import Callable

import httpx
import msgspec
import psutil
import psycopg

from tests.support.fleet import API, APPLY, DELIVER, PARTS, SCHEDULE, Fleet, a_model
from tests.support.servers import Server

REST_S = (0.5, 2.5)
FREEZE_S = (1.0, 6.0)
LONG_FREEZE_S = 22.0
"""Longer than every timeout of a statement, a transaction and a connection."""
RECOVERY_DEADLINE_S = 90.0


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """``began_at`` and ``over_at`` on the monotonic clock; recovering is counted from the latter."""

    name: str
    began_at: float
    over_at: float
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
        """Every kind once in a random order, those that take long at the end; then all over again."""
        until = time.monotonic() + seconds
        while True:
            for kinds in (self._short(), self._long()):
                for name in self._random.sample(sorted(kinds), len(kinds)):
                    if time.monotonic() > until:
                        return
                    self._strike(name, kinds[name])

    def _strike(self, name: str, act: Callable[[], None]) -> None:
        time.sleep(self._random.uniform(*REST_S))
        began_at = time.monotonic()
        act()
        over_at = time.monotonic()
        recovered_after_s = self._recovery_s()
        self.faults.append(Fault(name=name, began_at=began_at, over_at=over_at, recovered_after_s=recovered_after_s))

    def _short(self) -> dict[str, Callable[[], None]]:
        fleet = self._fleet
        return {
            **{f"kill {name}": lambda name=name: self._kill(name) for name in PARTS},
            **{f"freeze {name}": lambda name=name: self._freeze(name) for name in PARTS},
            **{f"kill {name}": lambda server=server: self._restart(server) for name, server in self._servers().items()},
            **{f"freeze {name}": lambda server=server: self._stall(server) for name, server in self._servers().items()},
            "kill the worker's parent": self._kill_parent,
            "kill the worker's children": self._kill_children,
            "freeze the worker's parent": lambda: self._freeze_some(fleet.parts[APPLY].leader()),
            "freeze the worker's children": lambda: self._freeze_some(*fleet.parts[APPLY].children()),
            "end the worker in good order": self._end_in_good_order,
            "kill everything": self._kill_everything,
            "wipe Redis": self._wipe,
            "fill Redis": self._fill,
            "terminate all backends": self._terminate,
        }

    def _long(self) -> dict[str, Callable[[], None]]:
        parts = {
            f"freeze {name} for long": lambda name=name: self._freeze(name, LONG_FREEZE_S)
            for name in (API, APPLY, DELIVER, SCHEDULE)
        }
        servers = {
            f"freeze {name} for long": lambda server=server: self._stall(server, LONG_FREEZE_S)
            for name, server in self._servers().items()
        }
        away = {
            f"take {name} away for long": lambda server=server: self._restart(server, LONG_FREEZE_S)
            for name, server in self._servers().items()
        }
        return {**parts, **servers, **away}

    def _servers(self) -> dict[str, Server]:
        return {"Redis": self._fleet.valkey, "PostgreSQL": self._fleet.postgres}

    # --- processes ---

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

    def _end_in_good_order(self) -> None:
        self._fleet.stop(APPLY)
        self._fleet.start(APPLY)

    def _kill_everything(self) -> None:
        """As when the machine loses its power."""
        for part in self._fleet.parts.values():
            part.kill()
        for server in self._servers().values():
            server.kill()
        for server in self._servers().values():
            server.restart()
        self._fleet.make_whole()

    def _freeze(self, name: str, seconds: float | None = None) -> None:
        part = self._fleet.parts[name]
        part.freeze()
        self._wait(seconds)
        part.thaw()

    def _freeze_some(self, *processes: psutil.Process) -> None:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
        self._wait()
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    # --- servers ---

    def _restart(self, server: Server, seconds: float | None = None) -> None:
        server.kill()
        time.sleep(self._random.uniform(0, 2) if seconds is None else seconds)
        server.restart()

    def _stall(self, server: Server, seconds: float | None = None) -> None:
        server.freeze()
        self._wait(seconds)
        server.thaw()

    def _wipe(self) -> None:
        with self._fleet.redis() as client:
            client.flushall()

    def _fill(self) -> None:
        with self._fleet.full_redis():
            self._wait()

    def _terminate(self) -> None:
        with self._fleet.database(autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND usename = current_user"
            )

    def _wait(self, seconds: float | None = None) -> None:
        time.sleep(self._random.uniform(*FREEZE_S) if seconds is None else seconds)

    # --- recovering ---

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
