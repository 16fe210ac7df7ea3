"""Talks to a running Pointsman, with the admin's key."""

import os
from collections.abc import Iterator
from typing import Any

import click
import httpx

from shared.runtime.settings import Misconfigured, only

_LISTENS_BY_DEFAULT = "127.0.0.1:4000"
_TIMEOUT_S = 60
_WAIT_S = 2


class Client:
    """
    Raises:
        Misconfigured: there is no key to speak with.
    """

    def __init__(self, url: str | None) -> None:
        key = only(os.environ, "master_key")
        if key is None:
            raise Misconfigured("POINTSMAN_MASTER_KEY is not set: the command speaks to Pointsman as its admin.")
        base = url or "http://" + (os.environ.get("POINTSMAN_LISTEN") or _LISTENS_BY_DEFAULT)
        headers = {"Authorization": f"Bearer {key.reveal()}"}
        self._http = httpx.Client(base_url=base, headers=headers, timeout=_TIMEOUT_S)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def post(self, path: str) -> dict[str, Any]:
        return self._answer("POST", path)

    def follow(self, task_id: str) -> Iterator[dict[str, Any]]:
        """The task again and again, until it has ended."""
        while True:
            task = self._answer("GET", f"/tasks/{task_id}", wait=_WAIT_S)
            yield task
            if task["finished_at"]:
                return

    def _answer(self, method: str, path: str, **query: Any) -> dict[str, Any]:
        try:
            response = self._http.request(method, path, params=query)
        except httpx.HTTPError as error:
            raise click.ClickException(f"{self._http.base_url} does not answer: {type(error).__name__}") from None
        if response.is_error:
            detail = response.json().get("detail", response.text) if _is_json(response) else response.text
            raise click.ClickException(f"{response.status_code}: {detail}")
        return response.json()


def _is_json(response: httpx.Response) -> bool:
    return "json" in response.headers.get("content-type", "")
