"""The worker's parts in one process on a real database, for tests of what is announced: apply here, deliver there."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Engine, text

from shared.domain.decision import Installation
from shared.domain.models import CreateModel
from shared.domain.rights import MASTER
from shared.domain.webhooks import OBJECT_TYPE, CreateWebhook
from shared.encryption.keyring import Keyring, new_key
from shared.encryption.sealing import Binding, seal_text
from shared.operations import OPERATIONS
from shared.outbox.addresses import Allowlist
from shared.outbox.routing import Routes
from shared.outbox.webhook import new_secret
from shared.runtime.clock import new_id, now
from shared.runtime.settings import Secret
from shared.store import tasks
from shared.store.engines import worker_engine
from shared.store.rows import packed
from shared.store.tasks import NewTask, Origin
from worker.alarms import Alarms
from worker.apply import Applier
from worker.deliver import Deliverer
from worker.recording import Recording
from worker.senders.connector import Connector, Resolver
from worker.sending import Sending

ALL_SLACK = ("*",)
WAITS_S = (5.0, 30.0, 300.0)


class Workbench:
    """``waits_s`` pass when ``wind`` says so: it moves every stored time into the past."""

    def __init__(
        self,
        engine: Engine,
        *,
        slack: Mapping[str, str] | None = None,
        slack_events: Sequence[str] = ALL_SLACK,
        resolve: Resolver | None = None,
    ) -> None:
        self.engine = engine
        self.keyring = Keyring.parse(new_key("test"))
        self.slack_urls = {name: Secret(url) for name, url in (slack or {}).items()}
        self.routes = Routes(
            slack="" in self.slack_urls,
            slack_events=tuple(slack_events),
            slack_teams=frozenset(self.slack_urls) - {""},
        )
        self.connector = Connector(allow=Allowlist.parse("127.0.0.0/8"), resolve=resolve)
        self.applier = Applier(engine, self.keyring, self.routes, 100, now, Installation)
        self.alarms = Alarms(engine, self.routes, now)
        self.told: list[str] = []
        self.deliverer = self.another_deliverer()

    def another_deliverer(self, limit: int = 64) -> Deliverer:
        return Deliverer(
            engine=self.engine,
            sending=Sending(
                engine=self.engine,
                keyring=self.keyring,
                connector=self.connector,
                slack_urls=self.slack_urls,
                clock=now,
            ),
            recording=Recording(
                waits_s=WAITS_S,
                slack_window_s=60,
                disable_after_s=5 * 24 * 3600,
                clock=now,
                jitter=lambda: 0.5,
            ),
            limit=limit,
            told=self.told.extend,
        )

    # --- what is asked for ---

    def submit(self, operation: str, command: Any, webhook_url: str | None = None) -> str:
        """Accept and apply one command."""
        ref = OPERATIONS[operation].touched(command)[0]
        task_id = new_id()
        sealed = webhook_url and seal_text(self.keyring, Binding("task", task_id), webhook_url, "webhook_url")
        task = NewTask(
            task_id=task_id,
            operation=operation,
            object_type=ref.object_type,
            object_id=ref.object_id,
            command=msgspec.Raw(msgspec.json.encode(command)),
            digest="",
            principal=MASTER,
            submitted_by=MASTER.user_id,
            origin=Origin(request_id="test"),
            idempotency_key=None,
            webhook_url=sealed,
            submitted_at=now(),
        )
        with self.engine.begin() as connection:
            connection.execute(tasks.insert_tasks(), packed([task]))
        self.apply()
        return task_id

    def apply(self) -> None:
        while self.applier.apply_due().task_ids:
            pass

    def add_webhook(self, url: str, *event_types: str, team_id: str | None = None) -> tuple[str, str]:
        """Its id and its secret."""
        webhook_id, secret = new_id(), new_secret()
        command = CreateWebhook(
            webhook_id=webhook_id,
            url=self.sealed(webhook_id, url, "url"),
            event_types=event_types or ("model.*",),
            team_id=team_id,
            secret=self.sealed(webhook_id, secret, "secret"),
        )
        self.submit("webhook.create", command)
        return webhook_id, secret

    def sealed(self, webhook_id: str, plain: str, path: str) -> str:
        return seal_text(self.keyring, Binding(OBJECT_TYPE, webhook_id), plain, path)

    def add_model(self, name: str = "gpt", webhook_url: str | None = None) -> str:
        command = CreateModel(model_id=new_id(), model_name=name, litellm_params={}, model_info={})
        self.submit("model.create", command, webhook_url)
        return command.model_id

    def deliver(self) -> None:
        self.deliverer.deliver()

    # --- what is there ---

    def rows(self, statement: str, **values: Any) -> list[Any]:
        with self.engine.begin() as connection:
            return list(connection.execute(text(statement), values))

    def statuses(self, webhook_id: str) -> list[str]:
        """Of its deliveries, oldest first."""
        found = self.rows("SELECT status FROM delivery WHERE webhook_id = :id ORDER BY delivery_id", id=webhook_id)
        return [row.status for row in found]

    def destination(self, destination_id: str) -> Any:
        return self.rows("SELECT * FROM destination WHERE destination_id = :id", id=destination_id)[0]

    def wind(self, **passed: float) -> None:
        """Let time pass: whatever is stored happened that much earlier, and is due that much earlier."""
        values = {"passed": timedelta(**passed)}
        columns = {
            "delivery": ("next_attempt_at", "created_at", "give_up_at", "finished_at"),
            "destination": ("leased_until", "served_at", "failing_since", "last_success_at", "paused_until"),
            "event": ("occurred_at",),
            "webhook_endpoint": ("overlap_until",),
            "task": ("next_attempt_at",),
        }
        with self.engine.begin() as connection:
            for table, names in columns.items():
                moved = ", ".join(f"{name} = {name} - :passed" for name in names)
                connection.execute(text(f"UPDATE {table} SET {moved}"), values)

    def since(self, **ago: float) -> datetime:
        return now() - timedelta(**ago)


@contextlib.contextmanager
def workbench_on(database_url: str, **options: Any) -> Iterator[Workbench]:
    engine = worker_engine(database_url, pool_size=4)
    try:
        yield Workbench(engine, **options)
    finally:
        engine.dispose()
