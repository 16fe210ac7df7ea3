"""The processes work with a role that can add to the audit log and not change it, as docs/audit.md sets it up."""

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from shared.encryption.keyring import Keyring
from shared.store.engines import worker_engine
from tests.conftest import DATABASE, SettingsBuilder
from tests.service.api.serving import an_api
from tests.service.building import Side, a_model
from tests.support.changes import CHANGES
from tests.support.servers import PostgresServer

ROLE = "pointsman_app"
GRANTS = re.findall(r"^    ((?:GRANT|REVOKE) .*;)$", Path("docs/audit.md").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture
def url_of_the_role(postgres: PostgresServer, database_url: str) -> Iterator[str]:
    superuser = make_url(postgres._postgres.superuser_url()).set(database=DATABASE)
    with psycopg.connect(superuser.render_as_string(hide_password=False), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {ROLE} LOGIN")  # pyright: ignore
        with psycopg.connect(database_url, autocommit=True) as owner:
            for grant in GRANTS:
                owner.execute(grant)  # pyright: ignore
        yield make_url(database_url).set(username=ROLE).render_as_string(hide_password=False)
        connection.execute(f"DROP OWNED BY {ROLE}")  # pyright: ignore
        connection.execute(f"DROP ROLE {ROLE}")  # pyright: ignore


async def test_it_can_do_all_the_work_and_not_touch_what_is_recorded(
    url_of_the_role: str, a_settings: SettingsBuilder, keyring: Keyring
) -> None:
    assert len(GRANTS) == 3
    engine = worker_engine(url_of_the_role)
    side = Side(engine, keyring)
    async with an_api(a_settings(database_url=url_of_the_role, webhook_allow="127.0.0.0/8")) as client:
        await client.post("/model/new", json={})
        for operation in ("model.create", "credential.create", "webhook.create", "team.create", "user.create"):
            asking = CHANGES[operation].about(f"of-{operation}", "first")
            assert (await client.request(asking.method, asking.path, json=asking.body)).status_code == 202
        called_off = (await client.post("/model/new", json=a_model())).json()["task_id"]
        await client.post(f"/tasks/{called_off}/cancel", headers={"Prefer": "wait=0"})
        side.drain.drain()
        actions = [entry["action"] for entry in (await client.get("/audit")).json()["audit_logs"]]
    engine.dispose()
    assert sorted(actions) == ["cancelled", *["created"] * 5, "refused"]
    for statement in (
        "UPDATE audit_entry SET actor = 'somebody else'",
        "DELETE FROM audit_entry",
        "TRUNCATE audit_entry",
        "ALTER TABLE audit_entry DISABLE TRIGGER USER",
        "DROP TABLE audit_entry",
    ):
        with psycopg.connect(url_of_the_role) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement)  # pyright: ignore
