"""Brings the embedded stack up, says how to use it, and takes it down."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import shared
from cli.stack.binaries import find_postgres, find_valkey
from cli.stack.folder import Folder, is_given, write_durably
from cli.stack.interrupts import Interrupts
from cli.stack.listening import Address
from cli.stack.postgres import Postgres
from cli.stack.processes import Program
from cli.stack.register import MARKER, Register
from cli.stack.supervisor import Interrupted, Supervisor
from cli.stack.valkey import Valkey

_START_S = 60.0
_LOOK_EVERY_S = 5.0
# Looks in a row that must find the worker stalled, and after its restart, looks that are left out.
_STALLED_LOOKS = 2
_PATIENT_LOOKS = 4
_WORKER = "worker-apply"
_MIGRATIONS = Path(str(shared.__file__)).parent / "store" / "migrations" / "versions"


@dataclass(frozen=True, slots=True)
class Part:
    """One of Pointsman's own processes: a name for logs, and the arguments of the `pointsman` command."""

    name: str
    arguments: tuple[str, ...]


PROCESSES = (
    Part("api", ("api",)),
    Part(_WORKER, ("worker", "--queues", "apply")),
    Part("worker-deliver", ("worker", "--queues", "deliver")),
    Part("schedule", ("schedule",)),
)
_MIGRATE = Part("migrate", ("migrate",))

Say = Callable[[str], None]


class _Watch:
    """Replaces a worker that is alive and takes no work: no probe of its process would notice."""

    def __init__(self, address: Address, supervisor: Supervisor) -> None:
        self._address = address
        self._supervisor = supervisor
        self._stalled = 0

    def look(self) -> None:
        self._stalled = self._stalled + 1 if self._stalled < 0 or self._address.is_stalled() else 0
        if self._stalled >= _STALLED_LOOKS:
            self._supervisor.replace(_WORKER, "makes no progress on due work")
            self._stalled = -_PATIENT_LOOKS


class Launch:
    """One run of the embedded stack, from the empty folder or the kept data to the end of the last child."""

    def __init__(
        self, data_dir: Path, address: Address, environment: Mapping[str, str], parts: Sequence[Part], say: Say
    ) -> None:
        self._data_dir = data_dir
        self._address = address
        self._environment = environment
        self._parts = parts
        self._say = say

    def run(self) -> None:
        """Run until somebody asks for the end.

        Raises:
            Misconfigured: it cannot start like this.
            StartFailed: a part did not come up.
        """
        self._address.refuse_taken()
        with Folder(self._data_dir) as folder, Interrupts() as interrupts:
            register = Register(folder.processes)
            if left := register.end_leftovers(folder.path):
                self._say(f"Ended what an earlier run left behind: {', '.join(left)}")
            supervisor = Supervisor(folder.logs, register, interrupts, self._say)
            try:
                self._start(folder, supervisor)
                supervisor.run_forever(_Watch(self._address, supervisor).look, _LOOK_EVERY_S)
            except Interrupted:
                self._say("Ending …")
            finally:
                supervisor.end()
                folder.sockets.remove()

    def _start(self, folder: Folder, supervisor: Supervisor) -> None:
        """All starts at once, Pointsman's processes wait for the servers by themselves; new tables are waited for."""
        environment = self._common_environment(folder)
        folder.sockets.prepare()
        is_migrated = self._start_postgres(folder, supervisor, environment)
        self._start_valkey(folder, supervisor, environment)
        if not is_migrated:
            supervisor.run_once(_program(_MIGRATE, environment), _START_S)
            write_durably(folder.migrated, _migrations())
        supervisor.start([_program(part, environment) for part in self._parts])
        supervisor.run_until(self._address.is_ready, _START_S)
        self._say(_welcome(self._address, folder, _master_key(environment)))

    def _common_environment(self, folder: Folder) -> dict[str, str]:
        # glibc gives each thread an arena of its own, up to eight for a core, which hardly ever shrink.
        environment = {
            "PYTHONUNBUFFERED": "1",
            "MALLOC_ARENA_MAX": "2",
            **self._environment,
            **folder.keys(self._environment),
        }
        environment[MARKER] = str(folder.path)
        environment["POINTSMAN_LISTEN"] = self._address.listen
        return environment

    def _start_postgres(self, folder: Folder, supervisor: Supervisor, environment: dict[str, str]) -> bool:
        """Whether its tables are known to be up to date; if not, it is ready on return."""
        if is_given(environment, "POINTSMAN_DATABASE_URL"):
            return False
        server = Postgres(find_postgres(), folder.postgres, folder.sockets)
        is_new = server.prepare()
        supervisor.start([server.program()])
        environment["POINTSMAN_DATABASE_URL"] = server.url()
        if not is_new and folder.migrated.exists() and folder.migrated.read_text(encoding="utf-8") == _migrations():
            return True
        supervisor.run_until(lambda: server.is_ready(supervisor.pid("postgres") or 0), _START_S)
        return False

    def _start_valkey(self, folder: Folder, supervisor: Supervisor, environment: dict[str, str]) -> None:
        if is_given(environment, "POINTSMAN_REDIS_URL"):
            return
        server = Valkey(find_valkey(), folder.valkey, folder.sockets)
        server.prepare()
        supervisor.start([server.program()])
        environment["POINTSMAN_REDIS_URL"] = server.url()


def _program(part: Part, environment: Mapping[str, str]) -> Program:
    """Started through the package that is running now, wherever its console script may be.

    `-P` keeps the working directory off the import path: with `-c` or `-m` alone, a folder in it that is named `api` or
    `worker` would be imported in place of ours.
    """
    argv = (sys.executable, "-P", "-c", "from cli.main import main; main()", *part.arguments)
    return Program(part.name, argv, environment)


def _migrations() -> str:
    """What the tables are made by, as a text to compare; asking Alembic would cost a second at every start."""
    return "".join(f"{path.stem}\n" for path in sorted(_MIGRATIONS.glob("*.py")))


def _master_key(environment: Mapping[str, str]) -> str:
    path = environment.get("POINTSMAN_MASTER_KEY_FILE", "").strip()
    return Path(path).read_text(encoding="utf-8").strip() if path else environment["POINTSMAN_MASTER_KEY"]


def _welcome(address: Address, folder: Folder, master_key: str) -> str:
    body = '{"model_name": "gpt-4o", "litellm_params": {"model": "openai/gpt-4o", "api_key": "sk-of-your-provider"}}'
    return f"""
Pointsman is ready at {address.url}

  Admin key  {master_key}
  Logs       {folder.logs}

Try it:
  curl {address.url}/model/new -H 'Authorization: Bearer {master_key}' -H 'Content-Type: application/json' \
-H 'Prefer: wait=5' -d '{body}'

Ctrl-C ends it. Your data stay in {folder.path}
"""
