"""The one way to a language model: a provider under a deadline."""

import asyncio

import structlog

from app.core.errors import ProviderError, ProviderTimeout
from app.llm.base import Completion, LLMProvider, Turn

logger = structlog.get_logger()


class LLMService:
    """Wraps the provider; `timeout` seconds bound a whole call, its retries included."""

    def __init__(self, provider: LLMProvider, timeout: float) -> None:
        self._provider = provider
        self._timeout = timeout

    @property
    def provider_name(self) -> str:
        return self._provider.name

    async def complete(self, turns: list[Turn]) -> Completion:
        """The provider's answer; every failure is a `ProviderError`."""
        try:
            async with asyncio.timeout(self._timeout):
                return await self._provider.complete(turns)
        except TimeoutError:
            raise ProviderTimeout from None
        except ProviderError:
            raise
        except Exception as error:
            # A defect of an adapter must not leave the message pending, nor its words reach the caller.
            logger.exception("provider_adapter_failed", provider=self._provider.name)
            raise ProviderError from error

    async def close(self) -> None:
        await self._provider.close()
