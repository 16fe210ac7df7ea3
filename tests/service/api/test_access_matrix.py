"""Who gets what on which route, and that nobody meets a trace of what is another's.

Every route of the OpenAPI document is walked as every principal, for objects of the principal's team, of another team
and of no team. What is refused when asked for is also refused when it comes to be applied.
"""

import hashlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import psycopg
import pytest
import pytest_asyncio
from psycopg.types.json import Jsonb
from sqlalchemy import Engine

from api.openapi import document
from shared.domain.key_text import token_of
from shared.domain.principals import TRUST_FLAG
from shared.encryption.keyring import Keyring
from tests.conftest import MASTER_KEY, SettingsBuilder
from tests.service.api.access_rows import (
    CREDENTIAL,
    EVERYBODY,
    IN_USE,
    INSIDE,
    NEED_NO_KEY,
    READERS,
    ROWS,
    Json,
    Row,
    Target,
)
from tests.service.api.serving import an_api
from tests.service.building import Side, store_key
from tests.support.unconnected import unconnected_app

Database = psycopg.Connection[Any]

# Whatever belongs to team A begins with one mark, whatever belongs to B or to another user with the other.
OF_A, OF_B, ABSENT = "inner-", "hiddn-", "absnt-"
KEYS = {name: f"sk-of-{name.replace(' ', '-')}-0123456789" for name in EVERYBODY}
TABLES = [
    *("task", "model", "model_revision", "credential", "team", "user", "api_key", "audit_entry"),
    *("event", "delivery", "delivery_attempt", "signing_secret", "head"),
]
ABSENT_UUID = "00000000-0000-7000-8000-000000000000"
UNWANTED_KEYS = ["blocked", "expired", "revoked", "unknown", "mistyped", "none"]


def test_every_route_has_a_row() -> None:
    described = {
        f"{method.upper()} {path}" for path, item in document(unconnected_app())["paths"].items() for method in item
    }
    assert described - NEED_NO_KEY == {row.route for row in ROWS}


