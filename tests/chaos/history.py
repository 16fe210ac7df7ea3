"""What the clients asked for and were told, and what it says about the server (in the manner of Jepsen)."""

import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec

Outcome = Literal["accepted", "refused", "unknown"]

_TASKS = """
SELECT task_id::text, seq, idempotency_key AS key, status, object_type || '/' || object_id AS object, finished_at,
       (SELECT max(n) FROM (SELECT count(*) AS n FROM audit_entry a WHERE a.task_id = t.task_id
                             GROUP BY a.object_type, a.object_id) of_object) AS entries,
       (SELECT min(position) FROM audit_entry a WHERE a.task_id = t.task_id) AS position
FROM task t ORDER BY seq
"""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One request of one client, repeated under the same key until its outcome was known or the run was over."""

    client: int
    operation: str
    object: str | None
    key: str
    invoked_at: float
    answered_at: float
    outcome: Outcome
    task_id: str | None = None
    tries: int = 1


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    accepted: int
    refused: int
    unknown: int
    repeated: int
    ended: dict[str, int]
    lost: list[str]
    duplicated: list[str]
    out_of_order: list[str]
    unexpected: list[str]

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.duplicated or self.out_of_order or self.unexpected)


class History:
    """Filled by many threads."""

    def __init__(self) -> None:
        self._operations: list[Operation] = []
        self._lock = threading.Lock()

    def add(self, operation: Operation) -> None:
        with self._lock:
            self._operations.append(operation)

    @property
    def operations(self) -> Sequence[Operation]:
        with self._lock:
            return list(self._operations)

    @property
    def accepted(self) -> int:
        return sum(one.outcome == "accepted" for one in self.operations)


def judge(history: History, fleet: Any, probes: Sequence[str]) -> Verdict:
    """Compares what clients were told with what is stored, once everything has ended. ``probes`` are keys as well."""
    tasks = fleet.select(_TASKS)
    operations = history.operations
    by_id = {task["task_id"]: task for task in tasks}
    accepted = [one for one in operations if one.outcome == "accepted"]
    known_keys = {*probes, *(one.key for one in operations)}
    return Verdict(
        accepted=len(accepted),
        refused=sum(one.outcome == "refused" for one in operations),
        unknown=sum(one.outcome == "unknown" for one in operations),
        repeated=sum(one.tries - 1 for one in operations),
        ended=dict(Counter(task["status"] for task in tasks)),
        lost=[
            one.task_id or "?"
            for one in accepted
            if one.task_id not in by_id or by_id[one.task_id]["finished_at"] is None
        ],
        duplicated=[*_twice(task["key"] for task in tasks), *_effects_twice(tasks)],
        out_of_order=[*_applied_out_of_order(tasks), *_accepted_out_of_order(accepted, by_id)],
        unexpected=[task["task_id"] for task in tasks if task["key"] not in known_keys],
    )


def _twice(keys: Iterable[str | None]) -> list[str]:
    return [f"key {key}" for key, count in Counter(keys).items() if key is not None and count > 1]


def _effects_twice(tasks: Sequence[dict[str, Any]]) -> list[str]:
    return [f"effect of {task['task_id']}" for task in tasks if (task["entries"] or 0) > 1]


def _applied_out_of_order(tasks: Sequence[dict[str, Any]]) -> list[str]:
    """Of each object, the audit log has the tasks in the order in which they were accepted."""
    last: dict[str, int] = {}
    found: list[str] = []
    for task in tasks:
        if task["position"] is None:
            continue
        if task["position"] < last.get(task["object"], 0):
            found.append(f"{task['task_id']} before an earlier one of {task['object']}")
        last[task["object"]] = task["position"]
    return found


def _accepted_out_of_order(accepted: Sequence[Operation], by_id: dict[str, dict[str, Any]]) -> list[str]:
    """Whoever asked after somebody else had his answer about the same object comes after him."""
    found: list[str] = []
    answered: dict[str, list[tuple[float, int]]] = {}
    for one in accepted:
        if one.object is not None and one.task_id in by_id:
            answered.setdefault(one.object, []).append((one.answered_at, by_id[one.task_id]["seq"]))
    for one in accepted:
        task = by_id.get(one.task_id or "")
        earlier = [seq for at, seq in answered.get(one.object or "", []) if at < one.invoked_at]
        # What was tried again may have been accepted at any of its tries, the first of which is ``invoked_at``.
        if task is not None and earlier and task["seq"] < max(earlier):
            found.append(f"{one.task_id} has seq {task['seq']}, accepted after seq {max(earlier)} was answered")
    return found
