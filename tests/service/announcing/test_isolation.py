"""A bad receiver holds up itself."""

import threading
import time

from shared.store import destinations
from tests.support.receivers import Answer, Receiver
from tests.support.workbench import Workbench

MANY = 10_000


def add_deliveries(bench: Workbench, webhook_id: str, count: int) -> None:
    """As if the outbox had filled up: all due since long ago."""
    bench.rows(
        """
        WITH made AS (
            INSERT INTO event (event_id, type, occurred_at, object_type, object_id, data)
            SELECT 'evt_' || gen_random_uuid(), 'model.created', now(), 'model', 'm', '{}'
            FROM generate_series(1, :count) RETURNING event_id
        )
        INSERT INTO delivery (delivery_id, event_id, destination, destination_id, webhook_id, next_attempt_at)
        SELECT gen_random_uuid(), event_id, 'webhook', 'webhook:' || :id, :id, now() - interval '1 day' FROM made
        RETURNING 1
        """,
        count=count,
        id=webhook_id,
    )
    bench.rows(
        "INSERT INTO destination (destination_id) VALUES (:id) ON CONFLICT DO NOTHING RETURNING 1",
        id=f"webhook:{webhook_id}",
    )


def test_ten_thousand_deliveries_of_one_endpoint_do_not_go_before_another(bench: Workbench) -> None:
    with Receiver() as good:
        with Receiver(default=Answer(hang=True)) as bad:
            bad_id, _ = bench.add_webhook(bad.url)
            bench.add_webhook(good.url)
            add_deliveries(bench, bad_id, MANY)
            bench.add_model()
            worker = threading.Thread(target=bench.deliver)
            worker.start()
            good.wait_for(1, 10)
            assert len(bad.requests) <= 2
        worker.join()


def test_never_more_than_two_calls_at_a_time_over_several_workers(bench: Workbench) -> None:
    workers = [threading.Thread(target=bench.another_deliverer().deliver) for _ in range(3)]
    with Receiver(default=Answer(hang=True)) as bad:
        bad_id, _ = bench.add_webhook(bad.url)
        add_deliveries(bench, bad_id, 100)
        for worker in workers:
            worker.start()
        bad.wait_for(2)
        time.sleep(0.5)
        assert len(bad.requests) == 2
    for worker in workers:
        worker.join()


def test_after_failures_in_a_row_it_is_left_alone_and_then_tried_with_one_call(bench: Workbench) -> None:
    with Receiver(default=Answer(status=500)) as bad:
        bad_id, _ = bench.add_webhook(bad.url)
        add_deliveries(bench, bad_id, 100)
        bench.deliver()
        called = len(bad.requests)
        assert 5 <= called <= 7
        bench.deliver()
        assert len(bad.requests) == called
        bench.wind(seconds=20)
        bench.deliver()
        assert len(bad.requests) == called + 1


def test_one_success_closes_the_circuit(bench: Workbench) -> None:
    with Receiver(*[Answer(status=500)] * 6) as mending:
        webhook_id, _ = bench.add_webhook(mending.url)
        add_deliveries(bench, webhook_id, 100)
        for _ in range(4):
            bench.deliver()
            bench.wind(minutes=10)
        assert set(bench.statuses(webhook_id)) == {"succeeded"}
        assert bench.destination(f"webhook:{webhook_id}").consecutive_failures == 0


def test_a_slow_call_makes_room_for_others(bench: Workbench) -> None:
    worker = threading.Thread(target=bench.another_deliverer(limit=2).deliver)
    with Receiver(default=Answer(hang=True)) as bad, Receiver() as good:
        for _ in range(3):
            bench.add_webhook(bad.url)
        bench.add_webhook(good.url)
        bench.add_model()
        worker.start()
        good.wait_for(1)
        assert len(bad.requests) <= 3
    worker.join()


def test_the_next_turns_are_found_without_reading_all_that_waits(bench: Workbench) -> None:
    for _ in range(3):
        webhook_id, _ = bench.add_webhook("https://hooks.example.com/")
        add_deliveries(bench, webhook_id, MANY)
    bench.rows("SELECT 1")
    with bench.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.exec_driver_sql("VACUUM ANALYZE delivery")
    with bench.engine.begin() as connection:
        statement = destinations.next_turns(10).compile(
            bench.engine, compile_kwargs={"literal_binds": True, "render_postcompile": True}
        )
        plan = "\n".join(
            row[0] for row in connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS) {statement}".replace("%%", "%"))
        )
    assert "ix_delivery_line" in plan
    assert "Seq Scan on delivery" not in plan
    buffers = int(plan.split("shared hit=")[1].split()[0])
    assert buffers < 200, plan
