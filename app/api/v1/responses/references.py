"""Items that a request names by id: as they are stored, as far as the caller sees them."""

from collections.abc import Sequence

from app.api.v1.responses.ids import ItemId
from app.api.v1.responses.reading import Reference
from app.core.errors import InvalidRequest, NotFound
from app.core.items import Item
from app.messages.contents import output_of
from app.services.message_service import MessageService

MAX_MESSAGES = 200


async def resolved(service: MessageService, items: Sequence[Item | Reference]) -> tuple[Item, ...]:
    """Raises `InvalidRequest` for what is not there, the same for another tenant's."""
    stored = _Stored(service)
    return tuple([await stored.find(item) if isinstance(item, Reference) else item for item in items])


class _Stored:
    """Each message is looked up once."""

    def __init__(self, service: MessageService) -> None:
        self._service = service
        self._found: dict[tuple[str, bool], Sequence[Item]] = {}

    async def find(self, reference: Reference) -> Item:
        try:
            items = await self._items(reference.id)
        except NotFound:
            items = ()
        if reference.id.index >= len(items):
            raise InvalidRequest("There is no such item.", reference.at, code="not_found")
        return items[reference.id.index]

    async def _items(self, named: ItemId) -> Sequence[Item]:
        key = (named.message_id, named.asked)
        if key not in self._found:
            if len(self._found) >= MAX_MESSAGES:
                raise NotFound
            if named.asked:
                self._found[key] = (await self._service.request_of(named.message_id)).items
            else:
                self._found[key] = output_of(await self._service.get(named.message_id))
        return self._found[key]
