"""Asks the model that a call names: one of its upstreams by their weights, then the others, then its fallbacks.

Each upstream has a deadline, a circuit breaker and connections of its own. They cost nothing until it is asked.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from app.core.completion import Completion
from app.core.errors import ProviderError
from app.llm.base import Attempt, Call, Credential, LLMProvider, Wrapper
from app.llm.catalogue import Catalogue, Model, Upstream
from app.llm.fallback import Fallback
from app.llm.needs import needs_of
from app.llm.own_accounts import OwnAccounts

Make = Callable[[Upstream, Model], LLMProvider]
"""A provider under its deadline."""
Credentials = Callable[[str, str], Awaitable[Credential | None]]
"""A tenant's own credential at an account; None: it has none there. Raises `ProviderError` for one that is no use."""
Guard = Callable[[LLMProvider, Upstream, bool], LLMProvider]
"""The same behind a breaker: everybody's, which is shown in the metrics, or one tenant's."""


class Router:
    def __init__(self, catalogue: Catalogue, make: Make, guard: Guard, credentials: Credentials | None = None) -> None:
        self.catalogue = catalogue
        self.name: str = catalogue.default.upstreams[0].provider
        self.models: tuple[str, ...] = tuple(upstream.label for upstream in catalogue.reach(catalogue.default))
        self._stations = {
            model.name: [
                Station(upstream, model, make(upstream, model), guard, credentials) for upstream in model.upstreams
            ]
            for model in catalogue.all
        }
        self._turns = {model.name: Turns([upstream.weight for upstream in model.upstreams]) for model in catalogue.all}

    async def complete(self, call: Call) -> Completion:
        stations = [station for model in candidates(self.catalogue, call) for station in self._in_turn(model)]
        return await (stations[0] if len(stations) == 1 else Fallback(stations)).complete(call)

    def _in_turn(self, model: Model) -> "list[Station]":
        stations = self._stations[model.name]
        return stations if len(stations) == 1 else [stations[index] for index in self._turns[model.name].next()]

    async def close(self) -> None:
        for stations in self._stations.values():
            for station in stations:
                await station.close()


def candidates(catalogue: Catalogue, call: Call) -> list[Model]:
    """The models that may answer, in order: the one that is named, and those of its fallbacks that can."""
    model = catalogue.named(call.model)
    others = [] if call.alone else catalogue.in_place_of(model, call.allowed)
    needs = needs_of(call.items, call.options) if others else set()
    return [model, *(other for other in others if needs <= other.capabilities)]


class Station(Wrapper):
    """One upstream on a call's way: notes that it was asked, and answers under the public name."""

    def __init__(
        self, upstream: Upstream, model: Model, provider: LLMProvider, guard: Guard, credentials: Credentials | None
    ) -> None:
        super().__init__(provider)
        self.models = (upstream.label,)
        self._upstream = upstream
        self._model = model
        self._guard = guard
        self._everybodys = guard(provider, upstream, True)
        self._own = OwnAccounts()
        self._credentials = credentials if upstream.account else None

    async def complete(self, call: Call) -> Completion:
        attempt = Attempt(self._upstream.label)
        call.attempts.append(attempt)
        try:
            completion = await self._asked(call)
        except ProviderError as error:
            attempt.answer, attempt.accepted = error.answer, error.accepted
            raise
        return replace(completion, model=self._model.name) if self._model.renames else completion

    async def _asked(self, call: Call) -> Completion:
        credential = None
        if self._credentials is not None:
            credential = await self._credentials(call.tenant_id, self._upstream.account)
        if credential is None:
            return await self._everybodys.complete(call)
        own = self._own.of(call.tenant_id, credential, lambda: self._guard(self.inner, self._upstream, False))
        return await own.complete(replace(call, credential=credential))


class Turns:
    """Takes turns by weight, evenly spread: of 3 and 1 it is A, A, B, A, and so on."""

    def __init__(self, weights: Sequence[int]) -> None:
        self._weights = weights
        self._due = [0] * len(weights)

    def next(self) -> list[int]:
        """Whose turn it is, and then the others, who is due next first."""
        self._due = [due + weight for due, weight in zip(self._due, self._weights, strict=True)]
        order = sorted(range(len(self._due)), key=lambda index: -self._due[index])
        self._due[order[0]] -= sum(self._weights)
        return order
