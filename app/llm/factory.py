"""Makes the providers that the settings name. An SDK is imported with its provider alone: it costs seconds."""

from typing import Any

from app.core.config import Settings
from app.core.settings.llm import ProviderName
from app.llm.base import LONGEST_WAIT_SECONDS, CallLimits, LLMProvider
from app.llm.circuit_breaker import CircuitBreaker
from app.llm.deadline import Deadline
from app.llm.fallback import Fallback
from app.llm.mock import MockProvider
from app.llm.observed import Observed

LEAVE_TO_THE_NEXT = 0.0
"""Seconds of a Retry-After that are waited for where another provider can be asked at once."""


def create_provider(settings: Settings) -> LLMProvider:
    """The provider that `LLM_PROVIDER` names, and `LLM_FALLBACKS` behind it, each under its deadline and breaker."""
    *first, last = settings.providers()
    chain = [_guarded(settings, name, model, LEAVE_TO_THE_NEXT) for name, model in first]
    chain.append(_guarded(settings, *last, LONGEST_WAIT_SECONDS))
    return chain[0] if len(chain) == 1 else Fallback(chain)


def parameters_of(settings: Settings, provider: LLMProvider) -> dict[str, Any]:
    """All that an answer depends on beside its call."""
    addresses = [settings.openai_base_url, settings.anthropic_base_url, settings.ollama_base_url]
    return {
        "providers": [name for name, _ in settings.providers()],
        "models": provider.models,
        "addresses": addresses,
        "output_tokens": settings.llm_max_output_tokens,
        "context_tokens": settings.llm_context_tokens,
    }


def _guarded(settings: Settings, name: ProviderName, model: str, longest_wait: float) -> LLMProvider:
    timeout, silence = settings.llm_timeout_seconds, settings.llm_token_timeout_seconds
    limits = CallLimits(
        timeout,
        max(timeout, silence),
        settings.llm_max_retries,
        settings.llm_max_output_tokens,
        longest_wait,
    )
    provider: LLMProvider = Deadline(
        _create(settings, name, model, limits), timeout, silence, settings.longest_stream_seconds
    )
    if settings.is_observed:
        provider = Observed(provider)
    return CircuitBreaker(provider, settings.llm_breaker_failures, settings.llm_breaker_seconds)


def _create(settings: Settings, name: ProviderName, model: str, limits: CallLimits) -> LLMProvider:
    match name:
        case "mock":
            return MockProvider(settings.llm_mock_latency_seconds, model, settings.llm_mock_fail_every)
        case "openai":
            from app.llm.openai_compatible import OpenAICompatibleProvider

            key = settings.openai_api_key.get_secret_value()
            return OpenAICompatibleProvider(key, settings.openai_base_url, model, limits)
        case "anthropic":
            from app.llm.anthropic import AnthropicProvider

            key = settings.anthropic_api_key.get_secret_value()
            return AnthropicProvider(key, settings.anthropic_base_url, model, limits)
        case "ollama":
            from app.llm.ollama import OllamaProvider

            context = settings.llm_context_tokens + limits.output_tokens
            return OllamaProvider(settings.ollama_base_url, model, limits, context)
