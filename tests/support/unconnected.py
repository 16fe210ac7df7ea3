"""The API as an application that is never started: for tests of what it says of itself."""

from litestar import Litestar

from api.app import create_app
from shared.encryption.keyring import new_key
from shared.runtime.settings import load


def unconnected_app() -> Litestar:
    """Its servers are nowhere: nothing is connected to before the start."""
    return create_app(
        load(
            {
                "POINTSMAN_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
                "POINTSMAN_REDIS_URL": "redis://127.0.0.1:1/0",
                "POINTSMAN_MASTER_KEY": "sk-of-the-tests-0123456789",
                "POINTSMAN_ENCRYPTION_KEYS": new_key("test"),
            }
        )
    )