class World:
    """Two teams with what belongs to them, a user without a team, and a way back to all of it."""

    def __init__(self, client: httpx.AsyncClient, side: Side, database: Database) -> None:
        self.client = client
        self.side = side
        self._database = database
        self.targets: dict[str, Target] = {}

    async def build(self, engine: Engine) -> None:
        for name, role in (("adam", "proxy_admin"), ("vera", "proxy_admin_viewer"), ("ivy", "internal_user_viewer")):
            await self._user(name, role)
        for name in ("ann", "mia", "uma", f"{OF_B}bob", f"{OF_B}zoe"):
            await self._user(name)
        for name in (CREDENTIAL, IN_USE):
            await self.done("/credentials", {"credential_name": name, "credential_info": {}, "credential_values": {}})
        await self._team("elsewhere", ann="admin")
        a = await self._of_team(OF_A, "mia", ann="admin", ivy="admin", mia="user")
        b = await self._of_team(OF_B, f"{OF_B}bob", **{f"{OF_B}bob": "admin"})
        none = await self._of_nobody(f"{OF_B}zoe")
        for name in EVERYBODY - {"team key", "ann elsewhere"}:
            store_key(engine, KEYS[name], name)
        store_key(engine, KEYS["team key"], team_id=a.team)
        store_key(engine, KEYS["ann elsewhere"], "ann", team_id="elsewhere")
        self.targets = {"a": a, "b": b, "none": none}

    async def _user(self, user_id: str, role: str = "internal_user") -> None:
        body = {"user_id": user_id, "user_role": role, "auto_create_key": False}
        await self.done("/user/new", body)

    async def _team(self, team_id: str, **roles: str) -> None:
        members = [{"user_id": user_id, "role": role} for user_id, role in roles.items()]
        await self.done("/team/new", {"team_id": team_id, "team_alias": team_id, "members_with_roles": members})

    async def _of_team(self, mark: str, user_id: str, **roles: str) -> Target:
        await self._team(f"{mark}team", **roles)
        return await self._target(mark, user_id, {"team_id": f"{mark}team"})

    async def _of_nobody(self, user_id: str) -> Target:
        return await self._target("open-", user_id, {})

    async def _target(self, mark: str, user_id: str, team: Json) -> Target:
        owner_mark = OF_B if user_id.startswith(OF_B) else mark
        info = {"id": f"{mark}model", **team}
        params = {"model": "openai/gpt", "litellm_credential_name": IN_USE}
        await self.done("/model/new", {"model_name": f"{mark}gpt", "litellm_params": params, "model_info": info})
        key = {"key_alias": f"{owner_mark}key{mark}", "user_id": user_id, **team}
        token = (await self.done("/key/generate", key))["token"]
        task = await self._failed_task(user_id, f"{owner_mark}task-model-{mark}")
        ((entry,),) = self._database.execute("SELECT entry_id FROM audit_entry WHERE object_id = %s", [info["id"]])
        return Target(
            team=team.get("team_id", ""),
            model=info["id"],
            name=f"{mark}gpt",
            key=token,
            user=user_id,
            task=task,
            entry=str(entry),
        )

    async def _failed_task(self, user_id: str, model_id: str) -> str:
        """As if the user had asked for what only admins may."""
        body = {"model_name": model_id, "litellm_params": {"model": "openai/gpt"}, "model_info": {"id": model_id}}
        task_id = (await self.ask(MASTER_KEY, "POST", "/model/new", body)).json()["task_id"]
        self.forge(task_id, user_id, "no-key-at-all")
        self.side.drain.drain()
        return task_id

    async def done(self, path: str, body: Json) -> Json:
        response = await self.ask(MASTER_KEY, "POST", path, body)
        assert response.status_code == 202, response.text
        task = await self.end_of(response)
        assert task["status"] == "succeeded", task
        return task["result"]

    async def ask(
        self,
        key: str | None,
        method: str,
        path: str,
        body: Json | None = None,
        query: Json | None = None,
        **headers: str,
    ) -> httpx.Response:
        given = {"Prefer": "respond-async", **headers}
        if key is not None:
            given["Authorization"] = f"Bearer {key}"
        content = None if body is None else msgspec.json.encode(body)
        return await self.client.request(method, path, content=content, params=query, headers=given)

    async def asked(self, key: str | None, row: Row, target: Target) -> httpx.Response:
        path = row.path.format(
            model_id=target.model,
            name=target.name,
            key=target.key,
            task_id=target.task,
            entry_id=target.entry,
            credential_name=target.credential,
        )
        return await self.ask(key, row.method, path, row.body(target), row.query(target))

    async def end_of(self, response: httpx.Response) -> Json:
        self.side.drain.drain()
        return (await self.ask(MASTER_KEY, "GET", f"/tasks/{response.json()['task_id']}")).json()

    def forge(self, task_id: str, user_id: str, key_id: str) -> None:
        """A task row as it would be if somebody had got it past the API."""
        principal = {"user_id": user_id, "role": "proxy_admin", "key_id": key_id}
        self._database.execute(
            "UPDATE task SET principal = %s, submitted_by = %s WHERE task_id = %s",
            [Jsonb(principal), user_id, task_id],
        )

    def keep(self) -> None:
        self._database.execute("DROP SCHEMA IF EXISTS kept CASCADE")
        self._database.execute("CREATE SCHEMA kept")
        for table in TABLES:
            self._database.execute(f'CREATE TABLE kept."{table}" AS TABLE public."{table}"'.encode())

    def restore(self) -> None:
        with self._database.transaction():
            for table in reversed(TABLES):
                self._database.execute(f'DELETE FROM public."{table}"'.encode())
            for table in TABLES:
                columns = ", ".join(f'"{name}"' for name in self._columns(table))
                self._database.execute(
                    f'INSERT INTO public."{table}" ({columns}) OVERRIDING SYSTEM VALUE'
                    f' SELECT {columns} FROM kept."{table}"'.encode()
                )

    def _columns(self, table: str) -> list[str]:
        rows = self._database.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = 'public' AND table_name = %s"
            " AND is_generated = 'NEVER' ORDER BY ordinal_position",
            [table],
        )
        return [name for (name,) in rows]


@pytest_asyncio.fixture
async def world(
    a_settings: SettingsBuilder, engine: Engine, keyring: Keyring, database: Database
) -> AsyncIterator[World]:
    async with an_api(a_settings(failures_per_minute="0", key_writes_per_minute="0"), key=None) as client:
        made = World(client, Side(engine, keyring), database)
        await made.build(engine)
        made.keep()
        yield made
        made.side.drain.drain()
    database.execute("DROP SCHEMA kept CASCADE")


