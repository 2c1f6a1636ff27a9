"""A body of `POST /messages` as what is said to a model."""

from collections.abc import Sequence

from app.cache.control import CacheControl
from app.core.items import Item, Message, Part, Text, ToolResult, text_of
from app.schemas.message import MessageCreate
from app.schemas.message_items import PartAsked
from app.services.prompts import Prompt


def prompt_of(body: MessageCreate, cache: CacheControl, *, streams: bool) -> Prompt:
    """What it asks."""
    content = None if body.content is None else _said(body.content)
    items: tuple[Item, ...] = tuple(
        [ToolResult(each.call_id, _said(each.content), each.failed) for each in body.tool_results or ()]
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


def _said(content: str | Sequence[PartAsked]) -> str | tuple[Part, ...]:
    return content if isinstance(content, str) else tuple(Text(part.text) for part in content)
