"""Claim, load, decide, save: in order, once, and nothing half."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import msgspec
import psycopg
import pytest
from sqlalchemy import Engine

from shared.domain.principals import principal_of
from shared.domain.rights import Principal
from shared.encryption.keyring import Keyring
from shared.runtime.clock import now
from shared.store import principals
from tests.service.building import CANARY, Side, a_task, accept, store_key, store_team, store_user

Database = psycopg.Connection[Any]


def statuses(database: Database) -> dict[str, str]:
    return dict(database.execute("SELECT task_id::text, status FROM task").fetchall())


def names(database: Database) -> dict[str, str]:
    return dict(database.execute("SELECT model_id, model_name FROM model").fetchall())


def postpone(database: Database, task_id: str) -> None:
    database.execute("UPDATE task SET next_attempt_at = now() + interval '1 hour' WHERE task_id = %s", [task_id])


def make_due(database: Database) -> None:
    database.execute("UPDATE task SET next_attempt_at = now() - interval '1 second' WHERE finished_at IS NULL")


def test_a_task_becomes_a_model_an_audit_entry_and_an_end(
    side: Side, engine: Engine, keyring: Keyring, database: Database
) -> None:
    (task_id,) = accept(engine, a_task(keyring, "m-1"))
    assert side.applier.apply_due().task_ids == [task_id]
    ((name, version, revision),) = database.execute("SELECT model_name, version, revision FROM model").fetchall()
    assert (name, version, revision) == ("gpt-4o", 1, 1)
    ((action, task, after),) = database.execute("SELECT action, task_id::text, after FROM audit_entry").fetchall()
    assert (action, task, after["model_id"]) == ("created", task_id, "m-1")
    assert after["litellm_params"]["model"] == "openai/gpt-4o"
    assert after["litellm_params"]["api_key"].startswith("fp:test:")
    ((status, attempt, command),) = database.execute("SELECT status, attempt, command FROM task").fetchall()
    assert (status, attempt) == ("succeeded", 1)
    assert command is None, "the sealed secrets in it are not needed any more"


def test_a_result_keeps_no_secret_not_even_sealed(
    side: Side, engine: Engine, keyring: Keyring, database: Database
) -> None:
    accept(engine, a_task(keyring, extra_headers={"Authorization": CANARY, "x-team": "a"}))
    side.applier.apply_due()
    ((params,),) = database.execute("SELECT result->'litellm_params' FROM task").fetchall()
    assert params.keys() == {"model", "extra_headers"}
    assert params["extra_headers"].keys() == {"x-team"}


def test_many_tasks_are_one_commit(side: Side, engine: Engine, keyring: Keyring, database: Database) -> None:
    task_ids = accept(engine, *(a_task(keyring) for _ in range(50)))
    assert side.applier.apply_due().task_ids == task_ids
    ((transactions,),) = database.execute("SELECT count(DISTINCT xmin::text) FROM audit_entry").fetchall()
    assert transactions == 1
    assert sorted(row[0] for row in database.execute("SELECT revision FROM model")) == list(range(1, 51))


def test_a_batch_is_not_larger_than_it_may_be(engine: Engine, keyring: Keyring) -> None:
    side = Side(engine, keyring, batch_size=10)
    task_ids = accept(engine, *(a_task(keyring) for _ in range(25)))
    assert [side.applier.apply_due().task_ids for _ in range(4)] == [task_ids[:10], task_ids[10:20], task_ids[20:], []]


def test_a_batch_with_a_long_line_is_not_larger_than_it_may_be(engine: Engine, keyring: Keyring) -> None:
    side = Side(engine, keyring, batch_size=10)
    one_line = [a_task(keyring, "the-same") for _ in range(20)]
    others = [a_task(keyring) for _ in range(5)]
    task_ids = accept(engine, one_line[0], *others, *one_line[1:])
    batches = []
    while batch := side.applier.apply_due().task_ids:
        batches.append(batch)
    assert [task_id for batch in batches for task_id in batch] == task_ids
    assert max(map(len, batches)) == 10


def test_the_tasks_of_one_line_are_applied_in_the_order_of_acceptance(
    side: Side, engine: Engine, keyring: Keyring, database: Database
) -> None:
    first, second, third = accept(engine, *(a_task(keyring, "m-1", name=name) for name in ("one", "two", "three")))
    assert side.applier.apply_due().task_ids == [first, second, third]
    assert statuses(database) == {first: "succeeded", second: "failed", third: "failed"}
    assert names(database) == {"m-1": "one"}


def test_a_refusal_fails_its_own_task_and_is_audited(
    side: Side, engine: Engine, keyring: Keyring, database: Database
) -> None:
    before, refused, after = accept(engine, a_task(keyring, "m-1"), a_task(keyring, "m-1"), a_task(keyring, "m-2"))
    side.applier.apply_due()
    assert statuses(database) == {before: "succeeded", refused: "failed", after: "succeeded"}
    ((action, object_id, problem),) = database.execute(
        "SELECT action, object_id, problem FROM audit_entry WHERE task_id = %s", [refused]
    ).fetchall()
    assert (action, object_id, problem["code"]) == ("refused", "m-1", "model_exists")
    ((stored,),) = database.execute("SELECT problem FROM task WHERE task_id = %s", [refused]).fetchall()
    assert stored == problem


def test_rights_are_judged_again_when_applying(
    side: Side, engine: Engine, keyring: Keyring, database: Database
) -> None:
    store_user(engine, "ann")
    store_user(engine, "adam", "proxy_admin")
    by_ann = a_task(keyring, principal=promoted(store_key(engine, "sk-ann", "ann")))
    by_adam = a_task(keyring, principal=store_key(engine, "sk-adam", "adam"))
    by_a_stranger = a_task(keyring, principal=Principal(user_id="adam", role="proxy_admin", key_id="k-1"))
    lost, kept, unknown = accept(engine, by_ann, by_adam, by_a_stranger)
    side.applier.apply_due()
    assert statuses(database) == {lost: "failed", kept: "succeeded", unknown: "failed"}
    codes = database.execute("SELECT problem->>'code' FROM task WHERE status = 'failed' ORDER BY seq").fetchall()
    assert codes == [("not_permitted",), ("unknown_key",)]


def promoted(principal: Principal) -> Principal:
    """What a row says that was written while the user was an admin."""
    return msgspec.structs.replace(principal, role="proxy_admin")


def test_who_is_an_admin_of_which_team_is_read_from_the_teams(engine: Engine) -> None:
    store_user(engine, "ann", "internal_user_viewer")
    store_team(engine, "led", admins=["ann"], users=["bob"])
    store_team(engine, "joined", admins=["bob"], users=["ann"])
    store_team(engine, "other", admins=["bob"])
    of_ann, of_team = store_key(engine, "sk-ann", "ann"), store_key(engine, "sk-team", team_id="led")
    replaced = store_key(engine, "sk-new", "bob", previous_token="0" * 64, revoke_at=now() + timedelta(hours=1))
    with engine.begin() as connection:
        tokens = sorted((of_ann.key_id, of_team.key_id, "0" * 64, "f" * 64))
        found = principals.standings(connection.execute(principals.by_tokens(), {"tokens": tokens}))
    assert set(found) == {of_ann.key_id, of_team.key_id, replaced.key_id, "0" * 64}
    assert principal_of(found[of_ann.key_id], now()) == Principal(
        user_id="ann",
        role="internal_user_viewer",
        key_id=of_ann.key_id,
        admin_of=frozenset(("led",)),
        member_of=frozenset(("led", "joined")),
    )
    assert principal_of(found[of_team.key_id], now()) == msgspec.structs.replace(of_team, team_id="led")
    assert principal_of(found["0" * 64], now()).admin_of == {"joined", "other"}


@pytest.mark.leaves_open_tasks("one is put off for an hour")
def test_a_head_that_is_put_off_holds_its_own_line_only(
    side: Side, engine: Engine, keyring: Keyring, database: Database
) -> None:
    head, follower, other = accept(engine, a_task(keyring, "m-1"), a_task(keyring, "m-1"), a_task(keyring, "m-2"))
    postpone(database, head)
    assert side.applier.apply_due().task_ids == [other]
    assert statuses(database) == {head: "queued", follower: "queued", other: "succeeded"}


@pytest.mark.leaves_open_tasks("one is put off for an hour")
def test_a_follower_that_is_put_off_ends_the_run(
    side: Side, engine: Engine, keyring: Keyring, database: Database
) -> None:
    head, put_off, last = accept(engine, *(a_task(keyring, "m-1") for _ in range(3)))
    postpone(database, put_off)
    assert side.applier.apply_due().task_ids == [head]
    assert statuses(database) == {head: "succeeded", put_off: "queued", last: "queued"}


def test_what_another_worker_holds_is_passed_over(
    side: Side, engine: Engine, keyring: Keyring, database: Database
) -> None:
    """The other one's connection keeps its lock: waiting for it would hang here."""
    held, follower, free = accept(engine, a_task(keyring, "m-1"), a_task(keyring, "m-1"), a_task(keyring, "m-2"))
    with database.transaction():
        database.execute("SELECT 1 FROM task WHERE task_id = %s FOR UPDATE", [held])
        assert side.applier.apply_due().task_ids == [free]
        assert side.applier.apply_one(held).task_ids == []
        assert side.applier.apply_one(follower).task_ids == []
    assert side.applier.apply_due().task_ids == [held, follower]


