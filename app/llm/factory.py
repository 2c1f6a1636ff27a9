"""Makes what the catalogue names. An SDK is imported with its provider alone, at the start: it costs seconds."""

from typing import Any

from app.core.completion import Completion
from app.core.config import Settings
from app.core.settings.models import ProviderName
from app.llm.base import LONGEST_WAIT_SECONDS, Call, CallLimits, LLMProvider
from app.llm.catalogue import Catalogue, Model, Upstream, catalogue_of
from app.llm.circuit_breaker import CircuitBreaker
from app.llm.deadline import Deadline
from app.llm.mock import MockProvider
from app.llm.observed import Observed
from app.llm.router import Credentials, Router

LEAVE_TO_THE_NEXT = 0.0
"""Seconds of a Retry-After that are waited for where another upstream can be asked at once."""


def create_provider(settings: Settings, credentials: Credentials | None = None) -> Router:
    """What routes to the models of `LLM_MODELS`, or to that of `LLM_PROVIDER` with `LLM_FALLBACKS` behind it.

    `credentials`: where tenants' own are found.
    """
    catalogue = catalogue_of(settings)
    for provider in {upstream.provider for upstream in catalogue.upstreams}:
        _import(provider)

    def make(upstream: Upstream, model: Model) -> LLMProvider:
        return _bounded(settings, upstream, model)

    def guard(provider: LLMProvider, upstream: Upstream, everybodys: bool) -> LLMProvider:
        failures, seconds = settings.llm_breaker_failures, settings.llm_breaker_seconds
        return CircuitBreaker(provider, failures, seconds, label=upstream.label, shown=everybodys)

    return Router(catalogue, make, guard, credentials)


def parameters_of(settings: Settings, catalogue: Catalogue) -> dict[str, Any]:
    """All that an answer depends on beside its call, by the model that is asked."""
    return {
        model.name: {
            "upstreams": [[one.provider, one.model, one.base_url] for one in catalogue.reach(model)],
            "output_tokens": model.max_output_tokens,
            "context_tokens": model.context_tokens or settings.llm_context_tokens,
        }
        for model in catalogue.all
    }


def _bounded(settings: Settings, upstream: Upstream, model: Model) -> LLMProvider:
    timeout, silence = settings.llm_timeout_seconds, settings.llm_token_timeout_seconds
    alone = len(model.upstreams) == 1 and not model.fallbacks
    limits = CallLimits(
        timeout,
        max(timeout, silence),
        settings.llm_max_retries,
        model.max_output_tokens,
        LONGEST_WAIT_SECONDS if alone else LEAVE_TO_THE_NEXT,
        tuple(settings.webhook_allowed_networks),
    )
    asked = Unmade(settings, upstream, model, limits)
    provider: LLMProvider = Deadline(asked, timeout, silence, settings.longest_stream_seconds)
    return Observed(provider, upstream.label) if settings.is_observed else provider


class Unmade:
    """A provider that is made when it is asked for the first time: its client costs milliseconds and connections."""

    def __init__(self, settings: Settings, upstream: Upstream, model: Model, limits: CallLimits) -> None:
        self.name: str = upstream.provider
        self.models: tuple[str, ...] = (upstream.model,)
        self._settings = settings
        self._upstream = upstream
        self._model = model
        self._limits = limits
        self._made: LLMProvider | None = None

    async def complete(self, call: Call) -> Completion:
        if self._made is None:
            self._made = self._make()
        return await self._made.complete(call)

    def _make(self) -> LLMProvider:
        upstream, limits = self._upstream, self._limits
        key, base_url = upstream.api_key, upstream.base_url
        match upstream.provider:
            case "mock":
                settings = self._settings
                return MockProvider(settings.llm_mock_latency_seconds, upstream.model, settings.llm_mock_fail_every)
            case "openai":
                from app.llm.openai_compatible import OpenAICompatibleProvider

                return OpenAICompatibleProvider(key, base_url, upstream.model, limits)
            case "anthropic":
                from app.llm.anthropic import AnthropicProvider

                return AnthropicProvider(key, base_url, upstream.model, limits)
            case "ollama":
                from app.llm.ollama import OllamaProvider

                window = self._model.context_tokens or self._settings.llm_context_tokens + limits.output_tokens
                return OllamaProvider(base_url, upstream.model, limits, window)

    async def close(self) -> None:
        if self._made is not None:
            await self._made.close()


def _import(provider: ProviderName) -> None:
    match provider:
        case "openai":
            import app.llm.openai_compatible
        case "anthropic":
            import app.llm.anthropic
        case "ollama":
            import app.llm.ollama  # noqa: F401
        case "mock":
            pass
