"""What of a message is more than a plain text, as it is stored beside it: its request, and the items of its answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.core.item_json import items_from_json, items_to_json, options_from_json, options_to_json
from app.core.items import NO_OPTIONS, Item, Message, Options
from app.messages.log import Log, storable, storable_json
from app.models.rows import MessageRow

PLACES = "places"
"""Of items that were put into a conversation, and that no model was asked with: which they were at first."""


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked. `instructions` open this call alone; `extra` is what the interface wants back of its request."""

    items: tuple[Item, ...]
    options: Options = NO_OPTIONS
    instructions: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def is_added(self) -> bool:
        """Whether no model was asked, see `app.messages.added`."""
        return PLACES in self.extra

    @property
    def by_place(self) -> dict[int, Item]:
        return dict(zip(self.extra.get(PLACES, range(len(self.items))), self.items, strict=True))

    @classmethod
    def of(cls, content: str, stored: Mapping[str, Any] | None) -> "Request":
        """Of a row; a message without contents is a text."""
        if stored is None:
            return cls((Message("user", content),))
        return cls(
            items_from_json(stored["items"]) if "items" in stored else (Message("user", content),),
            options_from_json(stored.get("options", {})),
            stored.get("instructions", ""),
            stored.get("extra", {}),
        )

    def stored(self, content: str) -> dict[str, Any] | None:
        """What of it is stored beside the message; None: nothing, `content` is all of it."""
        kept: dict[str, Any] = {}
        if self.items != (Message("user", content),):
            kept["items"] = items_to_json(self.items)
        if self.options != NO_OPTIONS:
            kept["options"] = options_to_json(self.options)
        if self.instructions:
            kept["instructions"] = storable(self.instructions)
        if self.extra:
            kept["extra"] = self.extra
        return storable_json(kept) if kept else None


def log_of(row: MessageRow) -> Log:
    """All that the answer of a stored message is, in the order in which it came."""
    if row.output is None:
        return Log.of_pieces([("text", None, row.response)] if row.response else [])
    return _log_of(row.output)


def output_of(row: MessageRow) -> tuple[Item, ...]:
    return log_of(row).items()


def read_output(response: str, stored: Sequence[Mapping[str, Any]] | None) -> tuple[Item, ...]:
    """The items of an answer, by what is stored of it."""
    if stored is None:
        return (Message("assistant", response),) if response else ()
    return _log_of(stored).items()


def _log_of(stored: Sequence[Mapping[str, Any]]) -> Log:
    # Of a process that was killed there are the pieces that it had written.
    if stored and stored[0]["type"] == "piece":
        return Log.of_pieces((piece["kind"], piece["number"], piece["text"]) for piece in stored)
    return Log.of(items_from_json(stored))
