from app.core.config import Settings
from app.llm.base import LLMProvider
from app.llm.mock import MockProvider
from app.llm.openai_compatible import OpenAICompatibleProvider


def create_provider(settings: Settings) -> LLMProvider:
    """The provider that `LLM_PROVIDER` names."""
    match settings.llm_provider:
        case "mock":
            return MockProvider(settings.llm_mock_latency_seconds, settings.llm_model, settings.llm_mock_fail_every)
        case "openai":
            return OpenAICompatibleProvider(
                settings.openai_api_key.get_secret_value(),
                settings.openai_base_url,
                settings.llm_model,
                settings.llm_timeout_seconds,
                settings.llm_max_retries,
            )
