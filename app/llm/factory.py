"""Makes the providers that the settings name. An SDK is imported with its provider alone: it costs seconds."""

from app.core.config import ProviderName, Settings
from app.llm.base import LLMProvider
from app.llm.circuit_breaker import CircuitBreaker
from app.llm.deadline import Deadline
from app.llm.fallback import Fallback
from app.llm.mock import MockProvider


def create_provider(settings: Settings) -> LLMProvider:
    """The provider that `LLM_PROVIDER` names, and `LLM_FALLBACKS` behind it, each under its deadline and breaker."""
    chain = [_guarded(settings, name, model) for name, model in settings.providers()]
    return chain[0] if len(chain) == 1 else Fallback(chain)


def _guarded(settings: Settings, name: ProviderName, model: str) -> LLMProvider:
    provider = Deadline(
        _create(settings, name, model), settings.llm_timeout_seconds, settings.llm_token_timeout_seconds
    )
    return CircuitBreaker(provider, settings.llm_breaker_failures, settings.llm_breaker_seconds)


def _create(settings: Settings, name: ProviderName, model: str) -> LLMProvider:
    timeout, retries, most = settings.llm_timeout_seconds, settings.llm_max_retries, settings.llm_max_output_tokens
    match name:
        case "mock":
            return MockProvider(settings.llm_mock_latency_seconds, model, settings.llm_mock_fail_every)
        case "openai":
            from app.llm.openai_compatible import OpenAICompatibleProvider

            key = settings.openai_api_key.get_secret_value()
            return OpenAICompatibleProvider(key, settings.openai_base_url, model, timeout, retries, most)
        case "anthropic":
            from app.llm.anthropic import AnthropicProvider

            key = settings.anthropic_api_key.get_secret_value()
            return AnthropicProvider(key, settings.anthropic_base_url, model, timeout, retries, most)
        case "ollama":
            from app.llm.ollama import OllamaProvider

            context = settings.llm_context_tokens + most
            return OllamaProvider(settings.ollama_base_url, model, timeout, context, most)
