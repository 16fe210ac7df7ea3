"""Judges the addresses that a registered name has now. What it has later is judged again at every call."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from ipaddress import ip_address
from socket import IPPROTO_TCP, SOCK_STREAM
from typing import Any, Final

from shared.domain.problems import DestinationRefused, WebhookRefused
from shared.domain.rights import Principal
from shared.outbox.addresses import Allowlist, RefusedTarget, check_address, check_url
from shared.outbox.model_targets import targets_of

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""From a name and a port to addresses. Raises ``OSError``."""

LOOKUP_TIMEOUT_S: Final = 2.0


async def ask_system(host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=SOCK_STREAM, proto=IPPROTO_TCP)
    return [str(address[0]) for *_, address in found]


class Judge:
    """Says whether an endpoint may be registered, and where a model may lead that is no admin's."""

    def __init__(self, allow: Allowlist, resolve: Resolver = ask_system) -> None:
        self._allow = allow
        self._resolve = resolve

    async def check(self, url: str, param: str) -> None:
        """Every address counts. A name that cannot be resolved right now passes: nothing is sent before it can be.

        Raises:
            WebhookRefused: the URL, or an address that its name has.
        """
        try:
            await self._judge(url)
        except RefusedTarget as refused:
            raise WebhookRefused(str(refused), param) from None

    async def check_model(self, principal: Principal, params: Mapping[str, Any]) -> None:
        """Only a proxy admin points a model elsewhere, or to what the gateway's environment holds.

        Raises:
            DestinationRefused: names the first parameter that is refused.
        """
        if principal.role == "proxy_admin":
            return
        for name, url in targets_of(params):
            try:
                await self._judge(url)
            except RefusedTarget as refused:
                raise DestinationRefused(f"litellm_params.{name}", refused.reason) from None

    async def _judge(self, url: str) -> None:
        target = check_url(url, self._allow)
        addresses = () if target.address is not None else await self._addresses(target.host, target.port)
        for address in addresses:
            check_address(ip_address(address), self._allow)

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT_S):
                return await self._resolve(host, port)
        except (OSError, UnicodeError, TimeoutError):
            return ()
