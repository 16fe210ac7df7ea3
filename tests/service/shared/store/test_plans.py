"""Hot statements use their index however many rows there are."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, event

from shared.domain.decision import ObjectRef
from shared.store import destinations, outbox, tasks
from shared.store.engines import worker_engine
from tests.conftest import TEMPLATE

NOBODY = "00000000-0000-7000-8000-000000000000"

MANY_TASKS = """
INSERT INTO task (task_id, operation, object_type, object_id, command, digest, principal, submitted_by, origin,
                  submitted_at, status, finished_at)
SELECT gen_random_uuid(), 'model.create', 'model', 'm-' || n, '{}', '', '{}',
       CASE WHEN n % 4000 = 0 THEN 'rare' ELSE 'common' END, '{}', now(),
       CASE WHEN n > 19000 THEN 'queued' ELSE 'succeeded' END, CASE WHEN n > 19000 THEN NULL ELSE now() END
FROM generate_series(1, 20000) AS n
"""
MANY_DELIVERIES = """
INSERT INTO event (event_id, type, occurred_at, object_type, object_id, data)
VALUES ('evt', 'task.succeeded', now(), 'task', 't', '{}');
INSERT INTO delivery (delivery_id, event_id, destination, destination_id, status, finished_at)
SELECT gen_random_uuid(), 'evt', 'callback', 'callback:' || n % 50,
       CASE WHEN n > 49000 THEN 'pending' ELSE 'succeeded' END,
       CASE WHEN n > 49000 THEN NULL ELSE now() END
FROM generate_series(1, 50000) AS n
"""


@pytest.fixture(scope="module")
def many(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """1,000 open tasks among 20,000, as after months of use; what is executed is explained instead."""
    server = request.getfixturevalue("postgres_server")
    server.drop_database("many")
    url = server.create_database("many", template=TEMPLATE)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(MANY_TASKS)
        connection.execute(MANY_DELIVERIES)
        connection.execute("VACUUM ANALYZE")
    engine = worker_engine(url)

    @event.listens_for(engine, "before_cursor_execute", retval=True)
    def explain(*arguments: Any) -> tuple[str, Any]:
        _, _, statement, parameters, *_ = arguments
        return f"EXPLAIN {statement}", parameters

    yield engine
    engine.dispose()
    server.drop_database("many")


def plan_of(many: Engine, statement: Any, **parameters: Any) -> str:
    with many.connect() as connection:
        result = connection.execute(statement, parameters)
        return "\n".join(row[0] for row in result.cursor.fetchall())  # pyright: ignore


def test_heads_are_found_by_the_order_of_acceptance(many: Engine) -> None:
    plan = plan_of(many, tasks.claim_heads(), limit=100)
    assert "ix_task_open_seq" in plan
    assert "ix_task_open_line" in plan
    assert "Seq Scan on task" not in plan
    assert "Sort" not in plan


def test_one_head_is_found_by_its_id(many: Engine) -> None:
    plan = plan_of(many, tasks.claim_heads(of_these=True), limit=1, task_ids=[NOBODY])
    assert "pk_task" in plan
    assert "Seq Scan on task" not in plan


@pytest.mark.parametrize("statement", [tasks.claim_followers, lambda refs, _: tasks.waiting_on(refs)])
def test_a_line_is_found_by_its_object(many: Engine, statement: Any) -> None:
    plan = plan_of(many, statement([ObjectRef("model", "m-19500"), ObjectRef("model", "m-19501")], 100))
    assert "ix_task_open_line" in plan
    assert "Seq Scan on task" not in plan


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (tasks.accepted_with_keys(["u-1"], ["k"]), "uq_task_idempotency_key"),
        (tasks.by_ids(), "pk_task"),
        (tasks.versions(), "pk_task"),
        (tasks.page(limit=50), "uq_task_seq"),
        (tasks.page(limit=50, before_seq=100), "uq_task_seq"),
        (tasks.page(limit=50, submitted_by="rare"), "ix_task_submitted_by_seq"),
        (tasks.due(100), "ix_task_open_seq"),
        (tasks.progress(), "ix_task_open_seq"),
        (tasks.progress(), "ix_task_finished_at"),
    ],
)
def test_every_hot_statement_uses_its_index(many: Engine, statement: Any, index: str) -> None:
    plan = plan_of(many, statement, task_ids=[NOBODY])
    assert index in plan, plan
    assert "Seq Scan" not in plan, plan


@pytest.mark.parametrize(
    "statement",
    [destinations.any_due(), destinations.next_turns(10), destinations.due({"callback:1": 50})],
    ids=["any due", "next turns", "due"],
)
def test_what_is_due_is_found_by_its_destination(many: Engine, statement: Any) -> None:
    plan = plan_of(many, statement)
    assert "ix_delivery_line" in plan, plan
    assert "Seq Scan on delivery" not in plan, plan


@pytest.mark.parametrize(
    "statement",
    [destinations.take([NOBODY], 60.0), outbox.move(), outbox.hand_back()],
    ids=["take", "move", "hand back"],
)
def test_a_delivery_is_found_by_its_id_however_many_wait(many: Engine, statement: Any) -> None:
    plan = plan_of(many, statement, rows="[]")
    assert "pk_delivery" in plan, plan
    assert "ix_delivery_line" not in plan, plan
    assert "Seq Scan on delivery" not in plan, plan


def test_the_engine_ends_a_transaction_that_stands_still(engine: Engine) -> None:
    with engine.begin() as connection:
        limits = connection.exec_driver_sql(
            "SELECT current_setting('idle_in_transaction_session_timeout'), current_setting('statement_timeout')"
        ).one()
    assert tuple(limits) == ("5s", "20s")
