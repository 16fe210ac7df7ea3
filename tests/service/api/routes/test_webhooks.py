import asyncio

import httpx
import psycopg
from standardwebhooks import Webhook

from tests.conftest import SettingsBuilder
from tests.service.api.serving import an_api


async def test_the_secret_is_made_once_and_usable(client: httpx.AsyncClient) -> None:
    first = (await client.get("/webhooks/secret")).json()["secret"]
    assert (await client.get("/webhooks/secret")).json() == {"secret": first}
    Webhook(first)


async def test_of_several_that_ask_at_once_all_are_told_the_same(
    a_settings: SettingsBuilder, database: psycopg.Connection
) -> None:
    async with an_api(a_settings()) as one, an_api(a_settings()) as another:
        answers = await asyncio.gather(*(client.get("/webhooks/secret") for client in [one, another] * 5))
    assert len({answer.json()["secret"] for answer in answers}) == 1
    ((stored,),) = database.execute("SELECT secret FROM signing_secret").fetchall()
    assert stored.startswith("pm1:test:")
