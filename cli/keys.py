"""The commands `pointsman keys …`: make, check and change the keys that seal secrets."""

import os
import sys
from collections.abc import Iterator
from typing import Any

import click
from rich_click import RichGroup
from sqlalchemy import Connection

from cli.client import Client
from cli.database import snapshot
from shared.encryption.keyring import MOST_SEALS, BadKey, Keyring, new_key
from shared.encryption.resealing import Resealer
from shared.runtime.settings import Misconfigured, only
from shared.store import sealed
from shared.store.rows import AnyRow
from shared.store.sealed import SEALED_TABLES, SealedTable

EXIT_UNREADABLE = 1

_CHUNK = 1000
_MOST_LISTED = 100
_WORN_AT = MOST_SEALS // 16


@click.group(cls=RichGroup)
def command() -> None:
    """Make, check and change the keys that seal secrets."""


@command.command("generate")
@click.argument("key_id")
def generate(key_id: str) -> None:
    """Make a key named KEY_ID, as an entry of POINTSMAN_ENCRYPTION_KEYS."""
    entry = new_key(key_id)
    try:
        Keyring.parse(entry)
    except BadKey as error:
        raise click.BadParameter(str(error), param_hint="KEY_ID") from None
    click.echo(entry)


@command.command("rotate")
@click.option("--url", metavar="URL", help="Where Pointsman answers; POINTSMAN_LISTEN by default.")
@click.option("--no-wait", is_flag=True, help="Only start it, and print the task's id.")
def rotate(url: str | None, no_wait: bool) -> None:
    """Seal everything anew with the first key of the running Pointsman. Everything else goes on meanwhile."""
    with Client(url) as client:
        task_id = client.post("/encryption/rotate")["task_id"]
        click.echo(f"task {task_id}")
        if no_wait:
            return
        task = _followed(client, task_id)
    if task["status"] != "succeeded":
        raise click.ClickException(f"{task['status']}: {(task['error'] or {}).get('detail', '')}")
    click.echo("{values} values in {rows} rows are now sealed with {sealed_with!r}".format(**task["result"]))
    if task["result"]["unreadable"] or task["result"]["left"]:
        click.echo("Not all could be: `pointsman keys verify` says which.", err=True)
        sys.exit(EXIT_UNREADABLE)


@command.command("verify")
def verify() -> None:
    """Open every sealed value in the database with POINTSMAN_ENCRYPTION_KEYS, and say which keys can go.

    Ends with 0 if everything opens, and with 1 after naming what does not.
    """
    keyring = _keyring()
    found = Resealer(keyring)
    with snapshot() as connection:
        unreadable_count = _look(connection, found)
        seals = {row.key_id: row.seals for row in connection.execute(sealed.seal_counts())}
        digests = {row.key_id: row.tasks for row in connection.execute(sealed.digests_by_key())}
    for key_id in dict.fromkeys([*keyring.key_ids, *found.by_key]):
        click.echo(_of_key(key_id, keyring, found.by_key.get(key_id, 0), digests.get(key_id, 0)))
    for key_id, count in seals.items():
        if count >= _WORN_AT:
            click.echo(f"warning: {key_id!r} has sealed {count} of at most {MOST_SEALS} values: rotate to a new key")
    if unreadable_count:
        click.echo(f"{unreadable_count} values cannot be read.")
        sys.exit(EXIT_UNREADABLE)
    click.echo("Everything can be read.")


def _followed(client: Client, task_id: str) -> dict[str, Any]:
    """The task's end, telling its progress until then."""
    task: dict[str, Any] = {}
    for task in client.follow(task_id):
        if task["progress"]:
            click.echo("{done} of {total}".format(**task["progress"]), err=True)
    return task


def _look(connection: Connection, found: Resealer) -> int:
    """Shows every value to ``found``, and lists what does not open, up to a limit."""
    count = 0
    for place in SEALED_TABLES:
        for row in _rows(connection, place):
            sealed.look_at(place, row, found)
            for unreadable in found.unreadable:
                count += 1
                if count <= _MOST_LISTED:
                    key = "/".join(map(str, place.key_of(row)))
                    click.echo(f"unreadable: {place.name} {key}: {unreadable}")
            found.unreadable.clear()
    return count


def _rows(connection: Connection, place: SealedTable) -> Iterator[AnyRow]:
    after = None
    while keys := connection.execute(sealed.keys_after(place, after, _CHUNK)).all():
        first, last = place.key_of(keys[0]), place.key_of(keys[-1])
        yield from connection.execute(sealed.rows_between(place, first, last))
        after = last


def _of_key(key_id: str, keyring: Keyring, values: int, digests: int) -> str:
    name = repr(key_id) if key_id else "(no key id)"
    if key_id == keyring.writing_key_id:
        return f"key {name}: {values} values; seals what is new"
    if key_id not in keyring.key_ids:
        return f"key {name}: {values} values; not in the keyring"
    if values:
        return f"key {name}: {values} values; still needed: `pointsman keys rotate`"
    if digests:
        return (
            f"key {name}: 0 values; can go once nobody repeats a request with one of {digests} idempotency keys "
            "from before the rotation"
        )
    return f"key {name}: 0 values; can go"


def _keyring() -> Keyring:
    given = only(os.environ, "encryption_keys")
    if given is None:
        raise Misconfigured("POINTSMAN_ENCRYPTION_KEYS is not set: there is nothing to open the values with.")
    try:
        return Keyring.parse(given.reveal())
    except BadKey as error:
        raise Misconfigured(f"POINTSMAN_ENCRYPTION_KEYS cannot be used: {error}") from None
