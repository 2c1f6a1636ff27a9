"""Prices that others publish: the same as the library counts, in integers, and the dearest where it is not known."""

import math
from datetime import UTC, datetime, time
from decimal import Decimal

import pytest
from genai_prices import Usage, calc_price
from genai_prices.types import (
    ClauseEquals,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    StartDateConstraint,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
)

from app.core.completion import Completion
from app.core.settings.models import Price
from app.llm.known_prices import price_from, price_of
from app.llm.pricing import PriceTable, cost, most

NONE = PriceTable({})
NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("provider", "model"),
    [("openai", "gpt-4o-mini"), ("openai", "gpt-5"), ("openai", "o3"), ("anthropic", "claude-sonnet-4-5")],
)
@pytest.mark.parametrize("read", [1, 1000, 200_000, 200_001, 1_000_000])
def test_a_call_costs_what_the_library_says(provider: str, model: str, read: int) -> None:
    found = price_of(NONE, "public", provider, model, "", None)  # type: ignore[arg-type]
    assert found is not None
    usage = Usage(input_tokens=read, output_tokens=777, cache_read_tokens=read // 3, cache_write_tokens=read // 4)
    if provider == "openai":
        usage = Usage(input_tokens=read, output_tokens=777, cache_read_tokens=read // 3)
    theirs = calc_price(usage, model, provider_id=provider).total_price * 1_000_000
    written = 0 if provider == "openai" else read // 4
    answer = Completion("", model, read, 777, read // 3, cache_write_tokens=written)
    assert cost(found.price.rates(read), read, 777, answer) == math.ceil(theirs)
    assert most(found.price, read, 777) >= math.ceil(theirs)


def test_what_is_set_aside_is_the_dearest_that_can_be_reached() -> None:
    found = price_of(NONE, "public", "anthropic", "claude-sonnet-4-5", "", None)
    assert found is not None
    assert found.matched == "anthropic/claude-sonnet-4-5"
    small, large = most(found.price, 200_000, 1_000_000), most(found.price, 200_001, 1_000_000)
    assert (small, large) == (200_000 * 3.75 + 15_000_000, math.ceil(200_001 * 7.5) + 22_500_000)


def test_the_operators_prices_stand_above() -> None:
    mine, listed = Price(input=1, output=2), Price(input=3, output=4)
    table = PriceTable({"public": listed})
    assert price_of(table, "public", "openai", "gpt-4o-mini", "", mine).source == "LLM_MODELS"  # type: ignore[union-attr]
    by_name = price_of(table, "public", "openai", "gpt-4o-mini", "", None)
    by_model = price_of(PriceTable({"gpt-4o-mini": listed}), "x", "openai", "gpt-4o-mini-2024-07-18", "", None)
    assert [found and (found.price, found.source) for found in (by_name, by_model)] == [(listed, "LLM_PRICES")] * 2
    published = price_of(NONE, "public", "openai", "gpt-4o-mini", "", None)
    assert published is not None
    assert published.source.startswith("genai-prices ")
    assert (published.price.input, published.price.output) == (150_000, 600_000)


@pytest.mark.parametrize(
    ("provider", "model", "base_url"),
    [
        ("openai", "no-such-model", ""),
        ("openai", "gpt-4o-mini", "http://127.0.0.1:8000/v1"),
        ("ollama", "gpt-4o-mini", ""),
        ("mock", "gpt-4o-mini", ""),
    ],
)
def test_what_nobody_publishes_has_no_price(provider: str, model: str, base_url: str) -> None:
    assert price_of(NONE, "public", provider, model, base_url, None) is None  # type: ignore[arg-type]


def test_a_server_of_another_address_has_the_prices_of_whom_it_belongs_to() -> None:
    groq = price_of(NONE, "x", "openai", "llama-3.3-70b-versatile", "https://api.groq.com/openai/v1", None)
    assert groq is not None
    assert groq.matched.startswith("groq/")


def info(*prices: ConditionalPrice) -> ModelInfo:
    return ModelInfo(id="m", match=ClauseEquals(equals="m"), prices=list(prices))


def mtok(**prices: str) -> ModelPrice:
    return ModelPrice(**{f"{name}_mtok": Decimal(price) for name, price in prices.items()})


def test_by_the_time_of_day_the_dearest_counts_and_by_the_date_that_of_today() -> None:
    night = TimeOfDateConstraint(start_time=time(16, 30), end_time=time(0, 30))
    priced = info(
        ConditionalPrice(prices=mtok(input="9", output="9")),
        ConditionalPrice(
            constraint=StartDateConstraint(start_date=datetime(2026, 1, 1, tzinfo=UTC).date()),
            prices=mtok(input="0.25", output="2", cache_read="0.1"),
        ),
        ConditionalPrice(constraint=night, prices=mtok(input="0.5", output="1", cache_read="0.05")),
    )
    assert price_from(priced, NOON) == Price(input=500_000, output=2_000_000, cached=100_000)


def test_thoughts_are_output_and_prices_are_rounded_up() -> None:
    priced = info(ConditionalPrice(prices=mtok(input="0.0000001", output="1", output_reasoning="3")))
    assert price_from(priced, NOON) == Price(input=1, output=3_000_000)


def test_tiers_that_begin_apart_are_told_apart() -> None:
    tiered = ModelPrice(
        input_mtok=TieredPrices(base=Decimal(1), tiers=[Tier(start=100, price=Decimal(2))]),
        output_mtok=TieredPrices(base=Decimal(3), tiers=[Tier(start=200, price=Decimal(4))]),
    )
    price = price_from(info(ConditionalPrice(prices=tiered)), NOON)
    assert price is not None
    found = [(rate.input // 10**6, rate.output // 10**6) for rate in map(price.rates, (100, 101, 200, 201))]
    assert found == [(1, 3), (2, 3), (2, 3), (2, 4)]


@pytest.mark.parametrize("prices", [{"input": "1"}, {"output": "1"}, {}])
def test_half_a_price_is_none(prices: dict[str, str]) -> None:
    assert price_from(info(ConditionalPrice(prices=mtok(**prices))), NOON) is None


def test_what_is_charged_by_the_request_has_no_price_by_tokens() -> None:
    priced = ModelPrice(input_mtok=Decimal(1), output_mtok=Decimal(1), requests_kcount=Decimal(5))
    assert price_from(info(ConditionalPrice(prices=priced)), NOON) is None
