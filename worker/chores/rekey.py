"""Seals every stored value anew with the key that writes, while everything else goes on.

It goes over all tables in rows' order of key, a stretch at a time, and again from the start until a whole pass has
found nothing: a change that was decided on old ciphertext may have put it back behind the cursor. Rows that somebody
holds are passed over, and met in the next pass. Whoever reads meanwhile finds values of both keys and can open both.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import structlog
from sqlalchemy import Connection

from shared.domain.encryption import RotateKeys, rotated
from shared.domain.problems import KeyringDiffers
from shared.encryption.keyring import Keyring
from shared.encryption.resealing import Resealer
from shared.store import sealed
from shared.store.chores import ClaimedChore
from shared.store.rows import packed
from shared.store.sealed import SEALED_TABLES, Key, SealedTable
from shared.store.unreadable import Place, note
from worker.chores.runner import Step

CHUNK_ROWS: Final = 250
# Under load a pass may always meet one more; what is left then is told, and a further rotation finds it.
MOST_PASSES: Final = 20

_log = structlog.get_logger(__name__)


class Cursor(msgspec.Struct, kw_only=True):
    """Where it goes on: behind the row ``after`` of table number ``table``, in pass number ``number``."""

    number: int = 1
    table: int = 0
    after: list[Any] | None = None
    done: int = 0
    total: int = 0
    values: int = 0
    rows: int = 0
    met: int = 0
    """Rows of this pass that were changed, or that somebody held."""
    unreadable: int = 0
    """Values of this pass that did not open."""


class Rekeying:
    """One chunk of ``encryption.rotate``."""

    def __init__(self, keyring: Keyring, chunk_rows: int = CHUNK_ROWS) -> None:
        self._keyring = keyring
        self._chunk_rows = chunk_rows

    def __call__(self, connection: Connection, task: ClaimedChore) -> Step:
        """Raises KeyringDiffers."""
        command = msgspec.convert(task.command, RotateKeys)
        if command.key_id != self._keyring.writing_key_id:
            raise KeyringDiffers(command.key_id, self._keyring.writing_key_id)
        cursor = _first(connection) if task.cursor is None else msgspec.convert(task.cursor, Cursor)
        place = SEALED_TABLES[cursor.table]
        keys = [
            place.key_of(row) for row in connection.execute(sealed.keys_after(place, cursor.after, self._chunk_rows))
        ]
        if keys:
            self._reseal(connection, place, keys, cursor)
            return _step(cursor)
        return self._next_table(cursor)

    def _reseal(self, connection: Connection, place: SealedTable, keys: Sequence[Key], cursor: Cursor) -> None:
        stretch = (place, keys[0], keys[-1], self._keyring.writing_key_id)
        stale = len(connection.execute(sealed.stale_between(*stretch)).all())
        locked = connection.execute(sealed.stale_between_locked(*stretch)).all()
        resealer = Resealer(self._keyring)
        anew = [values for row in locked if (values := sealed.resealed(place, row, resealer)) is not None]
        if anew:
            connection.execute(sealed.replace_sealed(place), anew)
            connection.execute(sealed.add_seals(self._keyring.writing_key_id, self._keyring.take_seal_count()))
        for unreadable in resealer.unreadable:
            _log.error("secret.unreadable", table=place.name, error=str(unreadable), key_id=unreadable.key_id)
        if resealer.unreadable:
            connection.execute(note(), packed(list({Place.of(unreadable) for unreadable in resealer.unreadable})))
        cursor.after = list(keys[-1])
        cursor.done += len(keys)
        cursor.values += resealer.resealed
        cursor.rows += len(anew)
        cursor.met += len(anew) + max(0, stale - len(locked))
        cursor.unreadable += len(resealer.unreadable)

    def _next_table(self, cursor: Cursor) -> Step:
        cursor.table += 1
        cursor.after = None
        if cursor.table < len(SEALED_TABLES):
            return _step(cursor)
        if cursor.met == 0 or cursor.number >= MOST_PASSES:
            return self._end(cursor)
        cursor.table = 0
        cursor.number += 1
        cursor.met = cursor.unreadable = 0
        return _step(cursor)

    def _end(self, cursor: Cursor) -> Step:
        outcome = {
            "sealed_with": self._keyring.writing_key_id,
            "values": cursor.values,
            "rows": cursor.rows,
            "passes": cursor.number,
            "unreadable": cursor.unreadable,
            "left": cursor.met,
        }
        cursor.total = max(cursor.done, 1)
        cursor.done = cursor.total
        return msgspec.structs.replace(_step(cursor), decision=rotated(outcome))


def _first(connection: Connection) -> Cursor:
    """A pass to change and one to find nothing; should it take more, the total grows with them."""
    rows = sum(connection.execute(sealed.count_rows(place)).scalar_one() for place in SEALED_TABLES)
    return Cursor(total=2 * rows)


def _step(cursor: Cursor) -> Step:
    total = max(cursor.total, cursor.done)
    return Step(cursor=msgspec.to_builtins(cursor), progress={"done": cursor.done, "total": total})
