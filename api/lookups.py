"""Judges the addresses that a registered name has now. What it has later is judged again at every call."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from ipaddress import ip_address
from socket import IPPROTO_TCP, SOCK_STREAM
from typing import Any, Final

from shared.domain.destinations import destinations_in, is_host, is_part_of_a_host, is_url
from shared.domain.problems import DestinationRefused, WebhookRefused
from shared.domain.rights import Principal
from shared.outbox.addresses import Allowlist, RefusedTarget, check_address, check_url

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""From a name and a port to addresses. Raises ``OSError``."""

LOOKUP_TIMEOUT_S: Final = 2.0
_PART_OF_A_HOST: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


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
            await self._judge(url, is_resolved_later=True)
        except RefusedTarget as refused:
            raise WebhookRefused(str(refused), param) from None

    async def check_model(self, principal: Principal, params: Mapping[str, Any]) -> tuple[str, ...]:
        """Judges where a model leads, unless a proxy admin points it there.

        Returns:
            The paths of what was not judged, so that nobody without a proxy admin's rights may have set it.

        Raises:
            DestinationRefused: names the first parameter that is refused. A name that cannot be resolved is one: the
                gateway would resolve it later, and ask nobody.
        """
        found = [one for one in destinations_in(params, "litellm_params") if one[2] not in (None, "")]
        if principal.role == "proxy_admin":
            return tuple(path for path, _, _ in found)
        for path, name, value in found:
            try:
                await self._judge_destination(name, value)
            except RefusedTarget as refused:
                raise DestinationRefused(path, refused.reason) from None
        return ()

    async def _judge_destination(self, name: str, value: Any) -> None:
        if is_url(name):
            await self._judge(str(value))
        elif is_host(name):
            await self._judge(f"https://{value}")
        elif is_part_of_a_host(name) and not _PART_OF_A_HOST.fullmatch(str(value)):
            raise RefusedTarget("it holds what cannot stand in a host name")

    async def _judge(self, url: str, *, is_resolved_later: bool = False) -> None:
        target = check_url(url, self._allow)
        if target.address is not None:
            return
        addresses = await self._addresses(target.host, target.port)
        if not addresses and not is_resolved_later:
            raise RefusedTarget("its host name cannot be looked up")
        for address in addresses:
            check_address(ip_address(address), self._allow)

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT_S):
                return await self._resolve(host, port)
        except (OSError, UnicodeError, TimeoutError):
            return ()
