"""``/webhooks``: how callbacks are signed."""

from typing import Any

from litestar import Request, Router, get
from litestar.di import NamedDependency

from api.openapi import Answer, described
from api.presentation import refuse
from api.reads import Reads
from api.shapes import SigningSecret
from shared.domain.rights import Principal, authorise
from shared.encryption.keyring import Keyring
from shared.encryption.sealing import Binding, UnreadableField, open_text, seal_text
from shared.outbox.webhook import new_secret
from shared.store import outbox

_Request = Request[Principal, Any, Any]


@get(
    "/webhooks/secret",
    operation_class=described(
        {200: Answer(shape=SigningSecret, text="The caller's own secret.")}, problems=("not_permitted",)
    ),
    summary="Show the secret that signs your callbacks",
    tags=["webhooks"],
)
async def show_secret(
    request: _Request, reads: NamedDependency[Reads], keyring: NamedDependency[Keyring]
) -> dict[str, str]:
    """A Standard Webhooks secret, made once for each user. Verify `webhook-signature` with it."""
    authorise(request.user, "webhook_secret.read", "own")
    return {"secret": await _secret(request.user.user_id, reads, keyring)}


async def _secret(user_id: str, reads: Reads, keyring: Keyring) -> str:
    """Made when it is first asked for; of several that ask at the same time, the first one's stays."""
    binding = Binding("signing_secret", user_id)
    row = await reads.row(outbox.signing_secret_of(user_id))
    if row is None:
        await reads.write(outbox.add_signing_secret(user_id, seal_text(keyring, binding, new_secret(), "secret")))
        return await _secret(user_id, reads, keyring)
    try:
        return open_text(keyring, binding, row.secret, "secret")
    except UnreadableField as unreadable:
        refuse(unreadable)


router = Router("/", route_handlers=[show_secret])
