"""A model of somebody who is no admin leads to public addresses only."""

from typing import Any

import pytest

from shared.domain.problems import DestinationRefused
from shared.outbox.addresses import NOTHING_ALLOWED, Allowlist
from shared.outbox.model_targets import check_model_targets


@pytest.mark.parametrize(
    "params",
    [
        {"api_base": "http://169.254.169.254/latest"},
        {"api_base": "http://[::ffff:10.0.0.1]/v1"},
        {"base_url": "http://localhost:8000"},
        {"api_base": "os.environ/SECRET"},
        {"api_host": "http://user:pass@example.com"},
        {"api_base": 5},
    ],
)
def test_internal_and_unreadable_destinations_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(DestinationRefused) as refused:
        check_model_targets({"model": "openai/x", **params}, NOTHING_ALLOWED)
    assert refused.value.param == f"litellm_params.{next(iter(params))}"


@pytest.mark.parametrize("params", [{}, {"api_base": None}, {"api_base": "https://api.example.com/v1"}])
def test_public_ones_pass(params: dict[str, Any]) -> None:
    check_model_targets(params, NOTHING_ALLOWED)


def test_an_operator_may_allow_a_network() -> None:
    check_model_targets({"api_base": "http://10.1.2.3/v1"}, Allowlist.parse("10.1.0.0/16"))
