"""Who can ask, for tests that try the same as everybody: one more kind of key is one more line."""

from collections.abc import Callable, Mapping

from tests.conftest import MASTER_KEY

PRINCIPALS: Mapping[str, Callable[[], str]] = {"the master key": lambda: MASTER_KEY}
"""By name: makes the key of such a principal."""
