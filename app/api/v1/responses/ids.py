"""The ids of a response and of what is in it: all over the message's UUID, each with its kind in front.

`resp_<uuid>` is the message, `conv_<uuid>` a conversation. `msg_<uuid>_2` is the third item that the answer wrote,
`msg_<uuid>_i2` the third that it was asked with; `rs_` is reasoning, `fc_` and `fco_` a function's call and its output.
"""

import re
from dataclasses import dataclass

from app.core.errors import NotFound
from app.core.items import Item, Message, Reasoning, ToolCall
from app.services.response_events import RESPONSE

CONVERSATION = "conv_"
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_ITEM = re.compile(rf"(?:msg|rs|fc|fco)_({_UUID})_(i?)([0-9]{{1,6}})")


@dataclass(frozen=True, slots=True)
class ItemId:
    """An item by its message and its place there: among what the answer wrote, or what it was asked with."""

    message_id: str
    asked: bool
    index: int

    @classmethod
    def read(cls, value: str) -> "ItemId | None":
        found = _ITEM.fullmatch(value)
        return None if found is None else cls(found[1], bool(found[2]), int(found[3]))


def response_id(message_id: str) -> str:
    return RESPONSE + message_id


def message_id_of(value: str) -> str:
    """Raises `NotFound` for what no response of ours is called."""
    return _without(RESPONSE, value)


def conversation_id_of(value: str) -> str:
    """Raises `NotFound` for what no conversation of ours is called."""
    return _without(CONVERSATION, value)


def item_id(item: Item, message_id: str, index: int, *, asked: bool = False) -> str:
    match item:
        case Message():
            kind = "msg"
        case Reasoning():
            kind = "rs"
        case ToolCall():
            kind = "fc"
        case _:
            kind = "fco"
    return f"{kind}_{message_id}_{'i' if asked else ''}{index}"


def _without(kind: str, value: str) -> str:
    if not value.startswith(kind):
        raise NotFound
    return value.removeprefix(kind).lower()
