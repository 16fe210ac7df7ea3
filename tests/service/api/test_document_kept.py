"""What the OpenAPI document says, asked of the API by schemathesis: inside and outside of what it allows."""

import contextlib
from collections.abc import Mapping
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from litestar import Litestar
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from sqlalchemy import Engine

from api.app import create_app
from tests.conftest import SettingsBuilder
from tests.service.principals import store_principals

EXAMPLES = 6
# A cursor, a URL, or that one of two fields is needed: more than a schema can say is asked of those.
LEFT_OUT = {"positive_data_acceptance"}
# In a query everything is text, and what is given twice counts once: hardly any of it violates a schema.
OF_READS = {"negative_data_rejection"}
# It streams until the task has ended.
STREAMS = "/events"

load_all_checks()


@pytest.fixture
def app(a_settings: SettingsBuilder) -> Litestar:
    # A check of bad keys is no guessing, and many requests no flood.
    limits = dict.fromkeys(("failures_per_minute", "key_writes_per_minute", "source_writes_per_minute"), "0")
    # As nobody applies what is accepted, there is no progress.
    return create_app(a_settings(**limits, stall_after="3600"))


@pytest.mark.timeout(400)
@pytest.mark.leaves_open_tasks("nobody applies what it accepts")
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_the_api_does_what_the_document_says(app: Litestar, engine: Engine, mode: GenerationMode) -> None:
    keys = store_principals(engine)
    document = schemathesis.openapi.from_asgi("/openapi.json", app)
    problems: list[str] = []
    for found in document.get_all_operations():
        operation = found.ok()
        if operation.path.endswith(STREAMS):
            continue
        try:
            # What takes nothing cannot be asked for anything but that.
            with contextlib.suppress(Unsatisfiable):
                _ask(operation.as_strategy(generation_mode=mode), _checks_of(operation.method), keys)
        except AssertionError as failure:
            problems.append(f"{operation.label}: {failure}")
    assert not problems, "\n".join(problems)


def _checks_of(method: str) -> list[Any]:
    left_out = LEFT_OUT | OF_READS if method == "get" else LEFT_OUT
    return [CHECKS.get_one(name) for name in CHECKS.get_all_names() if name not in left_out]


def _ask(cases: Any, checks: list[Any], keys: Mapping[str, str]) -> None:
    """Each case as everybody: making one up takes longer than asking it."""

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def ask(case: Case) -> None:
        for who, key in keys.items():
            try:
                case.call_and_validate(checks=checks, headers={"Authorization": f"Bearer {key}"})
            except (AssertionError, BaseExceptionGroup) as failures:
                raise AssertionError(f"as {who}: {failures!s:.800}") from failures

    ask()
