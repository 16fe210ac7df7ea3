"""A whole Pointsman for a test: the real processes against real servers, each of which may be killed or frozen.

Afterwards ``check_invariants`` sees that whatever the test did, nothing was lost, doubled or shown.
"""

import contextlib
import os
import secrets
import socket
import sys
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import unquote, urlsplit

import httpx
import psutil
import psycopg
import pytest
import redis
from psycopg.rows import dict_row
from sqlalchemy import create_engine, make_url

from cli.stack.processes import Process, Program
from shared.audit import chain
from shared.audit.entries import AuditEntry
from shared.encryption.keyring import new_key
from shared.store import audit
from tests.support.monitor import Monitor
from tests.support.servers import PostgresServer, Server, ValkeyServer, start_postgres, start_valkey

API, APPLY, DELIVER, SCHEDULE = "api", "worker-apply", "worker-deliver", "schedule"
PARTS: Final = {
    API: ("api",),
    APPLY: ("worker", "--queues", "apply"),
    DELIVER: ("worker", "--queues", "deliver"),
    SCHEDULE: ("schedule",),
}

DEADLINE_S: Final = 60.0
"""How long a test waits for what must come. Generous: it is only ever spent by a test that fails."""

_POLL_S: Final = 0.02
_WAIT_S: Final = 10
POINTSMAN: Final = Path(sys.executable).with_name("pointsman")
_ENVIRONMENT: Final = {
    "POINTSMAN_LOG_FORMAT": "json",
    "POINTSMAN_SWEEP_INTERVAL": "0.5",
    "POINTSMAN_WEBHOOK_ALLOW": "127.0.0.0/8",
    "POINTSMAN_WEBHOOK_SCHEDULE": "0.1,0.2,0.3",
}


def until(condition: Callable[[], Any], explain: Callable[[], str] = lambda: "it never came true") -> Any:
    """The first true value of the condition. Fails at the deadline with what ``explain`` says."""
    deadline = time.monotonic() + DEADLINE_S
    while not (value := condition()):
        assert time.monotonic() < deadline, explain()
        time.sleep(_POLL_S)
    return value


