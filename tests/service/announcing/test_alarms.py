"""Whoever meets a secret that does not open has it announced, once."""

from typing import Any

import httpx
import psycopg

from shared.domain.models import CreateModel
from shared.encryption.keyring import Keyring, new_key
from shared.encryption.sealing import Binding, seal_document
from shared.runtime.clock import new_id
from tests.conftest import SettingsBuilder
from tests.service.api.serving import an_api
from tests.support.receivers import Receiver
from tests.support.workbench import Workbench, workbench_on

LOST = Keyring.parse(new_key("lost"))


def add_unreadable_model(bench: Workbench) -> str:
    model_id = new_id()
    params = seal_document(LOST, Binding("model", model_id), {"model": "openai/gpt-4o"})
    command = CreateModel(model_id=model_id, model_name="gpt", litellm_params=params, model_info={})
    bench.submit("model.create", command)
    return model_id


def test_slack_is_told_once_of_a_secret_that_a_delivery_needed(database_url: str) -> None:
    with (
        Receiver() as slack,
        workbench_on(database_url, slack={"": slack.url}, slack_events=("secret.*",)) as bench,
    ):
        webhook_id, _ = bench.add_webhook("https://hooks.example.com/")
        foreign = bench.sealed("another", "whsec_", "secret")
        with bench.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE webhook_endpoint SET secret = %s", (foreign,))
        for _ in range(3):
            bench.add_model()
            bench.deliver()
            bench.alarms.announce()
            bench.deliver()
            bench.wind(hours=1)
        assert len(slack.requests) == 1
        assert webhook_id in str(slack.requests[0].json["blocks"])


async def test_a_read_that_meets_one_has_it_told_to_whoever_listens(
    bench: Workbench, a_settings: SettingsBuilder
) -> None:
    with Receiver() as receiver:
        bench.add_webhook(receiver.url, "secret.*")
        model_id = add_unreadable_model(bench)
        for _ in range(2):
            async with an_api(a_settings()) as client:
                assert (await client.get(f"/model/info?litellm_model_id={model_id}")).status_code == 500
        bench.alarms.announce()
        bench.alarms.announce()
        bench.deliver()
        (told,) = receiver.requests
    assert told.json["data"] == {
        "object_type": "model",
        "object_id": model_id,
        "field": "litellm_params.model",
        "key_id": "lost",
    }


async def test_what_could_not_be_noted_at_once_is_noted_later(
    bench: Workbench, a_settings: SettingsBuilder, database: psycopg.Connection[Any]
) -> None:
    model_id = add_unreadable_model(bench)
    database.execute("ALTER TABLE unreadable_secret RENAME TO away")
    try:
        async with an_api(a_settings()) as client:
            await _read(client, model_id)
    finally:
        database.execute("ALTER TABLE away RENAME TO unreadable_secret")
    async with an_api(a_settings()):
        pass
    assert database.execute("SELECT object_id FROM unreadable_secret").fetchall() == [(model_id,)]


async def _read(client: httpx.AsyncClient, model_id: str) -> None:
    assert (await client.get(f"/model/info?litellm_model_id={model_id}")).status_code == 500
