"""What a call may cost and what it did cost, in whole millionths of a US dollar."""

from collections.abc import Mapping, Sequence

from app.core.config import Price
from app.llm.base import Completion, Turn

TOKENS_PER_PRICE = 1_000_000
# Tokenizers work on bytes: no text has more tokens than bytes. Roles and separators come on top, and once what the chat
# template of a model puts in front by itself: a system prompt, the date.
MAX_TOKENS_PER_TURN_MARKER = 16
MAX_TOKENS_OF_TEMPLATE = 128
BYTES_PER_TOKEN = 4


def estimated_tokens(text: str) -> int:
    """About as many tokens as a common tokenizer makes; for what a provider did not count."""
    return -(-len(text.encode()) // BYTES_PER_TOKEN)


def most_input_tokens(turns: Sequence[Turn]) -> int:
    return MAX_TOKENS_OF_TEMPLATE + sum(len(turn.content.encode()) + MAX_TOKENS_PER_TURN_MARKER for turn in turns)


class PriceTable:
    """Prices by model. A dated name (`model-2026-01-01`) has the price of the longest name that begins it."""

    def __init__(self, prices: Mapping[str, Price]) -> None:
        self._prices = dict(prices)

    def price_of(self, model: str) -> Price | None:
        if model in self._prices:
            return self._prices[model]
        names = [name for name in self._prices if model.startswith(f"{name}-")]
        return self._prices[max(names, key=len)] if names else None

    def most(self, models: Sequence[str], input_tokens: int, output_tokens: int) -> int | None:
        """The most that a call can cost, whichever of the models answers; None if one of them has no price."""
        prices = [self.price_of(model) for model in models]
        costs = [_cost(price, input_tokens, 0, output_tokens) for price in prices if price]
        return max(costs) if costs and len(costs) == len(prices) else None

    def cost(self, completion: Completion, turns: Sequence[Turn], asked: Sequence[str]) -> int | None:
        """What the call cost; None if its model has no price. Tokens that nobody counted are estimated."""
        price = self.price_of(completion.model) or next(filter(None, map(self.price_of, asked)), None)
        if price is None:
            return None
        read, wrote = completion.input_tokens, completion.output_tokens
        if read is None:
            read = sum(estimated_tokens(turn.content) for turn in turns)
        if wrote is None:
            wrote = estimated_tokens(completion.text)
        return _cost(price, read, min(completion.cached_tokens or 0, read), wrote)


def _cost(price: Price, input_tokens: int, cached_tokens: int, output_tokens: int) -> int:
    cached_price = price.input if price.cached is None else price.cached
    total = (input_tokens - cached_tokens) * price.input + cached_tokens * cached_price + output_tokens * price.output
    return -(-total // TOKENS_PER_PRICE)
