"""A body of `POST /messages` as what is said to a model."""

from collections.abc import Sequence
from typing import Protocol

from app.cache.control import CacheControl
from app.core.items import Image, Item, Message, Part, Text, ToolResult, text_of
from app.schemas.message import MessageCreate
from app.schemas.message_items import PartAsked, TextPart
from app.services.prompts import Prompt


class ImagesOfRequest(Protocol):
    async def image_of(self, url: str) -> Image:
        """Raises `InvalidImage`."""
        ...


async def prompt_of(body: MessageCreate, images: ImagesOfRequest, cache: CacheControl, *, streams: bool) -> Prompt:
    """What it asks, its images decoded or fetched; raises `InvalidImage`."""
    content = None if body.content is None else await _said(body.content, images)
    items: tuple[Item, ...] = tuple(
        [ToolResult(each.call_id, await _said(each.content, images), each.failed) for each in body.tool_results or ()]
    )
    if content is not None and (items or not isinstance(content, str)):
        items = (*items, Message("user", content))
    return Prompt(
        "" if content is None else text_of(content),
        body.conversation_id,
        body.webhook_url,
        streams or body.background,
        body.background,
        cache,
        body.asked(),
        items,
        body.options(),
        body.model,
        metadata=body.metadata,
    )


async def _said(content: str | Sequence[PartAsked], images: ImagesOfRequest) -> str | tuple[Part, ...]:
    if isinstance(content, str):
        return content
    parts: list[Part] = [
        Text(part.text) if isinstance(part, TextPart) else await images.image_of(part.image_url.url) for part in content
    ]
    return tuple(parts)
