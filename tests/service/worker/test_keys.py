"""Keys and users when they are applied: rights as they are then, names that are taken once."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest
from psycopg import Connection
from sqlalchemy import Engine

from shared.domain.keys import CreateKey, KeyFields, RegenerateKey, UpdateKey
from shared.domain.rights import MASTER, Principal
from shared.domain.users import CreateUser, UpdateUser
from shared.encryption.keyring import Keyring
from shared.operations import OPERATIONS, Command
from shared.runtime.clock import new_id, now
from shared.store.tasks import NewTask, Origin
from tests.service.building import Side, accept, store_key, store_team, store_user

Database = Connection[tuple[Any, ...]]


def a_task(command: Command, principal: Principal = MASTER) -> NewTask:
    """The row of an accepted command, as the API would write it."""
    name: str = type(command).__struct_config__.tag  # pyright: ignore[reportAssignmentType]
    operation = OPERATIONS[name]
    ref = operation.touched(command)[0]
    return NewTask(
        task_id=new_id(),
        operation=name,
        object_type=ref.object_type,
        object_id=ref.object_id,
        needs=[needed.line for needed in operation.needed(command)] or None,
        command=msgspec.Raw(msgspec.json.encode(command)),
        digest="",
        principal=principal,
        submitted_by=principal.user_id,
        origin=Origin(request_id=new_id()),
        idempotency_key=None,
        webhook_url=None,
        submitted_at=now(),
    )


def a_key(token: str = "k-new", **fields: Any) -> CreateKey:
    return CreateKey(token=token, key_name="sk-...abcd", **fields)


def codes(database: Database, task_ids: list[str]) -> list[str | None]:
    """How each of the tasks ended: None for a success, else the problem's code."""
    rows = database.execute("SELECT task_id::text, problem ->> 'code' FROM task").fetchall()
    found = dict(rows)
    return [found[task_id] for task_id in task_ids]


def applied(engine: Engine, side: Side, database: Database, *tasks: NewTask) -> list[str | None]:
    task_ids = accept(engine, *tasks)
    side.drain.drain()
    return codes(database, task_ids)


def test_what_a_key_may_not_give_is_refused_although_it_was_accepted(
    engine: Engine, side: Side, database: Database
) -> None:
    store_user(engine, "ann")
    ann = store_key(engine, "sk-ann", "ann", allowed_routes=["/key/*"], models=["gpt-4o"])
    tasks = [
        a_task(a_key("k-1", user_id="ann", allowed_routes=("/key/info",), models=("gpt-4o",)), ann),
        a_task(a_key("k-2", user_id="ann", models=("gpt-4o",)), ann),
        a_task(a_key("k-3", user_id="ann", allowed_routes=("/key/info",)), ann),
        a_task(a_key("k-4", user_id="bob", allowed_routes=("/key/info",), models=("gpt-4o",)), ann),
        a_task(a_key("k-5", allowed_routes=("/key/info",), models=("gpt-4o",)), ann),
    ]
    assert applied(engine, side, database, *tasks) == [
        None,
        "beyond_own_rights",
        "beyond_own_rights",
        "beyond_own_rights",
        "not_permitted",
    ]


def test_what_a_key_lost_meanwhile_it_does_not_give(engine: Engine, side: Side, database: Database) -> None:
    store_user(engine, "ann")
    ann = store_key(engine, "sk-ann", "ann")
    limited = KeyFields(allowed_routes=("/key/info",))
    outcomes = [
        applied(engine, side, database, task)
        for task in (
            a_task(a_key("k-1", user_id="ann"), ann),
            a_task(UpdateKey(token=ann.key_id, fields=limited)),
            a_task(a_key("k-2", user_id="ann"), ann),
            a_task(UpdateKey(token=ann.key_id, fields=KeyFields(blocked=True))),
            a_task(a_key("k-3", user_id="ann", allowed_routes=("/key/info",)), ann),
        )
    ]
    assert outcomes == [[None], [None], ["beyond_own_rights"], [None], ["key_blocked"]]


def test_nobody_raises_his_own_role(engine: Engine, side: Side, database: Database) -> None:
    store_user(engine, "ann")
    store_user(engine, "root", "proxy_admin")
    ann, root = store_key(engine, "sk-ann", "ann"), store_key(engine, "sk-root", "root")
    tasks = [
        a_task(UpdateUser(user_id="ann", role="proxy_admin"), ann),
        a_task(CreateUser(user_id="eve", role="proxy_admin"), ann),
        a_task(UpdateUser(user_id="root", role="internal_user"), root),
        a_task(UpdateUser(user_id="root", role="proxy_admin"), root),
    ]
    assert applied(engine, side, database, *tasks) == ["not_permitted", "not_permitted", None, "not_permitted"]