class Part:
    """One of Pointsman's processes; it can be ended in several ways and started again."""

    def __init__(self, name: str, arguments: Iterable[str], folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._argv = (str(POINTSMAN), *arguments)
        self._process: Process | None = None
        self._environment: Mapping[str, str] = {}
        self._is_wanted = False
        self._frozen: list[psutil.Process] = []

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.exit_code() is None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        return None if self._process is None else self._process.exit_code()

    @property
    def logged(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def start(self, environment: Mapping[str, str]) -> None:
        assert not self.is_running, f"{self.name} runs already"
        self._frozen = []
        with warnings.catch_warnings():
            # Since Python 3.12: forking beside a test's threads. Only exec follows the fork.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._process = Process(Program(self.name, self._argv, environment), self.log)
        self._environment, self._is_wanted = environment, True

    def revive(self) -> None:
        """As every supervisor does: what ended by itself is started again. Celery ends so on some broker faults."""
        if self._is_wanted and not self.is_running:
            self.start(self._environment)

    def stop(self) -> None:
        """In good order, as a deploy would."""
        self._is_wanted = False
        self.thaw()
        if self._process is not None:
            self._process.end()

    def kill(self) -> None:
        """It and its children, at once."""
        self._is_wanted = False
        if self._process is not None:
            self._process.kill()
        self._frozen = []

    def kill_parent_only(self) -> None:
        """Its children are left to find out."""
        self._is_wanted = False
        orphans = self.children()
        self.leader().kill()
        psutil.wait_procs(orphans, timeout=DEADLINE_S)
        until(lambda: not self.is_running)

    def freeze(self) -> None:
        """As a stalled machine: connections stay open and nothing moves."""
        self._frozen = [self.leader(), *self.children()]
        for process in self._frozen:
            process.suspend()

    def thaw(self) -> None:
        for process in self._frozen:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()
        self._frozen = []

    def leader(self) -> psutil.Process:
        return psutil.Process(self.pid)

    def children(self) -> list[psutil.Process]:
        return self.leader().children(recursive=True)


class Fleet:
    """One of each process, and its servers, from entering to leaving the context."""

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        self.master_key = "sk-" + secrets.token_urlsafe(24)
        self.parts = {name: Part(name, arguments, self.logs) for name, arguments in PARTS.items()}
        self._more = dict(environment or {})
        self._port = free_port()
        self._canaries: dict[str, str] = {}
        self._readable: set[str] = set()
        self._opened = contextlib.ExitStack()
        self.postgres: PostgresServer
        self.valkey: ValkeyServer
        self.environment: dict[str, str] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as opened:
            self.logs.mkdir(parents=True)
            self.postgres = start_postgres(self.folder / "postgres")
            opened.callback(self.postgres.stop)
            self.valkey = start_valkey(self.folder / "valkey")
            opened.callback(self.valkey.stop)
            monitor = Monitor(_socket_of(self.valkey), self.logs / "monitor").start()
            opened.callback(monitor.close)
            self.environment = self._environment()
            self.http = opened.enter_context(self.client())
            opened.callback(self._end_parts)
            self._migrate()
            self.make_whole()
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._opened.close()

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("POINTSMAN_")}
        return {
            **inherited,
            **_ENVIRONMENT,
            "PYTHONUNBUFFERED": "1",
            "POINTSMAN_DATABASE_URL": self.postgres.url,
            "POINTSMAN_REDIS_URL": self.valkey.url,
            "POINTSMAN_MASTER_KEY": self.master_key,
            "POINTSMAN_ENCRYPTION_KEYS": new_key("test"),
            "POINTSMAN_LISTEN": f"127.0.0.1:{self._port}",
            **self._more,
        }

    def _migrate(self) -> None:
        migrate = Part("migrate", ("migrate",), self.logs)
        migrate.start(self.environment)
        until(lambda: not migrate.is_running)
        assert not migrate.logged, migrate.logged

    def _end_parts(self) -> None:
        for part in self.parts.values():
            part.kill()

    # --- processes ---

    def start(self, name: str, **environment: str) -> Part:
        """Start a part that is not running; the variables hold for this run only."""
        part = self.parts[name]
        part.start({**self.environment, **environment})
        if name == API:
            self._wait_until_alive()
        return part

    def stop(self, *names: str) -> None:
        for name in names:
            self.parts[name].stop()

    @contextlib.contextmanager
    def another(self, like: str) -> Generator[Part]:
        """Meanwhile one process more of a kind."""
        name = f"another {like}"
        part = self.parts[name] = Part(name, PARTS[like], self.logs)
        part.start(self.environment)
        try:
            yield part
        finally:
            part.stop()
            del self.parts[name]

    @contextlib.contextmanager
    def without(self, *names: str) -> Generator[None]:
        """The named parts are stopped meanwhile, and started again afterwards."""
        self.stop(*names)
        yield
        for name in names:
            self.start(name)

    @contextlib.contextmanager
    def away(self, server: Server) -> Generator[None]:
        """The server is stopped meanwhile, and started again afterwards."""
        server.stop()
        try:
            yield
        finally:
            server.restart()

    @contextlib.contextmanager
    def frozen(self, server: Server) -> Generator[None]:
        server.freeze()
        try:
            yield
        finally:
            server.thaw()

    def make_whole(self) -> None:
        """Whatever a test ended or froze runs again."""
        for part in self.parts.values():
            part.thaw()
            if not part.is_running:
                part.start(self.environment)
        self._wait_until_alive()

    def _wait_until_alive(self) -> None:
        until(lambda: self.is_alive() or not self.parts[API].is_running, lambda: self.told)
        assert self.parts[API].is_running, self.parts[API].logged

    def is_alive(self) -> bool:
        try:
            return self.http.get("/health/liveliness").status_code == 200
        except httpx.HTTPError:
            return False

    def is_ready(self) -> bool:
        """Whether every part is; also makes the API find connections that broke."""
        response = self.http.get("/health/readiness")
        return response.status_code == 200 and response.json()["status"] == "healthy"

    @property
    def told(self) -> str:
        """The end of every log, for the message of a failing test."""
        return "\n".join(f"--- {part.name}:\n{part.logged[-2500:]}" for part in self.parts.values())

    # --- HTTP ---

    def client(self, **options: Any) -> httpx.Client:
        """Speaks with the master key."""
        headers = {"Authorization": f"Bearer {self.master_key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=40, trust_env=False, **options)

    def submit(self, body: dict[str, Any], **headers: str) -> httpx.Response:
        """POST /model/new. Headers are named with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post("/model/new", json=body, headers=named)

    def accepted(self, body: dict[str, Any], **headers: str) -> str:
        """The id of the task that the submission was accepted as."""
        response = self.submit(body, **headers)
        assert response.status_code == 202, response.text
        return response.json()["task_id"]

    def ended(self, task_id: str) -> dict[str, Any]:
        """The task once it has ended, however long the servers are away meanwhile."""
        return until(lambda: self._task_if_ended(task_id), lambda: f"task {task_id} never ended\n{self.told}")

    def all_succeed(self, task_ids: Iterable[str]) -> list[dict[str, Any]]:
        tasks = [self.ended(task_id) for task_id in task_ids]
        assert {task["status"] for task in tasks} <= {"succeeded"}, self.told
        return tasks

    def _task_if_ended(self, task_id: str) -> dict[str, Any] | None:
        for part in self.parts.values():
            part.revive()
        try:
            response = self.http.get(f"/tasks/{task_id}", params={"wait": _WAIT_S})
        except httpx.TransportError:
            return None
        if response.status_code == 503:
            return None
        task = response.raise_for_status().json()
        return task if task["finished_at"] else None

    def models(self) -> dict[str, dict[str, Any]]:
        """What GET /model/info says, by model id."""
        data = self.http.get("/model/info").raise_for_status().json()["data"]
        return {entry["model_info"]["id"]: entry for entry in data}

    def audit(self, **filters: str) -> list[dict[str, Any]]:
        """All entries that GET /audit lists, oldest first."""
        entries: list[dict[str, Any]] = []
        for page in range(1, 1000):
            response = self.http.get("/audit", params={**filters, "page": page, "page_size": 100}).raise_for_status()
            entries += response.json()["audit_logs"]
            if page >= response.json()["total_pages"]:
                break
        return entries[::-1]

    # --- PostgreSQL ---

    @contextlib.contextmanager
    def database(self, **options: Any) -> Generator[psycopg.Connection[dict[str, Any]]]:
        url = make_url(self.postgres.url).render_as_string(hide_password=False)
        with psycopg.connect(url, row_factory=dict_row, application_name="a test", **options) as connection:
            yield connection

    def select(self, query: str, *values: Any) -> list[dict[str, Any]]:
        with self.database() as connection:
            return connection.execute(query, values).fetchall()  # pyright: ignore[reportArgumentType]

    @contextlib.contextmanager
    def held_before_commit(self) -> Generator[None]:
        """Whoever applies now comes as far as the last lock before its commit, and waits there."""
        with self._holding("SELECT 1 FROM head FOR UPDATE"):
            yield

    @contextlib.contextmanager
    def held_while_saving(self) -> Generator[None]:
        """Whoever applies now comes as far as writing models, and waits there."""
        with self._holding("LOCK TABLE model IN SHARE MODE"):
            yield

    @contextlib.contextmanager
    def _holding(self, lock: str) -> Generator[None]:
        with self.database() as connection:
            connection.execute(lock)  # pyright: ignore[reportArgumentType]
            yield
            connection.rollback()

    def is_held(self) -> bool:
        """Whether a worker waits for what this test holds."""
        return bool(self._workers_backends("wait_event_type = 'Lock'"))

    def end_held_sessions(self) -> None:
        """As an administrator would; the statements that waited fail in the worker."""
        self.select("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")

    def is_stuck_in_transaction(self) -> bool:
        return bool(self._workers_backends("state = 'idle in transaction'"))

    def _workers_backends(self, condition: str) -> list[dict[str, Any]]:
        return self.select(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'pointsman-worker' AND " + condition
        )

    def chain(self) -> tuple[list[AuditEntry], tuple[int, str]]:
        """The audit log and its head, as they are stored."""
        entries: list[AuditEntry] = []
        engine = create_engine(make_url(self.postgres.url).set(drivername="postgresql+psycopg"))
        with engine.begin() as connection:
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            while rows := connection.execute(audit.in_order(len(entries))).all():
                entries += [audit.from_row(row) for row in rows]
            head = connection.exec_driver_sql("SELECT position, hash FROM head").one()
        engine.dispose()
        return entries, (head[0], head[1])

    # --- Redis ---

    @contextlib.contextmanager
    def redis(self) -> Generator[redis.Redis]:
        with contextlib.closing(redis.Redis.from_url(self.valkey.url)) as client:
            yield client

    @contextlib.contextmanager
    def full_redis(self) -> Generator[None]:
        """Nothing more fits in meanwhile: whatever would take memory is refused."""
        with self.redis() as client:
            client.config_set("maxmemory", 1)
        try:
            yield
        finally:
            with self.redis() as client:
                client.config_set("maxmemory", 0)

    # --- secrets ---

    def canary(self, where: str, form: str = "{}", *, is_readable: bool = False) -> str:
        """A value that must never be seen; ``where`` says in the message of a failing test where it was put.

        ``form`` makes it look like something; one that ``is_readable`` is shown to those who may read the object.
        """
        value = "canary" + secrets.token_hex(12)
        self._canaries[value] = where
        if is_readable:
            self._readable.add(value)
        return form.format(value)

    def watch_for(self, secret: str, where: str) -> str:
        """A secret that was drawn here and shown once: from now on it must never be seen. Returns it."""
        self._canaries[secret] = where
        return secret

    def shown_in(self, name: str, text: str, *, to_reader: bool = False) -> list[str]:
        """Which canaries are seen in a text; ``to_reader``: it answers somebody who may read the object."""
        return [
            f"{where} is shown in {name}"
            for canary, where in self._canaries.items()
            if canary in text and not (to_reader and canary in self._readable)
        ]

    def shown(self) -> list[str]:
        """Which canaries are seen, and where."""
        tasks = self.http.get("/tasks", params={"limit": 200}).text
        models = self.http.get("/model/info").text
        return [
            *(line for name, text in self.dumps() for line in self.shown_in(name, text)),
            *self.shown_in("the answer of /tasks", tasks, to_reader=True),
            *self.shown_in("the answer of /model/info", models, to_reader=True),
        ]

    def dumps(self) -> Iterator[tuple[str, str]]:
        """Everything that was written down, in pieces with names: tables, Redis keys and traffic, logs, the audit."""
        yield from self._tables()
        yield "keys of Redis", self._redis_keys()
        for log in sorted([*self.logs.iterdir(), *self.folder.glob("*/*.log")]):
            yield f"log {log.name}", log.read_text(encoding="utf-8", errors="replace")
        yield "the answers of /audit", str(self.audit())
        yield "the answer of /audit/export", self.http.get("/audit/export").text

    def _tables(self) -> Iterator[tuple[str, str]]:
        names = [row["name"] for row in self.select("SELECT relname AS name FROM pg_stat_user_tables ORDER BY relname")]
        assert {"task", "model", "audit_entry", "event", "delivery_attempt", "signing_secret", "destination"} <= set(
            names
        )
        for name in names:
            rows = self.select(f'SELECT given::text AS text FROM "{name}" AS given')
            yield f"table {name}", "\n".join(row["text"] for row in rows)

    def _redis_keys(self) -> str:
        with self.redis() as client:
            return "\n".join(f"{key!r} {_content(client, key)!r}" for key in client.scan_iter())

    # --- what must hold whatever happened ---

    def check_invariants(self) -> None:
        """Everything runs, nothing is open, each task has had its effect once, and no canary is anywhere."""
        self.make_whole()
        until(self.is_ready, lambda: self.told)
        until(lambda: not self._unfinished(), lambda: f"unfinished: {self._unfinished()[:5]}\n{self.told}")
        self._check_chain()
        self._check_effects()
        self._check_canaries()

    def all_told(self) -> None:
        """Nothing is left to be done or told, so what is told next is told alone."""
        left = "SELECT 1 FROM task WHERE finished_at IS NULL UNION ALL SELECT 1 FROM delivery WHERE finished_at IS NULL"
        until(lambda: not self.select(left), lambda: self.told)

    def _unfinished(self) -> list[Any]:
        return self.select(
            "SELECT task_id, status FROM task WHERE finished_at IS NULL"
            " UNION ALL SELECT delivery_id, status FROM delivery WHERE finished_at IS NULL AND destination = 'callback'"
        )

    def _check_chain(self) -> None:
        entries, head = self.chain()
        verdict = chain.verify(entries, head)
        assert verdict.is_sound, verdict
        assert verdict.head == head

    def _check_effects(self) -> None:
        """An entry for each task, a model for each that was made and not deleted, a revision for each that changed."""
        strays = self.select(
            "SELECT t.task_id, t.status, count(a.*) AS entries FROM task t"
            " LEFT JOIN audit_entry a USING (task_id, object_type, object_id)"
            " GROUP BY t.task_id HAVING count(a.*) <> 1"
            # What confirms that something is so already changes nothing, and is not recorded.
            " AND NOT (count(a.*) = 0 AND t.status = 'succeeded' AND t.operation <> 'model.create')"
        )
        assert not strays, strays
        ghosts = self.select(
            "SELECT coalesce(object_id, model_id) FROM model FULL JOIN ("
            "SELECT object_id, sum(CASE action WHEN 'created' THEN 1 WHEN 'deleted' THEN -1 ELSE 0 END) AS alive"
            " FROM audit_entry WHERE object_type = 'model' GROUP BY object_id) AS made ON object_id = model_id"
            " WHERE coalesce(alive, 0) <> CASE WHEN model_id IS NULL THEN 0 ELSE 1 END"
        )
        assert not ghosts, ghosts
        (counts,) = self.select(
            "SELECT count(DISTINCT task_id) AS changes, (SELECT revision FROM head) AS revision,"
            " count(*) FILTER (WHERE object_type = 'model') AS of_models,"
            " (SELECT count(*) FROM model_revision) AS model_revisions"
            " FROM audit_entry WHERE action NOT IN ('refused', 'cancelled', 'tested', 'replayed')"
            " AND object_type <> 'encryption'"
        )
        assert counts["changes"] == counts["revision"], counts
        assert counts["of_models"] == counts["model_revisions"], counts
        (models,) = self.select("SELECT count(*) AS stored, (SELECT model_count FROM head) AS counted FROM model")
        assert models["stored"] == models["counted"], models

    def _check_canaries(self) -> None:
        shown = self.shown()
        assert not shown, "\n".join(shown)


@contextlib.contextmanager
def running_fleet(factory: pytest.TempPathFactory, **environment: str) -> Generator[Fleet]:
    """For a fixture of module scope. Settings are named without their prefix, in lower case."""
    given = {f"POINTSMAN_{name.upper()}": value for name, value in environment.items()}
    with Fleet(factory.mktemp("fleet") / "f", given) as fleet:
        yield fleet


def a_model(name: str = "gpt-4o", *, model_id: str | None = None, **params: Any) -> dict[str, Any]:
    """The body of a submission."""
    body: dict[str, Any] = {"model_name": name, "litellm_params": {"model": "openai/gpt-4o", **params}}
    return body if model_id is None else {**body, "model_info": {"id": model_id}}


def _content(client: redis.Redis, key: bytes) -> Any:
    """Not with DUMP, which compresses. A key may be gone by now."""
    read: dict[bytes, Callable[[bytes], Any]] = {
        b"none": lambda _: None,
        b"string": client.get,
        b"list": lambda name: client.lrange(name, 0, -1),
        b"hash": client.hgetall,
        b"set": client.smembers,
        b"zset": lambda name: client.zrange(name, 0, -1),
    }
    return read[client.type(key)](key)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _socket_of(server: ValkeyServer) -> Path:
    return Path(unquote(urlsplit(server.url).path))
