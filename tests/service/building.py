"""Builders for one side of Pointsman at a time, with defaults. Everything that is built carries the canary."""

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Engine, insert

from shared.domain.decision import Installation
from shared.domain.models import CreateModel
from shared.domain.rights import MASTER, Principal, Role
from shared.encryption.keyring import Keyring
from shared.encryption.sealing import Binding, seal_document, seal_text
from shared.outbox.routing import Routes
from shared.runtime.clock import new_id, now
from shared.store import tables, tasks
from shared.store.rows import packed
from shared.store.tasks import NewTask, Origin
from worker.apply import Applied, Applier
from worker.attempts import Attempts
from worker.drain import Drain

CANARY = "sk-canary-3b9f0c7d5e2a48166a7b"
"""A secret in every model that tests submit. After each test it must be nowhere in plain text."""

Json = dict[str, Any]
Clock = Callable[[], datetime]


def long_ago() -> datetime:
    """A clock that is behind: what is put off by it is due at once."""
    return datetime.now(UTC) - timedelta(days=7)


def a_model(name: str = "gpt-4o", *, info: Json | None = None, **params: Any) -> Json:
    """The body of ``POST /model/new``."""
    body: Json = {"model_name": name, "litellm_params": {"model": "openai/gpt-4o", "api_key": CANARY, **params}}
    return body if info is None else {**body, "model_info": info}


def a_task(
    keyring: Keyring,
    model_id: str | None = None,
    *,
    name: str = "gpt-4o",
    operation: str = "model.create",
    principal: Principal = MASTER,
    webhook_url: str | None = None,
    **params: Any,
) -> NewTask:
    """The row of an accepted ``model.create``, as the API would write it."""
    model_id = model_id or new_id()
    task_id = new_id()
    plain = {"model": "openai/gpt-4o", "api_key": CANARY, **params}
    command = CreateModel(
        model_id=model_id,
        model_name=name,
        litellm_params=seal_document(keyring, Binding("model", model_id), plain),
        model_info={},
    )
    sealed_url = webhook_url and seal_text(keyring, Binding("task", task_id), webhook_url, "webhook_url")
    return NewTask(
        task_id=task_id,
        operation=operation,
        object_type="model",
        object_id=model_id,
        command=msgspec.Raw(msgspec.json.encode(command)),
        digest="",
        principal=principal,
        submitted_by=principal.user_id,
        origin=Origin(request_id=new_id()),
        idempotency_key=None,
        webhook_url=sealed_url,
        submitted_at=now(),
    )


def accept(engine: Engine, *rows: NewTask) -> list[str]:
    """Commits the rows, in this order. Returns their ids."""
    with engine.begin() as connection:
        connection.execute(tasks.insert_tasks(), packed(rows))
    return [row.task_id for row in rows]


def _stamped(**fields: Any) -> Json:
    by = {"created_by": MASTER.user_id, "updated_by": MASTER.user_id, "created_at": now(), "updated_at": now()}
    return {"metadata": {}, "settings": {}, "version": 1, "revision": 1, **by, **fields}


def store_team(engine: Engine, team_id: str, *, admins: Sequence[str] = (), users: Sequence[str] = ()) -> None:
    """A team as it is stored, with these members."""
    roles = {**dict.fromkeys(users, "user"), **dict.fromkeys(admins, "admin")}
    members = [{"user_id": user_id, "user_email": None, "role": role} for user_id, role in roles.items()]
    row = _stamped(team_id=team_id, models=[], members=members, model_aliases={}, blocked=False)
    with engine.begin() as connection:
        connection.execute(insert(tables.team).values(row))


def store_user(engine: Engine, user_id: str, role: Role = "internal_user") -> None:
    with engine.begin() as connection:
        connection.execute(insert(tables.user).values(_stamped(user_id=user_id, role=role, models=[])))


def store_key(engine: Engine, key: str, user_id: str | None = None, **fields: Any) -> Principal:
    """A virtual key as it is stored, of this user. Returns what the task rows say of who asks with it."""
    token = hashlib.sha256(key.encode()).hexdigest()
    row = _stamped(token=token, key_name=f"sk-...{key[-4:]}", user_id=user_id, models=[], allowed_routes=[])
    with engine.begin() as connection:
        connection.execute(insert(tables.api_key).values(row | {"blocked": False} | fields))
    return Principal(user_id=user_id or f"key:{token}", role="internal_user", key_id=token)


class Side:
    """The worker's side, without Celery: what its Celery tasks would call. Keeps what it told after each commit."""

    def __init__(
        self,
        engine: Engine,
        keyring: Keyring,
        *,
        batch_size: int = 100,
        max_attempts: int = 3,
        slack: bool = False,
        clock: Clock = now,
        installation: Installation = Installation(),  # noqa: B008  (frozen)
    ) -> None:
        self.told: list[Applied] = []
        routes = Routes(slack=slack, slack_events=("model.*", "task.poisoned"))
        self.applier = Applier(engine, keyring, routes, batch_size, clock, lambda: installation)
        self.attempts = Attempts(engine, self.applier, max_attempts, clock, lambda: 0.5)
        self.drain = Drain(self.applier, self.attempts, batch_size, self.told.append)

    @property
    def ended(self) -> Sequence[str]:
        """The ids of all tasks that ended, in order."""
        return [task_id for applied in self.told for task_id in applied.task_ids]
