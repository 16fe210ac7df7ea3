"""Real PostgreSQL and Valkey servers for tests, started by the same code as the embedded stack's."""

import os
import signal
import time
import warnings
from pathlib import Path

import psutil
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from cli.stack.binaries import find_postgres, find_valkey
from cli.stack.postgres import Postgres
from cli.stack.processes import Process
from cli.stack.sockets import Sockets, sockets_of
from cli.stack.valkey import Valkey

_START_DEADLINE_S = 30.0
_STATEMENT_DEADLINE_S = 30


class Server:
    """A server that a test may stop, kill, freeze and start again on the same folder and the same URL."""

    def __init__(self, server: Postgres | Valkey, folder: Path, sockets: Sockets) -> None:
        self._server = server
        self._sockets = sockets
        self._folder = folder
        self.url = server.url()
        self._frozen: list[psutil.Process] = []
        self._process = self._start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        """End it in good order; the data stay. ``restart`` brings it back."""
        self.thaw()
        self._process.end()
        self._sockets.remove()

    def kill(self) -> None:
        """As a power cut would end it: the server and all of its processes, at once."""
        family = self._family()
        for process in family:
            _signal(process, signal.SIGKILL)
        self._process.kill()
        psutil.wait_procs(family)
        self._frozen = []

    def freeze(self) -> None:
        """As a stalled machine: connections stay open and nothing answers."""
        self._frozen = self._family()
        for process in self._frozen:
            _signal(process, signal.SIGSTOP)

    def thaw(self) -> None:
        for process in self._frozen:
            _signal(process, signal.SIGCONT)
        self._frozen = []

    def restart(self) -> None:
        """Start it again, after ``stop`` or ``kill``; a running one is stopped first."""
        self.stop()
        self._process = self._start()

    def _start(self) -> Process:
        self._sockets.prepare()
        with warnings.catch_warnings():
            # Since Python 3.12: forking beside the threads of pytest-xdist. Only exec follows the fork.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._prepare()
            program = self._server.program()
            log = self._folder / f"{program.name}.log"
            process = Process(program, log)
        deadline = time.monotonic() + _START_DEADLINE_S
        while not self._server.is_ready(process.pid):
            if process.exit_code() is not None or time.monotonic() > deadline:
                process.kill()
                raise RuntimeError(f"{program.name} did not start:\n{log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.01)
        return process

    def _prepare(self) -> None:
        self._server.prepare()

    def _family(self) -> list[psutil.Process]:
        if self._process.exit_code() is not None:
            return []
        leader = psutil.Process(self.pid)
        return [leader, *leader.children(recursive=True)]


class PostgresServer(Server):
    def __init__(self, folder: Path) -> None:
        sockets = sockets_of(folder)
        self._postgres = Postgres(find_postgres(), folder / "postgres", sockets)
        super().__init__(self._postgres, folder, sockets)

    def create_database(self, name: str, template: str | None = None) -> str:
        """Make a database, by default an empty one, and return its URL. The template must have no connections."""
        statement = sql.SQL("CREATE DATABASE {} OWNER pointsman TEMPLATE {}").format(
            sql.Identifier(name), sql.Identifier(template or "template0")
        )
        self._administer(statement)
        return self._postgres.url(database=name)

    def drop_database(self, name: str) -> None:
        """Also ends the connections to it."""
        self._administer(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _prepare(self) -> None:
        if self._postgres.prepare():
            # Tests kill processes and never the machine: what was written is read again, also when no disk has it.
            with (self._folder / "postgres" / "postgresql.conf").open("a", encoding="utf-8") as configuration:
                configuration.write("fsync = off\n")

    def _administer(self, statement: sql.Composed) -> None:
        options = f"-c statement_timeout={_STATEMENT_DEADLINE_S}s"
        superuser = make_conninfo(self._postgres.superuser_url(), options=options)
        with psycopg.connect(superuser, autocommit=True) as connection:
            connection.execute(statement)


class ValkeyServer(Server):
    def __init__(self, folder: Path) -> None:
        sockets = sockets_of(folder)
        super().__init__(Valkey(find_valkey(), folder / "valkey", sockets), folder, sockets)


def start_postgres(folder: Path) -> PostgresServer:
    """Start a server on a folder of its own, which is made when it is missing and stays after the end."""
    return PostgresServer(_made(folder))


def start_valkey(folder: Path) -> ValkeyServer:
    """Start a server on a folder of its own, which is made when it is missing and stays after the end."""
    return ValkeyServer(_made(folder))


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder.absolute()


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return
