"""Pictures in requests: named where they stand, and looked at once the rest is known to be in order."""

from collections.abc import Sequence
from dataclasses import replace

from app.api.v1.fields import Fields
from app.core.errors import InvalidImage, InvalidRequest
from app.core.items import Image, Item, Message, Part, ToolResult
from app.llm.images import RequestImages

# An image's type while it is not looked at: this, and the place of its URL.
_AT = "at "


def image_at(fields: Fields, name: str, url: str | None = None) -> Image:
    """The picture of a URL, `data:` or https, which `seen` is to look at; None: the field itself is the URL."""
    return Image(f"{_AT}{fields.at(name)}", fields.required_text(name) if url is None else url)


async def seen(items: Sequence[Item], images: RequestImages) -> tuple[Item, ...]:
    """The items with their pictures, those that were looked at before as they are; raises `InvalidRequest`."""
    return tuple([await _seen(item, images) for item in items])


async def _seen(item: Item, images: RequestImages) -> Item:
    if not isinstance(item, Message | ToolResult) or isinstance(item.content, str):
        return item
    return replace(item, content=tuple([await _part(part, images) for part in item.content]))


async def _part(part: Part, images: RequestImages) -> Part:
    if not isinstance(part, Image) or not part.media_type.startswith(_AT):
        return part
    place = part.media_type.removeprefix(_AT)
    try:
        return await images.image_of(part.data)
    except InvalidImage as error:
        raise InvalidRequest(f"{place}: {error.detail}", place, "invalid_image") from None
