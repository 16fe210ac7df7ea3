"""The commands `pointsman audit …`: export the audit log, prove that it is whole, make the key that signs its heads."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NoReturn, TypeVar

import click
from rich_click import RichGroup
from sqlalchemy import Connection

from cli.database import snapshot
from shared.audit import export, heads
from shared.audit.chain import GENESIS, Head, Verdict, verify
from shared.audit.entries import AuditEntry
from shared.audit.export import BadExport
from shared.audit.heads import BadHead, SignedHead
from shared.encryption.signing import BadSigningKey, SigningKey, check_public_key, new_signing_key
from shared.runtime.clock import now
from shared.runtime.settings import Misconfigured, only
from shared.store import audit

EXIT_NOT_SOUND = 1

_CHUNK = 1000
_FAULTS = {
    "changed": "was changed, or replaced",
    "missing": "was removed",
    "inserted": "was added",
    "moved": "is not where it was recorded",
    "truncated": "is missing: the end was cut off, or the noted head is newer than the export",
    "rewritten": "is not the one that was noted: the log was rewritten",
}

T = TypeVar("T")


@click.group(cls=RichGroup)
def command() -> None:
    """Export the audit log, and prove that it is whole."""


@command.command("keygen")
def keygen() -> None:
    """Make a key that signs heads, and the public key that they are verified with."""
    seed = new_signing_key()
    click.echo(f"POINTSMAN_AUDIT_SIGNING_KEY={seed}")
    click.echo(f"# give to whoever verifies: --public-key {SigningKey.parse(seed).public}")


@command.command("export")
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="A file instead of the terminal.")
@click.option("--after", type=click.IntRange(min=0), default=0, help="Only entries beyond this position.")
def export_command(output: Path | None, after: int) -> None:
    """Write the log of POINTSMAN_DATABASE_URL as JSON Lines, which `pointsman audit verify FILE` checks offline."""
    key = _signing_key()
    with snapshot() as connection:
        head = _head(connection)
        start = GENESIS if after == 0 else _place(connection, after)
        signed = None if key is None else heads.sign(head, key, now())
        if output is None:
            _write(sys.stdout.buffer, export.opening(head, start, signed), connection, start)
        else:
            with output.open("wb") as file:
                _write(file, export.opening(head, start, signed), connection, start)
                os.fsync(file.fileno())
    click.echo(f"exported entries {start.position + 1} to {head.position}", err=True)


@command.command("verify")
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--head", "noted", multiple=True, metavar="POSITION:HASH", help="A head that was noted before.")
@click.option(
    "--heads",
    "heads_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file of signed heads.",
)
@click.option("--public-key", metavar="BASE64", help="The key that heads must be signed with.")
def verify_command(file: Path | None, noted: tuple[str, ...], heads_file: Path | None, public_key: str | None) -> None:
    """Check an exported FILE, offline, or else the log of POINTSMAN_DATABASE_URL.

    Ends with 0 if the log is whole, and with 1 after naming the first position at which it is not.
    """
    known = [_noted(text) for text in noted]
    trusted = _trusted_key(public_key)
    if heads_file is not None:
        known += [signed.head for signed in _signed_heads(heads_file, trusted)]
    verdict, start = _of_database(known) if file is None else _of_file(file, known, trusted)
    _tell(verdict, start, known)


def _of_database(known: list[Head]) -> tuple[Verdict, Head]:
    with snapshot() as connection:
        head = _head(connection)
        verdict = verify(_entries(connection, 0, None), head, GENESIS, known)
    if verdict.is_sound and verdict.head != head:
        return Verdict(head=head, position=head.position + 1, fault="inserted"), GENESIS
    return verdict, GENESIS


def _of_file(path: Path, known: list[Head], trusted: str | None) -> tuple[Verdict, Head]:
    try:
        with path.open("rb") as lines:
            opening = export.read_opening(lines.readline())
            start, head = opening.after.head, opening.head.head
            if opening.signed_head is not None and trusted is not None:
                known.extend(signed.head for signed in heads.read([heads.line(opening.signed_head)], trusted))
            covered = [one for one in known if one.position >= start.position]
            verdict = verify(export.read_entries(lines), head, start, covered)
    except BadExport as bad:
        _not_sound(f"{path}: {bad}.")
    except BadHead as bad:
        _not_sound(f"{path}: the head in its first line: {bad}.")
    if verdict.is_sound and verdict.head != head:
        return Verdict(head=head, position=head.position + 1, fault="inserted"), start
    return verdict, start


def _tell(verdict: Verdict, start: Head, known: list[Head]) -> None:
    last = verdict.head
    if verdict.fault is None:
        count = last.position - start.position
        compared = f"; {len(known)} noted head(s) agree" if known else ""
        click.echo(f"sound: {count} entries, {start.position + 1} to {last.position}{compared}")
        click.echo(f"head   {last.position}:{last.hash}")
        return
    text = f"entry {verdict.position} {_FAULTS[verdict.fault]}."
    if verdict.fault == "rewritten":
        agreed = max((head.position for head in known if head.position < (verdict.position or 0)), default=0)
        text += f" The first change lies after position {agreed}."
    _not_sound(f"{text}\nThe last one that holds is {last.position}:{last.hash}")


def _not_sound(text: str) -> NoReturn:
    click.echo(f"NOT sound: {text}")
    sys.exit(EXIT_NOT_SOUND)


def _entries(connection: Connection, after: int, until: int | None) -> Iterator[AuditEntry]:
    while rows := connection.execute(audit.in_order(after, _CHUNK, until)).all():
        yield from map(audit.from_row, rows)
        after = rows[-1].position


def _write(file: BinaryIO, opening: bytes, connection: Connection, start: Head) -> None:
    file.write(opening)
    for entry in _entries(connection, start.position, None):
        file.write(export.entry_lines([entry]))
    file.flush()


def _head(connection: Connection) -> Head:
    row = connection.execute(audit.head_now()).one()
    return Head(row.position, row.hash)


def _place(connection: Connection, position: int) -> Head:
    row = connection.execute(audit.hash_at(position)).first()
    if row is None:
        raise Misconfigured(f"--after {position}: there is no entry at this position.")
    return Head(row.position, row.hash)


def _noted(text: str) -> Head:
    position, _, digest = text.partition(":")
    if not position.isdecimal() or len(digest) != len(GENESIS.hash):
        raise click.BadParameter(f"{text!r} is not POSITION:HASH, as `audit verify` prints it", param_hint="--head")
    return Head(int(position), digest)


def _signed_heads(path: Path, trusted: str | None) -> list[SignedHead]:
    """A heads file that holds a bad signature proves nothing, so the log is not called sound by it."""
    if trusted is None:
        raise Misconfigured("--heads needs --public-key: anybody can sign with a key of their own.")
    try:
        with path.open("rb") as lines:
            return heads.read(lines, trusted)
    except BadHead as bad:
        _not_sound(f"{path}: {bad}.")


def _trusted_key(text: str | None) -> str | None:
    """As given, or the public half of the installation's own key."""
    try:
        if text is not None:
            return check_public_key(text)
    except BadSigningKey as error:
        raise Misconfigured(f"--public-key cannot be used: {error}") from None
    key = _signing_key()
    return None if key is None else key.public


def _signing_key() -> SigningKey | None:
    given = only(os.environ, "audit_signing_key")
    try:
        return None if given is None else SigningKey.parse(given.reveal())
    except BadSigningKey as error:
        raise Misconfigured(f"POINTSMAN_AUDIT_SIGNING_KEY cannot be used: {error}") from None
