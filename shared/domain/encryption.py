"""What changing the encryption key means. The work itself is a chore: it touches every sealed value there is."""

import msgspec

from shared.domain.decision import Change, Context, Decision, Document, Event, ObjectRef, State
from shared.domain.tasks import Lines

OBJECT_TYPE = "encryption"
OBJECT_ID = "keyring"


class RotateKeys(msgspec.Struct, frozen=True, kw_only=True, tag="encryption.rotate", tag_field="operation"):
    """Seal everything anew with this key, which wrote when the task was accepted."""

    schema: int = 1
    key_id: str


def touched(_command: RotateKeys) -> tuple[ObjectRef, ...]:
    return (ObjectRef(OBJECT_TYPE, OBJECT_ID),)


def check(_command: RotateKeys, _lines: Lines, _context: Context) -> None:
    """A second one waits for the first, and then finds nothing to do."""


def decide(_state: State, _command: RotateKeys, _context: Context) -> Decision:
    raise NotImplementedError("a chore is carried out in chunks, not decided")


def rotated(outcome: Document) -> Decision:
    """The end of it. ``outcome`` holds numbers and the key's id, and no object's state has changed."""
    change = Change(action="rotated", object_type=OBJECT_TYPE, object_id=OBJECT_ID, before=None, after=outcome)
    event = Event(type="encryption.rotated", object_type=OBJECT_TYPE, object_id=OBJECT_ID, data=outcome)
    return Decision(objects={}, changes=(change,), events=(event,), result=outcome)
