"""Random histories against the real API and the real worker, compared with a model of what they should come to."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
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

from shared.domain.tasks import CHORES
from shared.encryption.keyring import Keyring
from shared.operations import OPERATIONS
from shared.runtime.failpoints import POINTS, arm, disarm
from tests.conftest import SettingsBuilder
from tests.service.api.serving import an_api
from tests.service.building import CANARY, Side, long_ago
from tests.support.changes import CHANGES, VERSIONS, Asking

T = TypeVar("T")
Database = psycopg.Connection[Any]

_letters = st.sampled_from("ab")
_tags = st.sampled_from(["none", "current", "stale"])
_HURRIED = ["credential.create", "model.create", "model.delete", "model.rollback", "credential.delete"]
STALE = '"9-9"'
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
    """An accepted task as the model sees it; ``asking`` can be sent again."""

    task_id: str
    operation: str
    object: str
    asking: Asking
    headers: dict[str, str]
    value: str
    credential: str | None = None
    if_match: str | None = None
    is_cancelled: bool = False
    is_revoked: bool = False


class Said(msgspec.Struct, frozen=True):
    """What a model says, and a rollback brings back."""

    name: str
    credential: str | None
    blocked: bool = False


class Model(msgspec.Struct):
    versions: list[Said]

    @property
    def now(self) -> Said:
        return self.versions[-1]

    def becomes(self, said: Said) -> bool:
        """What is so already is confirmed, and is no version."""
        if said != self.now:
            self.versions.append(said)
        return True


class Kept(msgspec.Struct):
    """An object whose kind has no model of its own: how often it was changed, and what can be so already."""

    version: int = 1
    is_off: bool = False
    role_of_ann: str | None = None
    models: frozenset[str] = frozenset()

    def becomes(self, **fields: Any) -> bool:
        if any(getattr(self, name) != value for name, value in fields.items()):
            self.version += 1
            for name, value in fields.items():
                setattr(self, name, value)
        return True


class World(msgspec.Struct):
    """What there should be. Each operation below changes it and says whether it succeeds."""

    models: dict[str, Model] = {}
    credentials: dict[str, int] = {}
    others: dict[str, Kept] = {}

    def apply(self, task: Expected, etag_holds: bool) -> str:
        """Carries the task out, and says how it ends."""
        if task.is_cancelled:
            return "cancelled"
        is_allowed = etag_holds and not task.is_revoked and self.exists(task) != task.operation.endswith(".create")
        return "succeeded" if is_allowed and MEANINGS[task.operation](self, task) else "failed"

    def exists(self, task: Expected) -> bool:
        return self.has(task.object)

    def has(self, object_: str) -> bool:
        return object_ in self.models or object_ in self.credentials or object_ in self.others

    def knows(self, credential: str | None) -> bool:
        return credential is None or credential in self.credentials

    def create_model(self, task: Expected) -> bool:
        if not self.knows(task.credential):
            return False
        self.models[task.object] = Model([Said(task.value, task.credential)])
        return True

    def update_model(self, task: Expected) -> bool:
        return self._becomes(task, name=f"new {task.value}")

    def block_model(self, task: Expected) -> bool:
        return self._becomes(task, blocked=True)

    def unblock_model(self, task: Expected) -> bool:
        return self._becomes(task, blocked=False)

    def roll_model_back(self, task: Expected) -> bool:
        model = self.models[task.object]
        first = model.versions[0]
        return self.knows(first.credential) and model.becomes(first)

    def delete_model(self, task: Expected) -> bool:
        del self.models[task.object]
        return True

    def create_credential(self, task: Expected) -> bool:
        self.credentials[task.object] = 1
        return True

    def update_credential(self, task: Expected) -> bool:
        self.credentials[task.object] += 1
        return True

    def delete_credential(self, task: Expected) -> bool:
        if any(model.now.credential == task.object for model in self.models.values()):
            return False
        del self.credentials[task.object]
        return True

    def make(self, task: Expected) -> bool:
        self.others[task.object] = Kept()
        return True

    def change(self, task: Expected) -> bool:
        self.others[task.object].version += 1
        return True

    def confirm(self, task: Expected) -> bool:
        return self.has(task.object)

    def remove(self, task: Expected) -> bool:
        del self.others[task.object]
        return True

    def switch_off(self, task: Expected) -> bool:
        return self.others[task.object].becomes(is_off=True)

    def switch_on(self, task: Expected) -> bool:
        return self.others[task.object].becomes(is_off=False)

    def add_ann(self, task: Expected) -> bool:
        team = self.others[task.object]
        return team.role_of_ann is None and team.becomes(role_of_ann="user")

    def promote_ann(self, task: Expected) -> bool:
        team = self.others[task.object]
        return team.role_of_ann is not None and team.becomes(role_of_ann="admin")

    def remove_ann(self, task: Expected) -> bool:
        team = self.others[task.object]
        return team.role_of_ann is not None and team.becomes(role_of_ann=None)

    def add_models(self, task: Expected) -> bool:
        return self.others[task.object].becomes(models=frozenset(("gpt",)))

    def remove_models(self, task: Expected) -> bool:
        return self.others[task.object].becomes(models=frozenset())

    def _becomes(self, task: Expected, **fields: Any) -> bool:
        model = self.models[task.object]
        return model.becomes(msgspec.structs.replace(model.now, **fields))


MEANINGS: dict[str, Callable[[World, Expected], bool]] = {
    "model.create": World.create_model,
    "model.update": World.update_model,
    "model.block": World.block_model,
    "model.unblock": World.unblock_model,
    "model.rollback": World.roll_model_back,
    "model.delete": World.delete_model,
    "credential.create": World.create_credential,
    "credential.update": World.update_credential,
    "credential.delete": World.delete_credential,
    "webhook.create": World.make,
    "webhook.update": World.change,
    "webhook.rotate_secret": World.change,
    "webhook.disable": World.switch_off,
    "webhook.enable": World.switch_on,
    "webhook.test": World.confirm,
    "webhook.replay": World.confirm,
    "webhook.delete": World.remove,
    "key.create": World.make,
    "key.update": World.change,
    "key.block": World.switch_off,
    "key.unblock": World.switch_on,
    "key.regenerate": World.remove,  # the new key has another id
    "key.delete": World.remove,
    "team.create": World.make,
    "team.update": World.change,
    "team.block": World.switch_off,
    "team.unblock": World.switch_on,
    "team.member_add": World.add_ann,
    "team.member_update": World.promote_ann,
    "team.member_delete": World.remove_ann,
    "team.model_add": World.add_models,
    "team.model_delete": World.remove_models,
    "team.delete": World.remove,
    "user.create": World.make,
    "user.update": World.change,
    "user.delete": World.remove,
}
ABOUT_MODELS = [name for name in MEANINGS if name.startswith(("model.", "credential."))]
ABOUT_OTHERS = [name for name in MEANINGS if name not in ABOUT_MODELS]


def test_the_model_knows_every_operation_that_is_not_done_in_chunks() -> None:
    assert set(MEANINGS) == set(OPERATIONS) - set(CHORES)


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
        self.drawn: dict[str, str] = {}
        """The id of an object, where the server drew it, by the name that it has here."""
        self.others: dict[str, str] = {}
        """The kinds of objects of which only the version is compared."""

    # --- the API ---

    @rule(operation=st.sampled_from(ABOUT_OTHERS), letter=_letters)
    def ask_for_others(self, operation: str, letter: str) -> None:
        self._submit(operation, self._named(operation.partition(".")[0], letter), None, None)

    @rule(operation=st.sampled_from(ABOUT_MODELS), letter=_letters, credential=st.none() | _letters, tag=_tags)
    def ask(self, operation: str, letter: str, credential: str | None, tag: str) -> None:
        """A tag goes along with updates, a credential with creations of models."""
        object_ = self._named(operation.partition(".")[0], letter)
        named = None if credential is None or operation != "model.create" else self._named("credential", credential)
        etag = None
        if operation == "model.update":
            etag = {"none": None, "current": self._etag(object_), "stale": STALE}[tag]
        self._submit(operation, object_, named, etag)

    @rule(letter=_letters, steps=st.lists(st.sampled_from(_HURRIED), min_size=2, max_size=6))
    def hurry(self, letter: str, steps: list[str]) -> None:
        """Much about one credential at once: where lines need each other."""
        for operation in ["credential.create", *steps]:
            self.ask(operation, letter, letter, "none")

    @precondition(lambda self: self.open or self.ended)
    @rule(data=st.data())
    def send_again(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(self.open + self.ended))
        answer = self._ask(task.asking, task.headers)
        assert answer.status_code == 202, answer.text
        assert answer.json()["task_id"] == task.task_id

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(self.open))
        asking = Asking(method="POST", path=f"/tasks/{task.task_id}/cancel", body=None)
        answer = self._ask(asking, {"Prefer": "wait=0"})
        assert answer.json()["cancel_requested_at"] is not None
        task.is_cancelled = True

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def take_the_rights_away(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(self.open))
        changed = "UPDATE task SET principal = jsonb_set(principal, '{role}', to_jsonb(%s::text)) WHERE task_id = %s"
        self.database.execute(changed, ["internal_user_viewer", task.task_id])
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
        for task_id, status in self._ended_now():
            task = next(task for task in self.open if task.task_id == task_id)
            ahead = self.open[: self.open.index(task)]
            needed = [one for one in ahead if one.object in (task.object, task.credential)]
            needing = [one for one in ahead if one.credential == task.object]
            assert not [*needed, *needing], "out of order"
            assert self.world.apply(task, self._holds(task)) == status, task
            self.open.remove(task)
            self.ended.append(task)
        mine = [f"%-{self.run}-%"]
        found = self.database.execute(
            "SELECT model_id, version, model_name, credential_name, blocked FROM model WHERE model_id LIKE %s", mine
        )
        assert {row[0]: (row[1], Said(*row[2:])) for row in found.fetchall()} == {
            model_id: (len(model.versions), model.now) for model_id, model in self.world.models.items()
        }
        names = self.database.execute(
            "SELECT credential_name, version FROM credential WHERE credential_name LIKE %s", mine
        )
        assert dict(names.fetchall()) == self.world.credentials
        for object_, kind in self.others.items():
            kept = self.world.others.get(object_)
            found = self.database.execute(VERSIONS[kind], [object_]).fetchall()  # pyright: ignore
            assert (object_, found) == (object_, [] if kept is None else [(kept.version,)])

    def _ended_now(self) -> list[tuple[str, str]]:
        """What only confirmed something is not in the audit log: it comes behind the one before it in its line."""
        return self.database.execute(
            "SELECT t.task_id::text, t.status FROM task t"
            " LEFT JOIN audit_entry a USING (task_id, object_type, object_id)"
            " WHERE t.task_id = ANY(%s) AND t.finished_at IS NOT NULL ORDER BY coalesce(a.position, ("
            "SELECT max(position) FROM task AS earlier JOIN audit_entry USING (task_id, object_type, object_id)"
            " WHERE earlier.line = t.line AND earlier.seq < t.seq)), t.seq",
            [[task.task_id for task in self.open]],
        ).fetchall()

    def _holds(self, task: Expected) -> bool:
        """Tags carry the version and a time, and the stored time is that of the last change."""
        if task.if_match is None or task.object not in self.world.models:
            return task.if_match is None
        return task.if_match == self._last_tag.get((task.object, len(self.world.models[task.object].versions)), "")

    @property
    def _last_tag(self) -> dict[tuple[str, int], str]:
        found = self.database.execute(
            "SELECT DISTINCT ON (model_id, version) model_id, version,"
            " (extract(epoch FROM (state->>'updated_at')::timestamptz) * 1000000)::bigint"
            " FROM model_revision WHERE state IS NOT NULL AND model_id LIKE %s"
            " ORDER BY model_id, version, revision DESC",
            [f"%-{self.run}-%"],
        )
        return {(row[0], row[1]): f'"{row[1]}-{row[2]:x}"' for row in found.fetchall()}

    def _etag(self, model_id: str) -> str:
        if model_id not in self.world.models:
            return STALE
        return self._last_tag[model_id, len(self.world.models[model_id].versions)]

    # --- submitting ---

    def _submit(self, operation: str, object_: str, credential: str | None, if_match: str | None) -> None:
        value = self._fresh()
        name, object_ = object_, self.drawn.get(object_, object_)
        asking = CHANGES[operation].about(object_, value, CANARY + value)
        if credential is not None:
            asking.body["litellm_params"]["litellm_credential_name"] = credential
        headers = {"Idempotency-Key": f"{self.run}/{value}"}
        headers |= {} if if_match is None else {"If-Match": if_match}
        answer = self._ask(asking, headers)
        is_possible = self._is_possible(operation, object_, credential, if_match)
        assert (answer.status_code == 202) == is_possible, (operation, answer.text)
        if is_possible:
            object_ = answer.json()["object_id"]
            if object_ != name and operation.endswith(".create"):
                self.drawn[name] = object_
            if operation in ABOUT_OTHERS:
                self.others[object_] = operation.partition(".")[0]
            self.open.append(
                Expected(answer.json()["task_id"], operation, object_, asking, headers, value, credential, if_match)
            )

    def _is_possible(self, operation: str, object_: str, credential: str | None, if_match: str | None) -> bool:
        waiting = [task for task in self.open if task.object == object_ and not task.is_cancelled]
        if if_match == STALE and not waiting:
            return False
        is_creation = operation.endswith(".create")
        if is_creation and object_ in self.drawn.values():
            return True
        return self._will_exist(object_) != is_creation and (credential is None or self._will_exist(credential))

    def _ask(self, asking: Asking, headers: dict[str, str]) -> httpx.Response:
        sending = self.loop.client.request(asking.method, asking.path, json=asking.body, headers=headers)
        return self.loop.run(sending)

    def _will_exist(self, object_: str) -> bool:
        for task in reversed(self.open):
            if task.object == object_ and not task.is_cancelled and task.operation.endswith((".create", ".delete")):
                return task.operation.endswith(".create")
        return self.world.has(object_)

    def _named(self, kind: str, letter: str) -> str:
        return f"{kind}-{self.run}-{letter}"

    def _fresh(self) -> str:
        self.count += 1
        return f"n{self.count}"


@pytest.fixture
def loop(a_settings: SettingsBuilder) -> Iterator[Loop]:
    loop = Loop(a_settings(webhook_allow="127.0.0.0/8"))
    yield loop
    loop.close()


@pytest.mark.begins_first
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