def absent(target: Target) -> Target:
    """The same, of which nothing exists."""
    return Target(
        team=target.team and f"{ABSENT}team",
        model=f"{ABSENT}model",
        name=f"{ABSENT}gpt",
        key=hashlib.sha256(b"absent").hexdigest(),
        user=f"{ABSENT}user",
        task=ABSENT_UUID,
        entry=ABSENT_UUID,
        credential=f"{ABSENT}credential",
    )


def without_ids(response: httpx.Response, target: Target) -> tuple[int, str, dict[str, str]]:
    """What is answered, apart from what was asked for."""
    headers = "\n".join(f"{name}: {value}" for name, value in response.headers.items() if name != "content-length")
    text, told = response.text, headers
    for value in filter(None, msgspec.structs.astuple(target)):
        text, told = text.replace(value, "*"), told.replace(value, "*")
    return response.status_code, text, dict(line.split(": ", 1) for line in told.splitlines())


def traces(name: str, response: httpx.Response, asked_for: Target | None = None) -> list[str]:
    """Marks of objects that the principal may not see."""
    if name in READERS:
        return []
    marks = [OF_B] if name in INSIDE else [OF_A, OF_B]
    told = response.text + str(response.headers)
    if name == "ann elsewhere":
        # Of which teams she is a member is no secret to her.
        told = told.replace(f"{OF_A}team", "*")
    for value in () if asked_for is None else filter(None, msgspec.structs.astuple(asked_for)):
        told = told.replace(value, "*")
    return [mark for mark in marks if mark in told]


@pytest.mark.parametrize("name", sorted(EVERYBODY))
async def test_each_may_do_on_each_route_what_the_row_says(world: World, name: str) -> None:
    found = {(row.route, where): await judged(world, row, name, where) for row in ROWS for where in row.may}
    assert {case: problem for case, problem in found.items() if problem} == {}


async def judged(world: World, row: Row, name: str, where: str) -> str | None:
    """What is wrong with the answer, if anything."""
    target = world.targets[where]
    response = await world.asked(KEYS[name], row, target)
    if traces(name, response, target):
        return f"traces of what is another's: {response.text}"
    if name in row.may[where]:
        return await carried_out(world, row, response)
    if name in row.sees[where]:
        expected_status = (403,)
    else:
        nothing = await world.asked(KEYS[name], row, absent(target))
        if without_ids(response, target) != without_ids(nothing, absent(target)):
            return f"not like what does not exist: {response.text} {nothing.text}"
        expected_status = (400, 403, 404)
    if response.status_code not in expected_status:
        return f"{response.status_code} instead of {expected_status}: {response.text}"
    return await refused_when_applied(world, row, response, name, target) if row.is_one_command else None


async def carried_out(world: World, row: Row, response: httpx.Response) -> str | None:
    if response.status_code != row.status:
        return f"{response.status_code} instead of {row.status}: {response.text}"
    if row.is_safe:
        return None
    if row.status == 202:
        task = await world.end_of(response)
        if task["status"] != "succeeded":
            return f"accepted and then {task['error']}"
    world.side.drain.drain()
    world.restore()
    return None


async def refused_when_applied(
    world: World, row: Row, response: httpx.Response, name: str, target: Target
) -> str | None:
    """The worker comes to the same, should the API have let it pass."""
    passed = await world.asked(MASTER_KEY, row, target)
    if passed.status_code != 202:
        return f"the master key is answered {passed.status_code}: {passed.text}"
    world.forge(passed.json()["task_id"], "somebody", token_of(KEYS[name]))
    task = await world.end_of(passed)
    if task["status"] != "failed" or task["error"]["status"] != response.status_code:
        error = task["error"] and (task["error"]["type"], task["error"]["detail"])
        return f"when applied: {task['status']} {error} instead of {response.text}"
    return None


