"""OpenAI through its official SDK, and any server that speaks its chat completions (`OPENAI_BASE_URL`)."""

import openai
import structlog
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam

from app.core.errors import ProviderError, ProviderRejected, ProviderTimeout, ProviderUnavailable
from app.llm.base import Completion, Turn

DEFAULT_MODEL = "gpt-4o-mini"
logger = structlog.get_logger()


class OpenAICompatibleProvider:
    """One client for the life of the process: making one costs milliseconds and its connections."""

    name = "openai"

    def __init__(self, api_key: str, base_url: str, model: str, timeout: float, max_retries: int) -> None:
        self._client = AsyncOpenAI(api_key=api_key, base_url=base_url or None, timeout=timeout, max_retries=max_retries)
        self._model = model or DEFAULT_MODEL

    async def complete(self, turns: list[Turn]) -> Completion:
        messages: list[ChatCompletionMessageParam] = [
            {"role": turn.role, "content": turn.content}  # type: ignore[misc]
            for turn in turns
        ]
        try:
            answer = await self._client.chat.completions.create(model=self._model, messages=messages)
            return _completion(answer, self._model)
        except openai.APIError as error:
            raise _translated(error) from None
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            # A server that is compatible in name only.
            logger.warning("provider_answer_unreadable", provider=self.name, error=type(error).__name__)
            raise ProviderError from None

    async def close(self) -> None:
        await self._client.close()


def _completion(answer: ChatCompletion, model: str) -> Completion:
    text = answer.choices[0].message.content
    if not isinstance(text, str):
        raise TypeError("no text in the answer")
    usage = answer.usage
    return Completion(
        text,
        answer.model or model,
        usage.prompt_tokens if usage else None,
        usage.completion_tokens if usage else None,
    )


def _translated(error: openai.APIError) -> ProviderError:
    """The domain's error. The provider's own message stays behind: it may quote the key or the prompt."""
    status = getattr(error, "status_code", None)
    logger.warning(
        "provider_error",
        provider="openai",
        error=type(error).__name__,
        provider_status=status,
        provider_request_id=getattr(error, "request_id", None),
    )
    if isinstance(error, openai.APITimeoutError):
        return ProviderTimeout()
    if isinstance(error, (openai.APIConnectionError, openai.RateLimitError)) or status == 503:
        return ProviderUnavailable()
    if isinstance(error, openai.APIStatusError) and error.status_code < 500:
        return ProviderRejected()
    return ProviderError()
