"""Counts, times and traces the calls of a provider."""

from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING

from app.core.completion import Completion
from app.core.errors import ProviderError
from app.core.items import AT_WORK, Delta
from app.llm.base import Call, LLMProvider, OnEvent, Wrapper
from app.observability import genai, tracing
from app.observability.instruments import FIRST_TOKEN_SECONDS, PROVIDER_CALLS, PROVIDER_SECONDS

if TYPE_CHECKING:
    from opentelemetry.trace import Span


class Observed(Wrapper):
    """Belongs inside the breaker, what that refuses is no call; and outside the deadline, which names every failure.

    `label`: what metrics call the model.
    """

    def __init__(self, provider: LLMProvider, label: str = "") -> None:
        super().__init__(provider)
        self._label = label or provider.models[0]

    async def complete(self, call: Call) -> Completion:
        model = self.models[0]
        asked: dict[str, str | bool] = {
            genai.OPERATION: genai.CHAT,
            genai.PROVIDER: self.name,
            genai.REQUEST_MODEL: model,
            genai.REQUEST_STREAM: call.on_event is not None,
        }
        began, outcome = perf_counter(), "cancelled"
        first = None
        if call.on_event is not None:
            first = _FirstPiece(call.on_event)
            call = replace(call, on_event=first.hear)
        with tracing.part(f"{genai.CHAT} {model}", asked) as span:
            try:
                completion = await self.inner.complete(call)
                outcome = "ok"
            except ProviderError as error:
                outcome = error.code
                tracing.failed(span, error.code)
                if error.answer is not None:
                    _describe(span, error.answer)
                raise
            else:
                _describe(span, completion)
                return completion
            finally:
                PROVIDER_CALLS.add(self.name, self._label, outcome)
                PROVIDER_SECONDS.observe(perf_counter() - began, self.name, self._label)
                if first is not None and first.heard:
                    FIRST_TOKEN_SECONDS.observe(first.heard - began, self.name, self._label)
                    if span is not None:
                        span.set_attribute(genai.TIME_TO_FIRST_CHUNK, first.heard - began)


class _FirstPiece:
    """Notes when the first piece came."""

    def __init__(self, on_event: OnEvent) -> None:
        self.heard = 0.0
        self._on_event = on_event

    def hear(self, event: Delta) -> None:
        if event is not AT_WORK and not self.heard:
            self.heard = perf_counter()
        self._on_event(event)


def _describe(span: "Span | None", answer: Completion) -> None:
    if span is None:
        return
    span.set_attribute(genai.RESPONSE_MODEL, answer.model)
    if answer.finish_reason is not None:
        span.set_attribute(genai.FINISH_REASONS, [answer.finish_reason.value])
    counts = {
        genai.INPUT_TOKENS: answer.input_tokens,
        genai.OUTPUT_TOKENS: answer.output_tokens,
        genai.CACHED_TOKENS: answer.cached_tokens,
    }
    for name, count in counts.items():
        if count is not None:
            span.set_attribute(name, count)