@pytest.mark.parametrize("state", UNWANTED_KEYS)
async def test_a_key_that_does_not_hold_opens_nothing(
    world: World, engine: Engine, database: Database, state: str
) -> None:
    key = {"mistyped": "sk-" + "0" * 28, "unknown": "sk-unheard-of-0123456789", "none": None}.get(state, KEYS["adam"])
    changes = {
        "blocked": "UPDATE api_key SET blocked = true",
        "expired": "UPDATE api_key SET expires = now() - interval '1 second'",
        "revoked": "DELETE FROM api_key",
    }
    if state in changes:
        database.execute(changes[state].encode())
    found = {row.route: (await world.asked(key, row, world.targets["none"])).status_code for row in ROWS}
    assert found == dict.fromkeys(found, 401)
    world.restore()


async def test_an_idempotency_key_is_that_of_its_user(world: World) -> None:
    body = {"model_name": "x", "litellm_params": {"model": "openai/gpt"}, "model_info": {"team_id": f"{OF_A}team"}}
    headers = {"Idempotency-Key": "the-same"}
    first = await world.ask(KEYS["ann"], "POST", "/model/new", body, None, **headers)
    assert first.status_code == 202
    again = await world.ask(KEYS["ann"], "POST", "/model/new", body, None, **headers)
    assert (again.json()["task_id"], again.headers["Idempotency-Replayed"]) == (first.json()["task_id"], "true")
    for name in sorted(EVERYBODY - {"ann", "ann elsewhere"}):
        other = await world.ask(KEYS[name], "POST", "/model/new", body, None, **headers)
        assert other.status_code == (202 if name == "adam" else 400 if name == "uma" else 403), name
        assert first.json()["task_id"] not in other.text + str(other.headers)
    world.side.drain.drain()


async def test_what_was_queued_before_a_right_was_lost_is_not_done(world: World, database: Database) -> None:
    body = {"model_name": "x", "litellm_params": {"model": "openai/gpt"}, "model_info": {"team_id": f"{OF_A}team"}}
    queued = await world.ask(KEYS["ann"], "POST", "/model/new", body)
    assert queued.status_code == 202
    demoted = {"team_id": f"{OF_A}team", "user_id": "ann", "role": "user"}
    database.execute("UPDATE task SET next_attempt_at = now() + interval '1 hour' WHERE finished_at IS NULL")
    # It waits in no line that the demotion would have to wait for, once it is put off: the worker takes that first.
    database.execute("UPDATE task SET needs = NULL WHERE finished_at IS NULL")
    await world.done("/team/member_update", demoted)
    database.execute("UPDATE task SET next_attempt_at = now() WHERE finished_at IS NULL")
    task = await world.end_of(queued)
    assert (task["status"], task["error"]["type"]) == ("failed", "urn:pointsman:problem:not_permitted")
    again = await world.ask(KEYS["ann"], "GET", f"/tasks/{queued.json()['task_id']}")
    assert again.json()["status"] == "failed", "the task stays hers"


async def test_on_whose_behalf_is_believed_where_an_admin_allowed_it(world: World, engine: Engine) -> None:
    trusted = "sk-of-ann-trusted-0123456789"
    store_key(engine, trusted, "ann", metadata={TRUST_FLAG: True})
    for number, key in enumerate((KEYS["ann"], trusted)):
        info = {"team_id": f"{OF_A}team"}
        body = {"model_name": f"n-{number}", "litellm_params": {"model": "openai/gpt"}, "model_info": info}
        await world.end_of(await world.ask(key, "POST", "/model/new", body, **{"litellm-changed-by": "terraform"}))
    log = (await world.ask(MASTER_KEY, "GET", "/audit", query={"page_size": 2})).json()["audit_logs"]
    assert [(entry["actor"], entry["changed_by"]) for entry in log] == [("ann", "terraform"), ("ann", "ann")]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/team/update", {"team_id": f"{OF_A}team", "metadata": {TRUST_FLAG: True}}),
        ("/key/generate", {"team_id": f"{OF_A}team", "metadata": {TRUST_FLAG: True}}),
    ],
)
async def test_nobody_allows_it_to_himself(world: World, path: str, body: Json) -> None:
    response = await world.ask(KEYS["ann"], "POST", path, body)
    if response.status_code == 202:
        response = (await world.end_of(response))["error"]
        assert response["type"] == "urn:pointsman:problem:beyond_own_rights"
    else:
        assert response.status_code == 403, response.text
