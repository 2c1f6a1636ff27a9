"""What a call may cost and what it did cost, in whole millionths of a US dollar."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from app.core.completion import Completion
from app.core.items import Image, Item, Options, Reasoning, ToolCall, words_of
from app.core.settings.models import Price, Rates

TOKENS_PER_PRICE = 1_000_000
# Tokenizers work on bytes: no text has more tokens than bytes. Roles and separators come on top, and once what the chat
# template of a model puts in front by itself: a system prompt, the date; and how tools are to be called.
MAX_TOKENS_PER_TURN_MARKER = 16
MAX_TOKENS_OF_TEMPLATE = 128
MAX_TOKENS_OF_TOOLS = 1024
MAX_TOKENS_PER_TOOL = 64
BYTES_PER_TOKEN = 4
DATE = re.compile(r"[-@](\d{4}-\d{2}-\d{2}|\d{8}|latest)\Z", re.ASCII)


def estimated_tokens(text: str) -> int:
    """About as many tokens as a common tokenizer makes; for what a provider did not count."""
    return -(-_bytes_of(text) // BYTES_PER_TOKEN)


def estimated_input(items: Sequence[Item], image_tokens: int = 0) -> int:
    words = sum(estimated_tokens(words_of(item)) for item in items)
    return words + images_in(items) * image_tokens


def estimated_request(items: Sequence[Item], options: Options, image_tokens: int = 0) -> int:
    """As `estimated_input`, with the tools and the schema that go along."""
    said = estimated_input(items, image_tokens)
    for tool in options.tools:
        said += estimated_tokens(tool.name + tool.description + _json(tool.parameters))
    if (form := options.output_format) is not None:
        said += estimated_tokens(form.name + form.description + _json(form.schema))
    return said


def most_input_tokens(items: Sequence[Item], options: Options | None = None, image_tokens: int = 0) -> int:
    """The most that a provider can count of them; `image_tokens`: the most for an image."""
    most = MAX_TOKENS_OF_TEMPLATE + images_in(items) * image_tokens
    most += sum(_bytes_of(words_of(item)) + _sealed(item) + MAX_TOKENS_PER_TURN_MARKER for item in items)
    if options is None:
        return most
    if options.tools:
        most += MAX_TOKENS_OF_TOOLS
        for tool in options.tools:
            most += _bytes_of(tool.name + tool.description) + _bytes_of_json(tool.parameters) + MAX_TOKENS_PER_TOOL
    if options.output_format is not None:
        form = options.output_format
        most += _bytes_of(form.name + form.description) + _bytes_of_json(form.schema) + MAX_TOKENS_PER_TOOL
    return most


def images_in(items: Sequence[Item]) -> int:
    contents = (item.content for item in items if not isinstance(item, ToolCall | Reasoning))
    return sum(isinstance(part, Image) for content in contents if not isinstance(content, str) for part in content)


def _sealed(item: Item) -> int:
    return _bytes_of_json(item.sealed) if isinstance(item, Reasoning) and item.sealed else 0


def _bytes_of_json(value: Any) -> int:
    return _bytes_of(_json(value))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _bytes_of(text: str) -> int:
    # A provider's piece may end with half a character; its other half may come or not.
    return len(text.encode("utf-8", "surrogatepass"))


class PriceTable:
    """Prices by model. A dated name (`-2026-01-01`, `-20260101`, `-latest`) has the price of the name without the date.

    No other ending is passed over: `-mini` and `-pro` are models of their own.
    """

    def __init__(self, prices: Mapping[str, Price]) -> None:
        self._prices = dict(prices)

    def price_of(self, model: str) -> Price | None:
        if model in self._prices:
            return self._prices[model]
        return self._prices.get(DATE.sub("", model))


def most(price: Price, input_tokens: int, output_tokens: int) -> int:
    """What a call costs at most that reads at most so many tokens: by the dearest tier that it may reach."""
    rates = price.reachable(input_tokens)
    # What the provider puts into its cache may cost more than what it only reads.
    read = max(max(rate.input, rate.written or 0, rate.cached or 0) for rate in rates)
    wrote = max(rate.output for rate in rates)
    return _whole(input_tokens * read + output_tokens * wrote)


def cost(rates: Rates, read: int, wrote: int, completion: Completion) -> int:
    """What so many tokens cost, of which the provider had some in its cache, or put them there."""
    cached = min(completion.cached_tokens or 0, read)
    written = min(completion.cache_write_tokens or 0, read - cached)
    total = (
        (read - cached - written) * rates.input
        + cached * (rates.input if rates.cached is None else rates.cached)
        + written * (rates.input if rates.written is None else rates.written)
        + wrote * rates.output
    )
    return _whole(total)


def counted(completion: Completion, items: Sequence[Item], thoughts: int = 0, image_tokens: int = 0) -> tuple[int, int]:
    """The tokens that a call read and wrote; what nobody counted is estimated, each of its `thoughts` as one."""
    read, wrote = completion.input_tokens, completion.output_tokens
    if read is None:
        read = estimated_input(items, image_tokens)
    if wrote is None:
        wrote = sum(estimated_tokens(words_of(item)) for item in completion.output) + thoughts
    return read, wrote


def _whole(total: int) -> int:
    return -(-total // TOKENS_PER_PRICE)
