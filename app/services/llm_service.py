"""The one way to a language model: which model a caller gets, what it is asked, and what that costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from app.core.completion import Completion
from app.core.errors import ProviderError
from app.core.items import Item, Message
from app.core.settings.models import Price, Rates
from app.llm import policy, pricing
from app.llm.base import Attempt, Call, LLMProvider
from app.llm.catalogue import Catalogue, Model, Upstream
from app.llm.fallback import MOST_BILLED
from app.llm.policy import ANYTHING, ModelPolicy
from app.llm.pricing import PriceTable
from app.llm.router import candidates

logger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Charge:
    """In micro-USD, None without a price; and by which price, as it is stored. `tokens`: in and out; None: unknown."""

    micro_usd: int | None
    price: dict[str, Any] | None = None
    tokens: int | None = None


class LLMService:
    """Wraps the provider, which holds its own deadlines, breakers and fallbacks.

    `prices`: of models by what a provider calls them, where nobody chose a public name.
    """

    def __init__(self, provider: LLMProvider, catalogue: Catalogue, prices: PriceTable) -> None:
        self.catalogue = catalogue
        self._provider = provider
        self._prices = prices
        self._upstreams = {upstream.label: (model, upstream) for model in catalogue.all for upstream in model.upstreams}

    @property
    def provider_name(self) -> str:
        return self._provider.name

    async def complete(self, call: Call) -> Completion:
        """The provider's answer; every failure is a `ProviderError`."""
        try:
            return await self._provider.complete(call)
        except ProviderError as error:
            if not call.attempts:
                call.attempts.append(Attempt(self._asked(call)[1].label, error.answer, error.accepted))
            raise

    def tell(self) -> None:
        """Log, of each place that is asked, by which price: published ones are found by rules of prefixes."""
        for model in self.catalogue.all:
            for upstream in model.upstreams:
                found = upstream.price
                told = _told(found.price.rates(0)) | {"tiers": len(found.price.tiers or ())} if found else {}
                logger.info(
                    "model_offered",
                    model=upstream.label,
                    provider=upstream.provider,
                    upstream=upstream.model,
                    price_source=found.source if found else None,
                    matched=found.matched if found else None,
                    **told,
                )

    # --- before a call

    def model_for(self, name: str, of_tenant: ModelPolicy = ANYTHING, of_key: frozenset[str] | None = None) -> Model:
        """The model that a caller asks for by its public name; "": its default. Raises `ModelNotFound`."""
        return policy.chosen(self.catalogue, name, of_tenant, of_key)

    def most_cost(self, call: Call) -> int | None:
        """The most that answering can cost, in micro-USD; None if an upstream that may answer has no price.

        Where one may fail at a price and another answer, it is that of the two dearest.
        """
        costs: list[int | None] = []
        for model in candidates(self.catalogue, call):
            read = _most_input(model, call)
            costs += [_most(model, upstream, call, read) for upstream in model.upstreams]
        known = sorted((cost for cost in costs if cost is not None), reverse=True)
        return sum(known[:MOST_BILLED]) if len(known) == len(costs) else None

    def estimate(self, call: Call) -> int:
        """About as many tokens as answering may come to: what is read, and the most that may be written."""
        model = self.catalogue.named(call.model)
        return pricing.estimated_request(call.items, call.options, model.image_tokens) + _most_output(model, call)

    # --- after it

    def charge(self, completion: Completion, call: Call, thoughts: int = 0) -> Charge:
        """What the call cost, with what failed at a price on its way; None without a price.

        Of what nobody counted each of its `thoughts` is a token, about.
        """
        return self._sum([*self._before(call), self._answered(self._asked(call), completion, call, thoughts)])

    def spent(self, call: Call, answer: Completion | None = None, thoughts: int = 0) -> Charge:
        """What a call cost that failed: None where nothing was charged for. `answer`: what was counted all the same."""
        if answer is not None and all(attempt.answer is not answer for attempt in call.attempts):
            return self.charge(answer, call, thoughts)  # it came, and was not taken
        return self._sum([self._failed(attempt, call, thoughts) for attempt in call.attempts if attempt.billed])

    def unseen(self, call: Call) -> Charge:
        """What a call costs that was stopped and whose answer nobody saw: what was set aside for it."""
        model, upstream = self._asked(call)
        most = Charge(_most(model, upstream, call, _most_input(model, call)))
        return self._sum([*self._before(call), most])

    def partial(self, call: Call, output: Sequence[Item]) -> Completion:
        """What a call produced that did not come to its end, as far as we know."""
        model, upstream = self._asked(call)
        text = "".join(item.text for item in output if isinstance(item, Message))
        return Completion(text, model.name if model.renames else upstream.model, items=tuple(output))

    def asked_for(self, model: str | None) -> str:
        """The configured model for the one that answered, under a name that may be the provider's word."""
        if model is not None and self.catalogue.find(model) is not None:
            return model
        names = [upstream.model for upstream in self.catalogue.upstreams if (model or "").startswith(upstream.model)]
        return max(names, key=len, default=self.catalogue.default.name)

    # ---

    def _asked(self, call: Call) -> tuple[Model, Upstream]:
        """Who is at work on it, or was last."""
        if call.attempts:
            return self._upstreams[call.attempts[-1].upstream]
        model = self.catalogue.named(call.model)
        return model, model.upstreams[0]

    def _before(self, call: Call) -> list[Charge]:
        """What failed at a price before the last attempt."""
        return [self._failed(attempt, call) for attempt in call.attempts[:-1] if attempt.billed]

    def _failed(self, attempt: Attempt, call: Call, thoughts: int = 0) -> Charge:
        """What an attempt cost that failed: what it had counted, or what was set aside for it."""
        asked = self._upstreams[attempt.upstream]
        if attempt.answer is not None:
            return self._answered(asked, attempt.answer, call, thoughts)
        model, upstream = asked
        return Charge(_most(model, upstream, call, _most_input(model, call)))

    def _answered(self, asked: tuple[Model, Upstream], answer: Completion, call: Call, thoughts: int) -> Charge:
        model, upstream = asked
        price, source = self._price_of(model, upstream, answer)
        read, wrote = pricing.counted(answer, call.items, thoughts, model.image_tokens)
        if price is None:
            return Charge(None, tokens=read + wrote)
        rates = price.rates(read)
        told = {"model": upstream.model, "source": source, **_told(rates)}
        return Charge(pricing.cost(rates, read, wrote, answer), told, read + wrote)

    def _price_of(self, model: Model, upstream: Upstream, answer: Completion) -> tuple[Price | None, str]:
        """Where the operator chose no public name, what answered may have a price by what its provider calls it."""
        by_its_word = None if model.renames else self._prices.price_of(answer.model)
        if by_its_word is not None:
            return by_its_word, "LLM_PRICES"
        found = upstream.price
        return (found.price, found.source) if found else (None, "")

    def _sum(self, charges: Sequence[Charge]) -> Charge:
        """None if nothing was charged for, or something without a price."""
        costs = [charge.micro_usd for charge in charges if charge.micro_usd is not None]
        tokens = [charge.tokens for charge in charges if charge.tokens is not None]
        used = sum(tokens) if len(tokens) == len(charges) else None
        if not costs or len(costs) < len(charges):
            return Charge(None, tokens=used)
        return Charge(sum(costs), charges[-1].price, used)

    async def close(self) -> None:
        await self._provider.close()


def _most_input(model: Model, call: Call) -> int:
    return pricing.most_input_tokens(call.items, call.options, model.image_tokens)


def _most(model: Model, upstream: Upstream, call: Call, read: int) -> int | None:
    if upstream.price is None:
        return None
    return pricing.most(upstream.price.price, read, _most_output(model, call))


def _most_output(model: Model, call: Call) -> int:
    return min(call.options.max_output_tokens or model.max_output_tokens, model.max_output_tokens)


def _told(rates: Rates) -> dict[str, Any]:
    return rates.model_dump(exclude_none=True, exclude={"tiers"})