def test_only_the_first_of_a_line_can_be_applied_alone(side: Side, engine: Engine, keyring: Keyring) -> None:
    first, second = accept(engine, a_task(keyring, "m-1"), a_task(keyring, "m-1"))
    assert side.applier.apply_one(second).task_ids == []
    assert side.applier.apply_one(first).task_ids == [first]
    assert side.applier.apply_one(first).task_ids == []
    assert side.applier.apply_one(second).task_ids == [second]


def test_applying_what_has_ended_changes_nothing(
    side: Side, engine: Engine, keyring: Keyring, database: Database
) -> None:
    (task_id,) = accept(engine, a_task(keyring))
    side.applier.apply_due()
    before = database.execute("SELECT task::text, model::text FROM task, model").fetchall()
    assert side.applier.apply_one(task_id).task_ids == []
    assert side.applier.apply_due().task_ids == []
    assert database.execute("SELECT task::text, model::text FROM task, model").fetchall() == before


def test_two_workers_at_once_apply_each_task_once(engine: Engine, keyring: Keyring, database: Database) -> None:
    """500 tasks in 100 lines; only the first of each line can succeed."""
    sides = [Side(engine, keyring, batch_size=20) for _ in range(2)]
    task_ids = accept(engine, *(a_task(keyring, f"m-{i % 100}", name=f"n-{i}") for i in range(500)))
    together = threading.Barrier(2)

    def work(side: Side) -> None:
        together.wait()
        # A drain ends when nothing is free; the other one may still hold heads, whose followers are then its own.
        while side.drain.drain():
            pass

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(work, sides))
    sides[0].drain.drain()
    ended = [*sides[0].ended, *sides[1].ended]
    assert sorted(ended) == sorted(task_ids)
    assert names(database) == {f"m-{i}": f"n-{i}" for i in range(100)}
    by_status = dict(database.execute("SELECT status, count(*) FROM task GROUP BY status").fetchall())
    assert by_status == {"succeeded": 100, "failed": 400}
    out_of_order = database.execute(
        "SELECT a.position FROM audit_entry a JOIN task t USING (task_id) JOIN audit_entry b"
        " ON b.object_id = a.object_id AND b.position > a.position JOIN task u ON u.task_id = b.task_id"
        " WHERE u.seq < t.seq"
    ).fetchall()
    assert not out_of_order


