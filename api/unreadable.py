"""Stored secrets that do not open: each is told to the operator once, however often it is read."""

import structlog

from shared.encryption.sealing import UnreadableField

# So many places are remembered; what is beyond is told each time.
_MOST_REMEMBERED = 10_000

_log = structlog.get_logger(__name__)
_told: set[tuple[str, str, str, str]] = set()


def report(unreadable: UnreadableField) -> None:
    place = (unreadable.object_type, unreadable.object_id, unreadable.field, unreadable.key_id)
    if place in _told:
        return
    if len(_told) < _MOST_REMEMBERED:
        _told.add(place)
    _log.error(
        "secret.unreadable",
        object_type=unreadable.object_type,
        object_id=unreadable.object_id,
        field=unreadable.field,
        key_id=unreadable.key_id,
        reason=unreadable.reason,
        places=len(_told),
    )
