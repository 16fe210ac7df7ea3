"""Clients that ask for mixed changes without pause, and never take silence for an answer."""

import random
import threading
import time
from collections import defaultdict, deque
from typing import Any

import httpx

from shared.operations import OPERATIONS
from tests.chaos.history import History, Operation, Outcome
from tests.support.changes import CHANGES, Asking
from tests.support.fleet import Fleet

OBJECTS = {"model": 12, "credential": 3}
"""How many objects of a type the clients quarrel about; where nothing is said, ``FEW``."""
FEW = 4
WEIGHTS = {"create": 4, "update": 5, "delete": 2, "rotate": 0.02}
"""How often a verb is drawn; others once. Changing the key goes over everything there is."""
TRY_AGAIN_AFTER_S = 0.1
CALLBACK_SHARE = 0.2
CREDENTIAL_SHARE = 0.3


class Client(threading.Thread):
    def __init__(self, number: int, seed: int, fleet: Fleet, history: History, callback: str) -> None:
        super().__init__(name=f"client {number}")
        self._number = number
        self._random = random.Random(f"{seed}/{number}")
        self._fleet = fleet
        self._history = history
        self._callback = callback
        self._ending = threading.Event()
        self._giving_up = threading.Event()
        self._mine: deque[str] = deque(maxlen=100)
        self._known: defaultdict[str, deque[str]] = defaultdict(lambda: deque(maxlen=FEW))
        self.error: Exception | None = None

    def end(self) -> None:
        """No new requests; the one that is under way is repeated until it is answered."""
        self._ending.set()

    def give_up(self) -> None:
        self._ending.set()
        self._giving_up.set()

    def run(self) -> None:
        try:
            self._ask_on()
        except Exception as error:  # noqa: BLE001  (for the main thread)
            self.error = error

    def _ask_on(self) -> None:
        count = 0
        with httpx.Client(
            base_url=self._fleet.url,
            headers={"Authorization": f"Bearer {self._fleet.master_key}"},
            timeout=8,
            trust_env=False,
        ) as http:
            while not self._ending.is_set():
                count += 1
                self._ask(http, f"{self._number}-{count}")
                if self._mine and self._random.random() < 0.05:
                    self._cancel(http)

    def _ask(self, http: httpx.Client, key: str) -> None:
        operation, asking = self._drawn(key)
        headers = {"Idempotency-Key": key}
        if self._random.random() < CALLBACK_SHARE:
            headers["Webhook-Url"] = self._callback
        invoked_at = time.monotonic()
        outcome, task, tries = self._insist(http, asking, headers)
        if task is not None:
            self._mine.append(task["task_id"])
            self._known[task["object_type"]].append(task["object_id"])
        self._history.add(
            Operation(
                client=self._number,
                operation=operation,
                object=None if task is None else f"{task['object_type']}/{task['object_id']}",
                key=key,
                invoked_at=invoked_at,
                answered_at=time.monotonic(),
                outcome=outcome,
                task_id=None if task is None else task["task_id"],
                tries=tries,
            )
        )

    def _insist(
        self, http: httpx.Client, asking: Asking, headers: dict[str, str]
    ) -> tuple[Outcome, dict[str, Any] | None, int]:
        tries = 0
        while not self._giving_up.is_set():
            tries += 1
            try:
                answer = http.request(asking.method, asking.path, json=asking.body, headers=headers)
            except httpx.HTTPError:
                self._giving_up.wait(TRY_AGAIN_AFTER_S)
                continue
            if answer.status_code == 202:
                return "accepted", answer.json(), tries
            if answer.status_code in (429, 503):
                assert "Retry-After" in answer.headers, answer.text
                self._giving_up.wait(TRY_AGAIN_AFTER_S)
                continue
            assert 400 <= answer.status_code < 500, answer.text
            return "refused", None, tries
        return "unknown", None, tries

    def _cancel(self, http: httpx.Client) -> None:
        try:
            http.post(f"/tasks/{self._mine[-1]}/cancel", headers={"Prefer": "wait=0"})
        except httpx.HTTPError:
            return

    def _drawn(self, key: str) -> tuple[str, Asking]:
        draw = self._random
        weights = [WEIGHTS.get(name.partition(".")[2], 1) for name in CHANGES]
        operation = draw.choices(list(CHANGES), weights)[0]
        asking = CHANGES[operation].about(self._object(OPERATIONS[operation].object_type), key, f"sk-{key}")
        if operation == "model.create" and draw.random() < CREDENTIAL_SHARE:
            asking.body["litellm_params"]["litellm_credential_name"] = self._object("credential")
        return operation, asking

    def _object(self, object_type: str) -> str:
        """Mostly one of a few that everybody knows; sometimes one that was made for this client."""
        if self._known[object_type] and self._random.random() < 0.2:
            return self._random.choice(self._known[object_type])
        return f"{object_type}-{self._random.randrange(OBJECTS.get(object_type, FEW))}"
