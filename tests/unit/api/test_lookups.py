"""What a name leads to is judged when it is registered; later it is judged again at every call."""

import pytest

from api.lookups import Judge
from shared.domain.problems import WebhookRefused
from shared.outbox.addresses import NOTHING_ALLOWED, Allowlist


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
