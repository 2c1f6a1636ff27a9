"""What a call may cost and what it did cost, in whole millionths of a US dollar."""

import re
from collections.abc import Mapping, Sequence

from app.core.completion import Completion
from app.core.items import Item, words_of
from app.core.settings.llm import Price

TOKENS_PER_PRICE = 1_000_000
# Tokenizers work on bytes: no text has more tokens than bytes. Roles and separators come on top, and once what the chat
# template of a model puts in front by itself: a system prompt, the date.
MAX_TOKENS_PER_TURN_MARKER = 16
MAX_TOKENS_OF_TEMPLATE = 128
BYTES_PER_TOKEN = 4
DATE = re.compile(r"[-@](\d{4}-\d{2}-\d{2}|\d{8}|latest)\Z", re.ASCII)


def estimated_tokens(text: str) -> int:
    """About as many tokens as a common tokenizer makes; for what a provider did not count."""
    return -(-_bytes_of(text) // BYTES_PER_TOKEN)


def most_input_tokens(turns: Sequence[Item]) -> int:
    return MAX_TOKENS_OF_TEMPLATE + sum(_bytes_of(words_of(item)) + MAX_TOKENS_PER_TURN_MARKER for item in turns)


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

    def most(self, models: Sequence[str], input_tokens: int, output_tokens: int) -> int | None:
        """The most that a call can cost, whichever of the models answers; None if one of them has no price."""
        prices = [self.price_of(model) for model in models]
        costs = [_cost(price, input_tokens, 0, output_tokens) for price in prices if price]
        return max(costs) if costs and len(costs) == len(prices) else None

    def cost(
        self, completion: Completion, turns: Sequence[Item], asked: Sequence[str], thoughts: int = 0
    ) -> int | None:
        """What the call cost; None if its model has no price. Tokens that nobody counted are estimated."""
        price = self.price_of(completion.model) or next(filter(None, map(self.price_of, asked)), None)
        if price is None:
            return None
        read, wrote = completion.input_tokens, completion.output_tokens
        if read is None:
            read = sum(estimated_tokens(words_of(item)) for item in turns)
        if wrote is None:
            wrote = sum(estimated_tokens(words_of(item)) for item in completion.output) + thoughts
        return _cost(price, read, min(completion.cached_tokens or 0, read), wrote)


def _cost(price: Price, input_tokens: int, cached_tokens: int, output_tokens: int) -> int:
    cached_price = price.input if price.cached is None else price.cached
    total = (input_tokens - cached_tokens) * price.input + cached_tokens * cached_price + output_tokens * price.output
    return -(-total // TOKENS_PER_PRICE)
