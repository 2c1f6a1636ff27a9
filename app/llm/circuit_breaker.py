"""A circuit breaker: a provider that keeps failing is left alone for a while."""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable

import structlog

from app.core.completion import Completion
from app.core.errors import ProviderError, ProviderUnavailable
from app.llm.base import Call, LLMProvider, Wrapper
from app.observability.instruments import BREAKER_OPEN, BREAKER_REFUSALS, BREAKER_TENANTS_OPEN

MAX_TENANTS = 1000
"""Whose failures are remembered: the latest."""

logger = structlog.get_logger()


class CircuitBreaker(Wrapper):
    """Refuses for `seconds` after `failures` failures in a row, then lets one call through to try (0: never refuses).

    Only what speaks of the provider counts (`unhealthy`); all else shows that it works. The failures of one tenant
    close the provider to that tenant, which may have found a prompt that breaks it; those of several close it to all.

    A deadline belongs inside: what ends a call from outside is a cancellation, and says nothing about the provider.

    `label`: what metrics and logs call the model. `shown`: whether its circuits are in the metrics.
    """

    def __init__(
        self,
        provider: LLMProvider,
        failures: int,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        *,
        label: str = "",
        shown: bool = True,
    ) -> None:
        super().__init__(provider)
        self._label = label or provider.models[0]
        self._shown = shown
        self._limit = failures
        self._seconds = seconds
        self._clock = clock
        self._shared = self._circuit(shared=True)
        self._own: OrderedDict[str, _Circuit] = OrderedDict()
        self._show()

    async def complete(self, call: Call) -> Completion:
        if not self._limit:
            return await self.inner.complete(call)
        tenant = call.tenant_id
        trials = self._admit(tenant)
        try:
            completion = await self.inner.complete(call)
        except ProviderError as error:
            if error.unhealthy:
                self._broke(tenant, trials)
            else:
                self._worked(tenant, trials)
            raise
        finally:
            # A cancelled trial too makes room for the next.
            for circuit in trials:
                circuit.trying = False
        self._worked(tenant, trials)
        return completion

    def _circuit(self, *, shared: bool) -> "_Circuit":
        return _Circuit(self._limit, self._seconds, self._clock, shared=shared)

    def _admit(self, tenant: str) -> "list[_Circuit]":
        """The circuits that the call is the trial of; raises while one is open."""
        circuits = [self._shared, self._own[tenant]] if tenant in self._own else [self._shared]
        rest = max(circuit.rest() for circuit in circuits)
        if rest > 0:
            BREAKER_REFUSALS.add(self.name, self._label)
            error = ProviderUnavailable()
            error.retry_after = rest
            raise error
        trials = [circuit for circuit in circuits if circuit.open_until is not None]
        for circuit in trials:
            circuit.trying = True
        return trials

    def _worked(self, tenant: str, trials: "list[_Circuit]") -> None:
        if self._shared.worked(trial=self._shared in trials):
            logger.info("provider_circuit_closed", provider=self.name, model=self._label)
        own = self._own.get(tenant)
        if own is not None and own.worked(trial=own in trials):
            logger.info("provider_circuit_closed", provider=self.name, model=self._label, tenant_id=tenant)
        if own is not None and own.open_until is None:
            del self._own[tenant]
        if trials:
            self._show()

    def _broke(self, tenant: str, trials: "list[_Circuit]") -> None:
        if self._shared.broke(tenant, trial=self._shared in trials):
            self._own.clear()
            logger.warning("provider_circuit_opened", provider=self.name, model=self._label, seconds=self._seconds)
            self._show()
            return
        own = self._own.setdefault(tenant, self._circuit(shared=False))
        self._own.move_to_end(tenant)
        if own.broke(tenant, trial=own in trials):
            logger.warning(
                "provider_circuit_opened",
                provider=self.name,
                model=self._label,
                seconds=self._seconds,
                tenant_id=tenant,
            )
            self._show()
        if len(self._own) > MAX_TENANTS:
            self._own.popitem(last=False)

    def _show(self) -> None:
        if not self._shown:
            return
        BREAKER_OPEN.set(self._shared.open_until is not None, self.name, self._label)
        own = sum(circuit.open_until is not None for circuit in self._own.values())
        BREAKER_TENANTS_OPEN.set(own, self.name, self._label)


class _Circuit:
    """Closed while `open_until` is None. What began before it opened neither closes nor prolongs it.

    A shared one needs two tenants, and none of them counts for more than half.
    """

    def __init__(self, limit: int, seconds: float, clock: Callable[[], float], *, shared: bool) -> None:
        self.open_until: float | None = None
        self.trying = False
        self._limit = limit
        self._seconds = seconds
        self._clock = clock
        self._tenants, self._most = (2, (limit + 1) // 2) if shared else (1, limit)
        self._failures: Counter[str] = Counter()

    def rest(self) -> float:
        """The seconds for which it refuses. While a trial runs nobody knows; a second is not "at once"."""
        if self.open_until is None:
            return 0.0
        rest = self.open_until - self._clock()
        return max(rest, 1.0) if rest > 0 or self.trying else 0.0

    def worked(self, *, trial: bool) -> bool:
        """Whether this closed it."""
        if self.open_until is not None and not trial:
            return False
        self._failures.clear()
        self.open_until = None
        return trial

    def broke(self, tenant: str, *, trial: bool) -> bool:
        """Whether this opened it."""
        if self.open_until is not None and not trial:
            return False
        self._failures[tenant] += 1
        weight = sum(min(count, self._most) for count in self._failures.values())
        if trial or (weight >= self._limit and len(self._failures) >= self._tenants):
            self.open_until = self._clock() + self._seconds
            return True
        return False