def test_a_key_of_somebody_else_is_as_if_it_were_not_there(engine: Engine, side: Side, database: Database) -> None:
    store_user(engine, "ann")
    ann, bob = store_key(engine, "sk-ann", "ann"), store_key(engine, "sk-bob", "bob")
    replace = RegenerateKey(token=bob.key_id, new_token="k-9", new_key_name="sk-...9999")
    take = UpdateKey(token=bob.key_id, fields=KeyFields(user_id="ann"))
    nothing = UpdateKey(token="k-nobody", fields=KeyFields(user_id="ann"))
    codes_of = applied(engine, side, database, a_task(replace, ann), a_task(take, ann), a_task(nothing, ann))
    assert codes_of == ["key_not_found"] * 3
    assert database.execute("SELECT user_id FROM api_key WHERE token = %s", (bob.key_id,)).fetchall() == [("bob",)]


def test_a_team_admin_has_a_say_in_the_keys_of_the_team_only(engine: Engine, side: Side, database: Database) -> None:
    store_team(engine, "t-1", admins=["tim"], users=["bob"])
    store_team(engine, "t-2", users=["tim"])
    tim = store_key(engine, "sk-tim", "tim")
    of_team = store_key(engine, "sk-team", None, team_id="t-1").key_id
    of_bob = store_key(engine, "sk-bob", "bob", team_id="t-1").key_id
    own = store_key(engine, "sk-tim-2", "tim").key_id

    def replaced(token: str, new: str) -> RegenerateKey:
        return RegenerateKey(token=token, new_token=new, new_key_name="sk-...9999")

    tasks = [
        a_task(a_key("k-1", team_id="t-1"), tim),
        a_task(a_key("k-2", team_id="t-1", user_id="bob"), tim),
        a_task(a_key("k-3", team_id="t-2"), tim),
        a_task(UpdateKey(token=of_bob, fields=KeyFields(blocked=True)), tim),
        a_task(replaced(of_bob, "k-4"), tim),
        a_task(replaced(of_team, "k-5"), tim),
        a_task(UpdateKey(token=of_bob, fields=KeyFields(team_id="t-2")), tim),
        a_task(UpdateKey(token=own, fields=KeyFields(team_id="t-1")), tim),
    ]
    assert applied(engine, side, database, *tasks) == [
        None,
        "beyond_own_rights",
        "not_permitted",
        None,
        "beyond_own_rights",
        None,
        "not_permitted",
        None,
    ]


@pytest.mark.parametrize("batch_size", [1, 100])
def test_an_alias_and_an_address_are_given_once_however_many_ask_at_a_time(
    engine: Engine, keyring: Keyring, database: Database, batch_size: int
) -> None:
    commands = [a_key(f"k-{number}", key_alias="ci") for number in range(6)]
    commands += [
        CreateUser(user_id=f"u-{number}", role="internal_user", user_email="Ann@example.com") for number in range(6)
    ]
    task_ids = accept(engine, *(a_task(command) for command in commands))
    with ThreadPoolExecutor(4) as pool:
        drains = [pool.submit(Side(engine, keyring, batch_size=batch_size).drain.drain) for _ in range(4)]
    assert [drain.result() for drain in drains] == [False] * 4
    ended = codes(database, task_ids)
    assert sorted(ended[:6], key=str) == [None, *["key_alias_taken"] * 5]
    assert sorted(ended[6:], key=str) == [None, *["user_email_taken"] * 5]


def test_a_name_that_was_freed_is_given_again(engine: Engine, side: Side, database: Database) -> None:
    freed = a_task(UpdateKey(token="k-1", fields=KeyFields(key_alias=None)))
    assert applied(engine, side, database, a_task(a_key("k-1", key_alias="ci"))) == [None]
    assert applied(engine, side, database, freed, a_task(a_key("k-2", key_alias="ci"))) == [None, None]
    assert database.execute("SELECT token, key_alias FROM api_key ORDER BY token").fetchall() == [
        ("k-1", None),
        ("k-2", "ci"),
    ]
