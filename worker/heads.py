"""Writes signed heads of the audit log out of the database, so that whoever rewrites the log there is found out."""

import fcntl
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy import Engine

from shared.audit import heads
from shared.audit.chain import Head
from shared.audit.heads import BadHead, SignedHead
from shared.encryption.signing import SigningKey
from shared.runtime.settings import Secret
from shared.store import audit
from worker.senders import transport
from worker.senders.connector import Connector, Undelivered

_HEADERS: Final = {"Content-Type": "application/json", "User-Agent": "Pointsman-Audit/1.0"}
# More than any line has.
_TAIL_BYTES: Final = 4096

_log = structlog.get_logger(__name__)


class HeadWriter:
    """Appends to a file, posts to a URL, or both; only when the log has grown. Each time it looks whether the entry
    that was signed last is still what it was."""

    def __init__(
        self,
        engine: Engine,
        key: SigningKey,
        clock: Callable[[], datetime],
        *,
        file: Path | None = None,
        url: Secret | None = None,
        connector: Connector,
    ) -> None:
        self._engine = engine
        self._key = key
        self._clock = clock
        self._file = file
        self._url = url
        self._connector = connector
        self._posted: Head | None = None

    def write(self) -> None:
        """Raises what the database raises; a file or a receiver that fails is logged, and tried again the next time."""
        head = self._head()
        if head.position == 0:
            return
        signed = heads.sign(head, self._key, self._clock())
        if self._file is not None:
            self._append(self._file, signed)
        if self._url is not None:
            self._post(self._url, signed)

    def _append(self, path: Path, signed: SignedHead) -> None:
        try:
            with path.open("a+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                last = _last_of(file.fileno())
                if self._has_grown(last, signed.head):
                    file.write(heads.line(signed))
                    file.flush()
                    os.fsync(file.fileno())
        except (OSError, BadHead) as error:
            _log.error("audit.head_not_written", path=str(path), error=str(error))

    def _post(self, url: Secret, signed: SignedHead) -> None:
        if not self._has_grown(self._posted, signed.head):
            return
        try:
            answer = transport.post(url.reveal(), heads.line(signed), _HEADERS, connector=self._connector)
        except Undelivered as undelivered:
            _log.error("audit.head_not_posted", error=str(undelivered))
            return
        if 200 <= answer.status < 300:
            self._posted = signed.head
        else:
            _log.error("audit.head_not_posted", error=f"answered {answer.status}")

    def _has_grown(self, last: Head | None, head: Head) -> bool:
        if last is None:
            return True
        if self._hash_at(last.position) != last.hash:
            _log.error("audit.rewritten", position=last.position, head_position=head.position)
            return False
        return head.position > last.position

    def _head(self) -> Head:
        with self._engine.begin() as connection:
            row = connection.execute(audit.head_now()).one()
        return Head(row.position, row.hash)

    def _hash_at(self, position: int) -> str | None:
        with self._engine.begin() as connection:
            row = connection.execute(audit.hash_at(position)).first()
        return None if row is None else row.hash


def _last_of(descriptor: int) -> Head | None:
    """The head in the file's last line. Raises BadHead, also for a line that was not written to its end."""
    size = os.fstat(descriptor).st_size
    if size == 0:
        return None
    tail = os.pread(descriptor, _TAIL_BYTES, max(0, size - _TAIL_BYTES))
    if not tail.endswith(b"\n"):
        raise BadHead("its last line has no end; remove that line")
    return heads.decode(tail.rstrip(b"\n").rpartition(b"\n")[2]).head
