"""Clients that ask for mixed changes without pause, and never take silence for an answer."""

import random
import threading
import time
from typing import Any

import httpx

from tests.chaos.history import History, Operation, Outcome
from tests.support.fleet import Fleet, a_model

MODELS = 12
CREDENTIALS = 3
TRY_AGAIN_AFTER_S = 0.1
CALLBACK_SHARE = 0.2

Request = tuple[str, str, str, str, Any]
"""Operation, object, method, path, body."""


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
        self._mine: list[str] = []
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
        operation, object_, method, path, body = self._request(key)
        headers = {"Idempotency-Key": key}
        if self._random.random() < CALLBACK_SHARE:
            headers["Webhook-Url"] = self._callback
        invoked_at = time.monotonic()
        outcome, task_id, tries = self._insist(http, method, path, body, headers)
        if task_id is not None:
            self._mine.append(task_id)
        self._history.add(
            Operation(
                client=self._number,
                operation=operation,
                object=object_,
                key=key,
                invoked_at=invoked_at,
                answered_at=time.monotonic(),
                outcome=outcome,
                task_id=task_id,
                tries=tries,
            )
        )

    def _insist(
        self, http: httpx.Client, method: str, path: str, body: Any, headers: dict[str, str]
    ) -> tuple[Outcome, str | None, int]:
        tries = 0
        while not self._giving_up.is_set():
            tries += 1
            try:
                answer = http.request(method, path, json=body, headers=headers)
            except httpx.HTTPError:
                self._giving_up.wait(TRY_AGAIN_AFTER_S)
                continue
            if answer.status_code == 202:
                return "accepted", answer.json()["task_id"], tries
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

    def _request(self, key: str) -> Request:
        draw = self._random
        model, credential = f"m-{draw.randrange(MODELS)}", f"c-{draw.randrange(CREDENTIALS)}"
        named = {"litellm_credential_name": credential} if draw.random() < 0.3 else {}
        about_model, about_credential = f"model/{model}", f"credential/{credential}"
        values = {"credential_name": credential, "credential_values": {"api_key": f"key of {key}"}}
        requests: list[tuple[int, Request]] = [
            (4, ("model.create", about_model, "POST", "/model/new", a_model(key, model_id=model, **named))),
            (5, ("model.update", about_model, "PATCH", f"/model/{model}/update", {"model_name": key})),
            (1, ("model.block", about_model, "POST", "/model/block", {"model_id": model})),
            (1, ("model.unblock", about_model, "POST", "/model/unblock", {"model_id": model})),
            (1, ("model.rollback", about_model, "POST", f"/model/{model}/rollback", {"version": 1})),
            (2, ("model.delete", about_model, "POST", "/model/delete", {"id": model})),
            (2, ("credential.create", about_credential, "POST", "/credentials", values)),
            (1, ("credential.delete", about_credential, "DELETE", f"/credentials/{credential}", None)),
        ]
        return draw.choices([one for _, one in requests], [weight for weight, _ in requests])[0]
