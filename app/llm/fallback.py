"""A chain of providers: the next one answers where one fails."""

from collections.abc import Sequence
from dataclasses import replace

import structlog

from app.core.completion import Completion
from app.core.errors import ProviderError
from app.core.items import Delta
from app.llm.base import Call, LLMProvider
from app.observability.instruments import FAILOVERS

MOST_BILLED = 2
"""So many providers may charge for one call: what is set aside for it covers no more."""
logger = structlog.get_logger()


class Fallback:
    """Asks the providers in order until one answers, or two have failed at a price.

    If none does, the first one's error is raised: it is the provider that the operator chose, so its error and its
    Retry-After tell the caller more than a stopgap's that is not even installed. The others are in the log.
    """

    def __init__(self, providers: Sequence[LLMProvider]) -> None:
        if not providers:
            raise ValueError("a fallback needs a provider")
        self._providers = tuple(providers)
        self.name = self._providers[0].name
        self.models = tuple(model for provider in self._providers for model in provider.models)

    async def complete(self, call: Call) -> Completion:
        began = False

        def hand_on(event: Delta) -> None:
            nonlocal began
            began = True
            assert call.on_event is not None
            call.on_event(event)

        handed = call if call.on_event is None else replace(call, on_event=hand_on)
        first: ProviderError | None = None
        for provider in self._providers:
            try:
                return await provider.complete(handed)
            except ProviderError as error:
                # The reader has the start of this answer; another one cannot follow it.
                if began:
                    raise
                first = first or error
                if sum(attempt.billed for attempt in call.attempts) >= MOST_BILLED:
                    break
                model = provider.models[0]
                FAILOVERS.add(provider.name, model)
                logger.warning("provider_failed_over", provider=provider.name, model=model, code=error.code)
        assert first is not None
        raise first

    async def close(self) -> None:
        for provider in self._providers:
            await provider.close()
