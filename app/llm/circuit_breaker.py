"""A circuit breaker: a provider that keeps failing is left alone for a while."""

import time
from collections.abc import Callable

import structlog

from app.core.completion import Completion
from app.core.errors import ProviderRejected, ProviderUnavailable
from app.llm.base import LLMProvider, OnText, Turn

logger = structlog.get_logger()


class CircuitBreaker:
    """Refuses for `seconds` after `failures` failures in a row, then lets one call through to try (0: never refuses).

    A rejected request is no failure: the provider works. A deadline belongs inside: what ends a call from outside
    is a cancellation, and says nothing about the provider.
    """

    def __init__(
        self, provider: LLMProvider, failures: int, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._provider = provider
        self._limit = failures
        self._seconds = seconds
        self._clock = clock
        self._failed = 0
        self._open_until: float | None = None
        self._trying = False
        self.name = provider.name
        self.models = provider.models

    async def complete(self, turns: list[Turn], on_text: OnText | None = None) -> Completion:
        if not self._limit:
            return await self._provider.complete(turns, on_text)
        trial = self._admit()
        try:
            completion = await self._provider.complete(turns, on_text)
        except ProviderRejected:
            self._worked(trial)
            raise
        except Exception:
            self._broke(trial)
            raise
        finally:
            # A cancelled trial too makes room for the next.
            if trial:
                self._trying = False
        self._worked(trial)
        return completion

    async def close(self) -> None:
        await self._provider.close()

    def _admit(self) -> bool:
        """Whether the call is the trial; raises while the circuit is open."""
        if self._open_until is None:
            return False
        rest = self._open_until - self._clock()
        if rest > 0 or self._trying:
            error = ProviderUnavailable()
            # While the trial runs nobody knows; a second is not "at once".
            error.retry_after = max(rest, 1.0)
            raise error
        self._trying = True
        return True

    def _worked(self, trial: bool) -> None:
        # What began before the circuit opened says nothing about now.
        if self._open_until is not None and not trial:
            return
        self._failed = 0
        if trial:
            self._open_until = None
            logger.info("provider_circuit_closed", provider=self.name)

    def _broke(self, trial: bool) -> None:
        if self._open_until is not None and not trial:
            return
        self._failed += 1
        if trial or self._failed >= self._limit:
            self._open_until = self._clock() + self._seconds
            logger.warning("provider_circuit_opened", provider=self.name, failures=self._failed, seconds=self._seconds)
