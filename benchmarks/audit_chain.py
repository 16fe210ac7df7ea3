"""What the hash chain costs the drain: the same tasks applied with it, without linking, and without any entry.

Run with ``python -m benchmarks.audit_chain``. One process, one real PostgreSQL, the three variants taking turns.
"""

import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine

import worker.apply
from shared.audit.chain import Head
from shared.audit.entries import AuditEntry
from shared.domain.decision import Installation
from shared.domain.models import CreateModel
from shared.domain.rights import MASTER
from shared.encryption.keyring import Keyring, new_key
from shared.encryption.sealing import Binding, seal_document
from shared.outbox.routing import Routes
from shared.runtime.clock import new_id, now
from shared.store import migrations, tasks
from shared.store.engines import worker_engine
from shared.store.rows import packed
from shared.store.tasks import NewTask, Origin
from tests.support.servers import start_postgres
from worker.apply import Applier
from worker.batch import Batch

TASKS = 2000
ROUNDS = 7


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="pointsman-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the server may run as another user
        server = start_postgres(folder / "postgres")
        try:
            url = server.create_database("bench")
            migrations.upgrade(url)
            _compare(worker_engine(url))
        finally:
            server.stop()


def _compare(engine: Engine) -> None:
    keyring = Keyring.parse(new_key("bench"))
    linked, record = worker.apply.continued, worker.apply._record  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001
    variants: dict[str, tuple[Any, Any]] = {
        "with the chain": (linked, record),
        "entries without links": (_unlinked, record),
        "no entries at all": (linked, _without_entries(record)),
    }
    rates: dict[str, list[float]] = {name: [] for name in variants}
    _drained(engine, keyring)
    for _ in range(ROUNDS):
        for name, (continued, recorded) in variants.items():
            worker.apply.continued, worker.apply._record = continued, recorded  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001
            rates[name].append(_drained(engine, keyring))
    base = rates["with the chain"]
    for name, found in rates.items():
        ratio = median(ours / other for ours, other in zip(base, found, strict=True))
        print(f"{name:24} {median(found):8.0f} changes/s   the chain runs at {ratio:.2f} of it")


def _drained(engine: Engine, keyring: Keyring) -> float:
    with engine.begin() as connection:
        connection.exec_driver_sql("TRUNCATE task, model, model_revision, event, delivery, delivery_attempt")
        connection.exec_driver_sql("ALTER TABLE audit_entry DISABLE TRIGGER USER")
        connection.exec_driver_sql("TRUNCATE audit_entry")
        connection.exec_driver_sql("UPDATE head SET position = 0, hash = repeat('0', 64), revision = 0")
        connection.exec_driver_sql("ALTER TABLE audit_entry ENABLE TRIGGER USER")
        connection.execute(tasks.insert_tasks(), packed([_task(keyring) for _ in range(TASKS)]))
    applier = Applier(engine, keyring, Routes(), 100, now, Installation)
    started = time.perf_counter()
    while applier.apply_due().task_ids:
        pass
    return TASKS / (time.perf_counter() - started)


def _unlinked(head: Head, entries: Iterable[AuditEntry]) -> list[AuditEntry]:
    return [
        msgspec.structs.replace(entry, position=position, previous_hash="0" * 64, hash=entry.entry_id)
        for position, entry in enumerate(entries, start=head.position + 1)
    ]


def _without_entries(record: Any) -> Any:
    def recorded(connection: Connection, batch: Batch) -> None:
        """One entry of the batch stays, to keep the head in step."""
        batch.entries[1:] = []
        record(connection, batch)

    return recorded


def _task(keyring: Keyring) -> NewTask:
    model_id, task_id = new_id(), new_id()
    params = {"model": "openai/gpt-4o", "api_key": "sk-of-a-provider-0123456789", "api_base": "https://api.example.com"}
    command = CreateModel(
        model_id=model_id,
        model_name="gpt-4o",
        litellm_params=seal_document(keyring, Binding("model", model_id), params),
        model_info={"mode": "chat"},
    )
    return NewTask(
        task_id=task_id,
        operation="model.create",
        object_type="model",
        object_id=model_id,
        command=msgspec.Raw(msgspec.json.encode(command)),
        digest="",
        principal=MASTER,
        submitted_by=MASTER.user_id,
        origin=Origin(request_id=new_id()),
        idempotency_key=None,
        webhook_url=None,
        submitted_at=now(),
    )


if __name__ == "__main__":
    main()
