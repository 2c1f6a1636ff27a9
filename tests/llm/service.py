"""The service over a provider of a test's own, which answers whatever model is asked for."""

from collections.abc import Mapping

from app.core.settings.models import Price
from app.llm.base import LLMProvider
from app.llm.catalogue import Catalogue, Model, Upstream
from app.llm.known_prices import Found
from app.llm.pricing import PriceTable
from app.services.llm_service import LLMService


def service_of(
    provider: LLMProvider, prices: Mapping[str, Price] | None = None, output_tokens: int = 100
) -> LLMService:
    """One model, as of the single-model settings; the provider's other models stand in for the first."""
    table = PriceTable(prices or {})
    first, *others = provider.models
    models = [Model(name, (_upstream(table, name),), output_tokens, listed=False, renames=False) for name in others]
    named = Model(first, (_upstream(table, first),), output_tokens, fallbacks=tuple(others), renames=False)
    return LLMService(provider, Catalogue([named, *models]), table)


def _upstream(table: PriceTable, name: str) -> Upstream:
    price = table.price_of(name)
    return Upstream(name, "mock", name, price=Found(price, "LLM_PRICES", name) if price else None)
