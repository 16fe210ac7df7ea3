"""The clock and the ids drawn from it: the only place where time and randomness enter."""

from datetime import UTC, datetime

import uuid_utils


def now() -> datetime:
    return datetime.now(UTC)


def new_id() -> str:
    """A UUIDv7 (RFC 9562): unique, and roughly in order of time, which keeps index pages warm."""
    return str(uuid_utils.uuid7())
