"""The one way to a language model: the provider that the settings name, and what it costs."""

from collections.abc import Sequence

from app.core.completion import Completion
from app.core.items import Item, Message, text_of
from app.llm.base import Call, LLMProvider
from app.llm.pricing import PriceTable, most_input_tokens


class LLMService:
    """Wraps the provider, which holds its own deadline, breaker and fallbacks."""

    def __init__(self, provider: LLMProvider, prices: PriceTable, max_output_tokens: int) -> None:
        self._provider = provider
        self._prices = prices
        self._max_output_tokens = max_output_tokens

    @property
    def provider_name(self) -> str:
        return self._provider.name

    async def complete(self, call: Call) -> Completion:
        """The provider's answer; every failure is a `ProviderError`."""
        return await self._provider.complete(call)

    def most_cost(self, call: Call) -> int | None:
        """The most that answering can cost, in micro-USD; None if a model that may answer has no price."""
        return self._prices.most(self._provider.models, most_input_tokens(call.items), self._max_output_tokens)

    def cost(self, completion: Completion, call: Call, thoughts: int = 0) -> int | None:
        """In micro-USD; None without a price. Of what nobody counted each of its `thoughts` is a token, about."""
        return self._prices.cost(completion, call.items, self._provider.models, thoughts)

    def partial(self, call: Call, output: Sequence[Item]) -> Completion:
        """What a call produced that did not come to its end, as far as we know."""
        text = "".join(text_of(item.content) for item in output if isinstance(item, Message))
        return Completion(text, call.model or self._provider.models[0], items=tuple(output))

    def asked_for(self, model: str | None) -> str:
        """The model that is configured for the one that answered, under a name that is the provider's word."""
        names = [name for name in self._provider.models if model is not None and model.startswith(name)]
        return max(names, key=len, default=self._provider.models[0])

    async def close(self) -> None:
        await self._provider.close()
