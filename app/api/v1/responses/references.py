"""Items that a request names by id: as they are stored, as far as the caller sees them.

A name takes thirty bytes, and what it names may take millions: together they are bounded as if they had been sent.
"""

from collections.abc import Callable, Mapping, Sequence

from app.api.v1.responses.ids import ItemId
from app.api.v1.responses.reading import Reference
from app.core.errors import InvalidRequest, NotFound
from app.core.items import Image, Item, Message, Reasoning, ToolResult, words_of
from app.messages.contents import output_of
from app.services.message_service import MessageService

MAX_MESSAGES = 200
MAX_BYTES = 32 * 2**20
"""Of what is named; what is read for it may be twice as much."""
Hold = Callable[[int], None]
"""Told of the bytes that are about to be held; it may refuse them."""


async def resolved(service: MessageService, items: Sequence[Item | Reference], hold: Hold) -> tuple[Item, ...]:
    """The items, the named ones found.

    Raises:
        InvalidRequest: for what is not there, the same for another tenant's, and for more than can be sent.
        InsufficientScope: a key that may not read names something.
    """
    if any(isinstance(item, Reference) for item in items):
        service.require_reading()
    stored = _Stored(service, hold)
    return tuple([await stored.find(item) if isinstance(item, Reference) else item for item in items])


class _Stored:
    """Each message is looked up once, and what is named of it weighs each time."""

    def __init__(self, service: MessageService, hold: Hold) -> None:
        self._service = service
        self._hold = hold
        self._found: dict[tuple[str, bool], Mapping[int, Item]] = {}
        self._named = self._read = 0

    async def find(self, reference: Reference) -> Item:
        try:
            items = await self._items(reference.id)
        except NotFound:
            items = {}
        item = items.get(reference.id.index)
        if item is None:
            raise InvalidRequest("There is no such item.", reference.at, code="not_found")
        size = _size_of(item)
        self._named += size
        if self._named > MAX_BYTES or self._read > 2 * MAX_BYTES:
            raise InvalidRequest("The items that are named are too large.", reference.at, code="request_too_large")
        self._hold(size)
        return item

    async def _items(self, named: ItemId) -> Mapping[int, Item]:
        key = (named.message_id, named.asked)
        if key not in self._found:
            if len(self._found) >= MAX_MESSAGES:
                raise NotFound
            if named.asked:
                found = (await self._service.request_of(named.message_id)).by_place
            else:
                found = dict(enumerate(output_of(await self._service.get(named.message_id))))
            self._found[key] = found
            self._read += sum(map(_size_of, found.values()))
        return self._found[key]


def _size_of(item: Item) -> int:
    """In characters, which is near enough to bytes."""
    size = len(words_of(item))
    if isinstance(item, Reasoning) and item.sealed:
        size += sum(len(str(value)) for value in item.sealed.values())
    content = item.content if isinstance(item, Message | ToolResult) else ""
    return size + sum(len(part.data) for part in content if isinstance(part, Image))