def test_events_are_committed_with_the_change(engine: Engine, keyring: Keyring, database: Database) -> None:
    side = Side(engine, keyring, slack=True)
    (task_id,) = accept(engine, a_task(keyring, "m-1", webhook_url=f"https://example.com/?key={CANARY}"))
    applied = side.applier.apply_due()
    rows = database.execute(
        "SELECT delivery_id::text, destination, type, event.data, delivery.task_id::text, status"
        " FROM delivery JOIN event USING (event_id) ORDER BY destination"
    ).fetchall()
    assert sorted(row[0] for row in rows) == sorted(applied.delivery_ids)
    assert [row[1:3] for row in rows] == [("callback", "task.succeeded"), ("slack", "model.created")]
    assert {row[4:] for row in rows} == {(task_id, "pending")}
    assert rows[0][3]["status"] == "succeeded"
    assert rows[1][3]["model_id"] == "m-1"


def test_a_task_without_callback_and_a_fleet_without_slack_announce_nothing(
    side: Side, engine: Engine, keyring: Keyring, database: Database
) -> None:
    accept(engine, a_task(keyring))
    assert side.applier.apply_due().delivery_ids == []
    assert database.execute("SELECT count(*) FROM event").fetchall() == [(0,)]


@pytest.fixture
def broken_head(database: Database, engine: Engine) -> Iterator[None]:
    """The very last statement of the transaction fails."""
    database.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'broken on purpose'; END $$;"
        "CREATE TRIGGER refuse BEFORE UPDATE ON head FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    yield
    database.execute("DROP FUNCTION IF EXISTS refuse CASCADE")


def test_a_transaction_that_fails_at_its_end_leaves_nothing(
    side: Side, engine: Engine, keyring: Keyring, database: Database, broken_head: None
) -> None:
    (task_id,) = accept(engine, a_task(keyring, webhook_url="https://example.com/"))
    with pytest.raises(Exception, match="broken on purpose"):
        side.applier.apply_due()
    assert statuses(database) == {task_id: "queued"}
    counts = database.execute(
        "SELECT (SELECT count(*) FROM model) + (SELECT count(*) FROM audit_entry) + (SELECT count(*) FROM delivery)"
    ).fetchall()
    assert counts == [(0,)]
    database.execute("DROP FUNCTION refuse CASCADE")
    assert side.applier.apply_due().task_ids == [task_id]
