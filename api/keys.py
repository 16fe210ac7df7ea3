"""Keys as a principal may see them."""

import msgspec

from shared.domain.keys import Key
from shared.domain.rights import Principal
from shared.encryption.masking import without_secrets


def as_shown_to(principal: Principal, key: Key) -> Key:
    """What was sent may hold secrets, of callbacks for instance; they are for those who set them."""
    if principal.role == "proxy_admin" or key.user_id == principal.user_id or key.token == principal.key_id:
        return key
    return msgspec.structs.replace(key, metadata=without_secrets(key.metadata), settings=without_secrets(key.settings))
