"""Where the price of a model comes from: the operator's settings, else the published prices that genai-prices brings.

Each upstream is looked up once, at the start, and what it was matched to is logged: the library matches by rules of
prefixes. It has its data within; nothing is fetched.
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from app.core.settings.models import Price, ProviderName, Tier
from app.llm.pricing import PriceTable

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice

# Of the others nobody publishes any: they run where they were installed.
PUBLISHED: frozenset[ProviderName] = frozenset(("openai", "anthropic"))
FIELDS = {"input": "input_mtok", "output": "output_mtok", "cached": "cache_read_mtok", "written": "cache_write_mtok"}
# A thought is output. Two models ask more for it.
ALSO_OUTPUT = ("output_reasoning_mtok",)
# What a call may be charged for beside its tokens, or in their place: a model with such a price has none here.
NOT_BY_TOKENS = ("requests_kcount", "input_mchars", "input_text_messages_kcount")
MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class Found:
    """`source`: who says so; `matched`: the model that it was taken for."""

    price: Price
    source: str
    matched: str


def price_of(
    table: PriceTable, name: str, provider: ProviderName, model: str, base_url: str, own: Price | None
) -> Found | None:
    """The price of an upstream of a public name; None: nobody knows it. `own`: that of its entry."""
    if own is not None:
        return Found(own, "LLM_MODELS", name)
    for asked in (name, model):
        if (price := table.price_of(asked)) is not None:
            return Found(price, "LLM_PRICES", asked)
    return _published(provider, model, base_url) if provider in PUBLISHED else None


def _published(provider: ProviderName, model: str, base_url: str) -> Found | None:
    """A server of another address has the prices of whom the address belongs to, if of anybody."""
    # Megabytes, for who has no price of its own.
    import genai_prices
    from genai_prices.data_snapshot import get_snapshot

    asked = (None, base_url) if base_url else (provider, None)
    try:
        seller, info = get_snapshot().find_provider_model(model, None, *asked)
    except LookupError:
        return None
    price = price_from(info, datetime.now(UTC))
    if price is None:
        return None
    return Found(price, f"genai-prices {genai_prices.__version__}", f"{seller.id}/{info.id}")


def price_from(info: "ModelInfo", now: datetime) -> Price | None:
    """In integers; where it depends on the time of day, the dearest of the next 24 hours."""
    hours = (info.get_prices(now + timedelta(minutes=30 * half)) for half in range(48))
    prices = list({id(price): price for price in hours}.values())
    if any(getattr(price, name) is not None for price in prices for name in NOT_BY_TOKENS):
        return None
    values = [getattr(price, field) for price in prices for field in (*FIELDS.values(), *ALSO_OUTPUT)]
    starts = sorted({tier.start for value in values for tier in getattr(value, "tiers", ())})
    try:
        tiers = tuple(Tier(above=start, **_rates(prices, start + 1)) for start in starts)
        return Price(**_rates(prices, 0), tiers=tiers or None)
    except ValueError:  # it has no price for what is read, or for what is written
        return None


def _rates(prices: "list[ModelPrice]", input_tokens: int) -> dict[str, int | None]:
    """Of a call with so many tokens of input: each the highest of the prices."""
    found: dict[str, int | None] = {}
    for name, field in FIELDS.items():
        fields = (field, *ALSO_OUTPUT) if name == "output" else (field,)
        said = [_at(getattr(price, one), input_tokens) for price in prices for one in fields]
        found[name] = max((one for one in said if one is not None), default=None)
    return found


def _at(value: Any, input_tokens: int) -> int | None:
    """In micro-USD for a million tokens, rounded up."""
    price = getattr(value, "base", value)
    for tier in getattr(value, "tiers", ()):
        price = tier.price if input_tokens > tier.start else price
    return None if price is None else math.ceil(price * MICRO)
