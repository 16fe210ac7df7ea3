"""The models of real gateway configurations are submitted, stored as they were sent, and not stored twice."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.fleet import Fleet, running_fleet

pytestmark = [pytest.mark.xdist_group("submitting a configuration"), pytest.mark.timeout(300)]

_FILES = sorted((Path(__file__).parents[1] / "support" / "configs").glob("*.yaml"))
_SET_BY_THE_SERVER = {"id", "db_model", "blocked", "created_at", "created_by", "updated_at", "updated_by"}

Entry = dict[str, Any]
Submitted = dict[str, tuple[Entry, dict[str, Any]]]
"""By idempotency key: what was sent, and the task that it was accepted as."""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with running_fleet(tmp_path_factory) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def submitted(fleet: Fleet) -> Submitted:
    return _submit_all(fleet)


def test_every_deployment_of_every_file_succeeds(submitted: Submitted) -> None:
    assert len(submitted) == 97
    assert {task["status"] for _, task in submitted.values()} == {"succeeded"}


def test_each_is_read_as_it_was_sent(fleet: Fleet, submitted: Submitted) -> None:
    models = fleet.models()
    assert len(models) == 97
    for sent, task in submitted.values():
        shown = models[task["object_id"]]
        assert shown["model_name"] == sent["model_name"]
        _assert_same(shown["litellm_params"], _without_api_key(sent["litellm_params"]))
        prices = {name for name in sent["litellm_params"] if "cost_per_" in name}
        added = _SET_BY_THE_SERVER | (prices - (sent.get("model_info") or {}).keys())
        info = {name: value for name, value in shown["model_info"].items() if name not in added}
        _assert_same(info, {name: value for name, value in (sent.get("model_info") or {}).items() if name != "id"})


def test_ids_that_the_file_gives_are_kept(fleet: Fleet, submitted: Submitted) -> None:
    given = {entry["model_info"]["id"] for entry, _ in submitted.values() if "id" in (entry.get("model_info") or {})}
    assert len(given) == 11
    assert given <= fleet.models().keys()


def test_one_is_found_by_its_id(fleet: Fleet, submitted: Submitted) -> None:
    models = fleet.models()
    for path in ("/model/info", "/v1/model/info"):
        for _, task in list(submitted.values())[:3]:
            found = fleet.http.get(path, params={"litellm_model_id": task["object_id"]}).raise_for_status().json()
            assert found == {"data": [models[task["object_id"]]]}


def test_each_has_one_audit_entry(fleet: Fleet, submitted: Submitted) -> None:
    entries = fleet.audit(action="created")
    assert sorted(entry["task_id"] for entry in entries) == sorted(task["task_id"] for _, task in submitted.values())
    assert {entry["table_name"] for entry in entries} == {"LiteLLM_ProxyModelTable"}


def test_the_same_run_again_changes_nothing(fleet: Fleet, submitted: Submitted) -> None:
    before = (fleet.models(), fleet.audit(), fleet.select("SELECT * FROM model ORDER BY model_id"))
    again = _submit_all(fleet)
    assert {key: task for key, (_, task) in again.items()} == {key: task for key, (_, task) in submitted.items()}
    assert (fleet.models(), fleet.audit(), fleet.select("SELECT * FROM model ORDER BY model_id")) == before


def _submit_all(fleet: Fleet) -> Submitted:
    entries = {
        f"{path.name}/{number}": entry
        for path in _FILES
        for number, entry in enumerate(yaml.safe_load(path.read_text())["model_list"])
    }
    with ThreadPoolExecutor(8) as clients:
        task_ids = list(
            clients.map(lambda item: fleet.accepted(item[1], idempotency_key=f"config/{item[0]}"), entries.items())
        )
    return {key: (entry, fleet.ended(task_id)) for (key, entry), task_id in zip(entries.items(), task_ids, strict=True)}


def _without_api_key(params: Entry) -> Entry:
    return {name: value for name, value in params.items() if name != "api_key"}


def _assert_same(shown: Any, sent: Any) -> None:
    """Equal, and of the same types: 1 is not 1.0, and neither is true."""
    assert type(shown) is type(sent), (shown, sent)
    if isinstance(sent, dict):
        assert shown.keys() == sent.keys()
        for name, value in sent.items():
            _assert_same(shown[name], value)
    elif isinstance(sent, list):
        assert len(shown) == len(sent)
        for one, other in zip(shown, sent, strict=True):
            _assert_same(one, other)
    else:
        assert shown == sent
