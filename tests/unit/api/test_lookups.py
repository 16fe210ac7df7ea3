"""What a name leads to is judged when it is registered; later it is judged again at every call."""

from typing import Any

import pytest

from api.lookups import Judge
from shared.domain.problems import DestinationRefused, WebhookRefused
from shared.domain.rights import MASTER, Principal
from shared.outbox.addresses import NOTHING_ALLOWED, Allowlist

MEMBER = Principal(user_id="u", role="internal_user", key_id="k")


def judge(*addresses: str, allow: Allowlist = NOTHING_ALLOWED) -> Judge:
    async def resolve(_host: str, _port: int) -> list[str]:
        if not addresses:
            raise OSError("no such name")
        return list(addresses)

    return Judge(allow, resolve)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "169.254.169.254", "10.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a9fe:a9fe"]
)
async def test_one_private_address_refuses_the_name(address: str) -> None:
    with pytest.raises(WebhookRefused) as refused:
        await judge("93.184.216.34", address).check("https://hooks.example.com/", "url")
    assert address not in str(refused.value)


async def test_a_public_name_passes_and_so_does_one_that_cannot_be_resolved_now() -> None:
    await judge("93.184.216.34").check("https://hooks.example.com/", "url")
    await judge().check("https://hooks.example.com/", "url")


async def test_a_name_that_moved_is_judged_anew() -> None:
    await judge("93.184.216.34").check("https://hooks.example.com/", "url")
    with pytest.raises(WebhookRefused):
        await judge("169.254.169.254").check("https://hooks.example.com/", "url")


async def test_an_operator_may_allow_a_network() -> None:
    await judge("10.1.2.3", allow=Allowlist.parse("10.1.0.0/16")).check("https://hooks.example.com/", "url")


@pytest.mark.parametrize(
    "params",
    [
        {"api_base": "http://169.254.169.254/latest"},
        {"api_base": "http://[::ffff:10.0.0.1]/v1"},
        {"base_url": "http://localhost:8000"},
        {"api_base": "os.environ/SECRET"},
        {"api_host": "http://user:pass@example.com"},
        {"api_base": 5},
        {"deployment_endpoint": "http://10.0.0.1"},
        {"aws_region_name": "evil.example/#"},
        {"account_id": "evil.example/?"},
        {"my_domain": "169.254.169.254"},
    ],
)
async def test_a_model_of_who_is_no_admin_leads_to_public_addresses_only(params: dict[str, Any]) -> None:
    with pytest.raises(DestinationRefused) as refused:
        await judge("93.184.216.34").check_model(MEMBER, {"model": "openai/x", **params})
    assert refused.value.param == f"litellm_params.{next(iter(params))}"
    assert await judge().check_model(MASTER, params) == (refused.value.param,)


async def test_an_address_deep_inside_is_judged_too() -> None:
    params = {"fallbacks": [{"model": "openai/x", "api_base": "http://10.0.0.1"}]}
    with pytest.raises(DestinationRefused) as refused:
        await judge().check_model(MEMBER, params)
    assert refused.value.param == "litellm_params.fallbacks[0].api_base"


async def test_a_name_that_cannot_be_looked_up_is_no_place_for_a_model() -> None:
    """The gateway looks it up later, and asks nobody."""
    with pytest.raises(DestinationRefused):
        await judge().check_model(MEMBER, {"api_base": "https://models.example.com/v1"})


@pytest.mark.parametrize(
    "params", [{"aws_region_name": "us-east-1"}, {"account_id": "org-acct.eu"}, {"custom_llm_provider": "openai"}]
)
async def test_what_leads_to_the_provider_itself_needs_no_lookup(params: dict[str, Any]) -> None:
    assert await judge().check_model(MEMBER, params) == ()


async def test_the_name_in_a_model_is_looked_up_too() -> None:
    params = {"api_base": "https://models.example.com/v1"}
    await judge("93.184.216.34").check_model(MEMBER, params)
    with pytest.raises(DestinationRefused):
        await judge("10.0.0.1").check_model(MEMBER, params)
    await judge("10.0.0.1", allow=Allowlist.parse("10.0.0.0/8")).check_model(MEMBER, params)


@pytest.mark.parametrize("params", [{}, {"api_base": None}, {"api_base": ""}])
async def test_a_model_that_names_no_address_passes(params: dict[str, Any]) -> None:
    await judge("10.0.0.1").check_model(MEMBER, params)
