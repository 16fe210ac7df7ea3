"""Random histories against the real API and the real worker, compared with a model of what they should come to."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

import httpx
import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from sqlalchemy import Engine

from shared.encryption.keyring import Keyring
from shared.runtime.failpoints import POINTS, arm, disarm
from tests.conftest import SettingsBuilder
from tests.service.api.serving import an_api
from tests.service.building import CANARY, Side, long_ago

T = TypeVar("T")
Database = psycopg.Connection[Any]
Json = dict[str, Any]

_letters = st.sampled_from("ab")
_places = st.sampled_from([name for name in POINTS if name.startswith(("apply.", "attempt."))])


class Loop:
    """An event loop in a thread of its own, with the API in it."""

    def __init__(self, settings_: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._serving = an_api(settings_)
        self.client: httpx.AsyncClient = self.run(self._serving.__aenter__())

    def run(self, waiting: Coroutine[Any, Any, T]) -> T:
        done: Future[T] = asyncio.run_coroutine_threadsafe(waiting, self._loop)
        return done.result(60)

    def close(self) -> None:
        self.run(self._serving.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Expected(msgspec.Struct):
    """An accepted task as the model sees it; ``request`` can be sent again."""

    task_id: str
    verb: str
    object: str
    request: tuple[str, str, Any, dict[str, str]]
    name: str = ""
    credential: str | None = None
    if_match: str | None = None
    is_cancelled: bool = False
    is_revoked: bool = False


class World(msgspec.Struct):
    """What there should be: models with their name, credential and version; credentials."""

    models: dict[str, tuple[str, str | None, int]] = {}
    credentials: set[str] = set()

    def apply(self, task: Expected, etag_holds: bool) -> str:
        """Carries the task out, and says how it ends."""
        if task.is_cancelled:
            return "cancelled"
        return "succeeded" if not task.is_revoked and self._carry_out(task, etag_holds) else "failed"

    def _carry_out(self, task: Expected, etag_holds: bool) -> bool:
        exists = task.object in (self.models if task.object.startswith("m") else self.credentials)
        is_creation = task.verb.endswith("create")
        lacks_credential = task.credential is not None and task.credential not in self.credentials
        if exists == is_creation or lacks_credential or not etag_holds:
            return False
        if task.verb == "model.create":
            self.models[task.object] = (task.name, task.credential, 1)
        elif task.verb == "model.update":
            _, credential, version = self.models[task.object]
            self.models[task.object] = (task.name, credential, version + 1)
        elif task.verb == "model.delete":
            del self.models[task.object]
        elif task.verb == "credential.create":
            self.credentials.add(task.object)
        elif any(credential == task.object for _, credential, _ in self.models.values()):
            return False
        else:
            self.credentials.remove(task.object)
        return True


class History(RuleBasedStateMachine):
    loop: Loop
    side: Side
    database: Database
    runs = 0

    def __init__(self) -> None:
        super().__init__()
        History.runs += 1
        self.run = History.runs
        self.count = 0
        self.world = World()
        self.open: list[Expected] = []
        self.ended: list[Expected] = []

    # --- the API ---

    @rule(letter=_letters, credential=st.none() | _letters)
    def create_a_model(self, letter: str, credential: str | None) -> None:
        name = None if credential is None else self._named("c", credential)
        params = {"model": "openai/x", "api_key": CANARY}
        params |= {} if name is None else {"litellm_credential_name": name}
        model_id, model_name = self._named("m", letter), self._fresh()
        body = {"model_name": model_name, "litellm_params": params, "model_info": {"id": model_id}}
        is_possible = not self._will_exist(model_id) and (name is None or self._will_exist(name))
        self._submit("model.create", model_id, "POST", "/model/new", body, is_possible, model_name, name)

    @rule(letter=_letters, condition=st.sampled_from(["none", "current", "stale"]))
    def rename_a_model(self, letter: str, condition: str) -> None:
        model_id, name = self._named("m", letter), self._fresh()
        tag = {"none": None, "current": self._etag(model_id), "stale": '"9-9"'}[condition]
        is_known_to_fail = tag == '"9-9"' and not any(t.object == model_id and not t.is_cancelled for t in self.open)
        is_possible = self._will_exist(model_id) and not is_known_to_fail
        body, path = {"model_name": name}, f"/model/{model_id}/update"
        self._submit("model.update", model_id, "PATCH", path, body, is_possible, name, None, tag)

    @rule(letter=_letters)
    def delete_a_model(self, letter: str) -> None:
        model_id = self._named("m", letter)
        self._submit("model.delete", model_id, "POST", "/model/delete", {"id": model_id}, self._will_exist(model_id))

    @rule(letter=_letters)
    def create_a_credential(self, letter: str) -> None:
        name = self._named("c", letter)
        body = {"credential_name": name, "credential_values": {"api_key": CANARY + self._fresh()}}
        self._submit("credential.create", name, "POST", "/credentials", body, not self._will_exist(name))

    @rule(letter=_letters)
    def delete_a_credential(self, letter: str) -> None:
        name = self._named("c", letter)
        self._submit("credential.delete", name, "DELETE", f"/credentials/{name}", None, self._will_exist(name))

    @rule(letter=_letters, steps=st.lists(st.sampled_from(["c+", "m+", "m-", "c-"]), min_size=2, max_size=6))
    def hurry(self, letter: str, steps: list[str]) -> None:
        """Much about one credential at once: where lines need each other."""
        for step in ["c+", *steps]:
            if step == "m+":
                self.create_a_model(letter, letter)
            else:
                {"c+": self.create_a_credential, "m-": self.delete_a_model, "c-": self.delete_a_credential}[step](
                    letter
                )

    @precondition(lambda self: self.open or self.ended)
    @rule(data=st.data())
    def send_again(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(self.open + self.ended))
        method, path, body, headers = task.request
        answer = self._ask(method, path, body, headers)
        assert answer.status_code == 202, answer.text
        assert answer.json()["task_id"] == task.task_id

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(self.open))
        answer = self._ask("POST", f"/tasks/{task.task_id}/cancel", None, {"Prefer": "wait=0"})
        assert answer.json()["cancel_requested_at"] is not None
        task.is_cancelled = True

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def take_the_rights_away(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(self.open))
        changed = """UPDATE task SET principal = jsonb_set(principal, '{role}', '"internal_user"') WHERE task_id = %s"""
        self.database.execute(changed, [task.task_id])
        task.is_revoked = True

    # --- the worker ---

    @precondition(lambda self: len(self.open) >= 4)
    @rule()
    def drain(self) -> None:
        self._drain()

    def _drain(self) -> None:
        self.side.drain.drain()
        self._compare()
        assert not self.open

    @precondition(lambda self: len(self.open) >= 3)
    @rule(place=_places, hit=st.integers(1, 3))
    def drain_and_break_off(self, place: str, hit: int) -> None:
        arm(place, "raise", hit)
        try:
            self.side.drain.drain()
        except Exception as error:  # noqa: BLE001  (the ring is lost, as it would be with its process)
            assert type(error).__name__ == "FailpointReached"  # noqa: PT017
        finally:
            disarm()
        self._compare()

    @precondition(lambda self: self.open or self.ended)
    @rule(data=st.data())
    def ring_again_for_one(self, data: st.DataObject) -> None:
        self.side.drain.one_by_one([data.draw(st.sampled_from(self.open + self.ended)).task_id])
        self._compare()

    def teardown(self) -> None:
        self._drain()

    # --- comparing ---

    def _compare(self) -> None:
        """Replays, in the order in which they were recorded, the tasks that ended, and compares what is there."""
        rows = self.database.execute(
            "SELECT t.task_id::text, t.status FROM task t JOIN audit_entry a USING (task_id)"
            " WHERE t.task_id = ANY(%s) AND t.finished_at IS NOT NULL ORDER BY a.position",
            [[task.task_id for task in self.open]],
        ).fetchall()
        for task_id, status in rows:
            task = next(task for task in self.open if task.task_id == task_id)
            ahead = self.open[: self.open.index(task)]
            needed = [one for one in ahead if one.object in (task.object, task.credential)]
            needing = [one for one in ahead if one.credential == task.object]
            assert not [*needed, *needing], "out of order"
            assert self.world.apply(task, self._holds(task)) == status, task
            self.open.remove(task)
            self.ended.append(task)
        found = self.database.execute(
            "SELECT model_id, model_name, credential_name, version FROM model WHERE model_id LIKE %s",
            [f"m-{self.run}-%"],
        ).fetchall()
        assert {row[0]: tuple(row[1:]) for row in found} == self.world.models
        names = self.database.execute(
            "SELECT credential_name FROM credential WHERE credential_name LIKE %s", [f"c-{self.run}-%"]
        )
        assert {name for (name,) in names.fetchall()} == self.world.credentials

    def _holds(self, task: Expected) -> bool:
        """Tags carry the version and a time, and the stored time is that of the last change."""
        if task.if_match is None or task.object not in self.world.models:
            return task.if_match is None
        return task.if_match == self._last_tag.get((task.object, self.world.models[task.object][2]), "")

    @property
    def _last_tag(self) -> dict[tuple[str, int], str]:
        found = self.database.execute(
            "SELECT DISTINCT ON (model_id, version) model_id, version,"
            " (extract(epoch FROM (state->>'updated_at')::timestamptz) * 1000000)::bigint"
            " FROM model_revision WHERE state IS NOT NULL AND model_id LIKE %s"
            " ORDER BY model_id, version, revision DESC",
            [f"m-{self.run}-%"],
        )
        return {(row[0], row[1]): f'"{row[1]}-{row[2]:x}"' for row in found.fetchall()}

    def _etag(self, model_id: str) -> str:
        if model_id not in self.world.models:
            return '"9-9"'
        return self._last_tag[model_id, self.world.models[model_id][2]]

    # --- submitting ---

    def _submit(
        self,
        verb: str,
        object_: str,
        method: str,
        path: str,
        body: Any,
        is_possible: bool,
        name: str = "",
        credential: str | None = None,
        if_match: str | None = None,
    ) -> None:
        headers = {"Idempotency-Key": f"{self.run}/{self._fresh()}"}
        headers |= {} if if_match is None else {"If-Match": if_match}
        answer = self._ask(method, path, body, headers)
        assert (answer.status_code == 202) == is_possible, (verb, answer.text)
        if is_possible:
            request = (method, path, body, headers)
            task_id = answer.json()["task_id"]
            self.open.append(
                Expected(task_id, verb, object_, request, name=name, credential=credential, if_match=if_match)
            )

    def _ask(self, method: str, path: str, body: Any, headers: dict[str, str]) -> httpx.Response:
        return self.loop.run(self.loop.client.request(method, path, json=body, headers=headers))

    def _will_exist(self, object_: str) -> bool:
        for task in reversed(self.open):
            if task.object == object_ and not task.is_cancelled and not task.verb.endswith("update"):
                return task.verb.endswith("create")
        return object_ in self.world.models or object_ in self.world.credentials

    def _named(self, kind: str, letter: str) -> str:
        return f"{kind}-{self.run}-{letter}"

    def _fresh(self) -> str:
        self.count += 1
        return f"n{self.count}"


@pytest.fixture
def loop(a_settings: SettingsBuilder) -> Iterator[Loop]:
    loop = Loop(a_settings())
    yield loop
    loop.close()


@pytest.mark.timeout(600)  # what is found is then made small
def test_any_history_comes_to_what_the_model_says(
    loop: Loop, engine: Engine, keyring: Keyring, database: Database
) -> None:
    History.loop, History.database = loop, database
    History.side = Side(engine, keyring, batch_size=3, max_attempts=100, clock=long_ago)
    run_state_machine_as_test(
        History,
        settings=settings(
            max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
