"""A deadline: for a whole call, and for the silences of a streamed one."""

import asyncio
from dataclasses import replace
from typing import Self

import structlog

from app.core.completion import Completion
from app.core.errors import ProviderError, ProviderTimeout
from app.core.items import Delta
from app.llm.base import Call, LLMProvider, OnEvent, Wrapper

logger = structlog.get_logger()


class Deadline(Wrapper):
    """Bounds a call that streams nothing by `call_seconds`, its retries included, and of one that does the time to the
    first event. From then on each silence is bounded by `token_seconds`, and what flows by `stream_seconds`.

    It is also where every failure of an adapter becomes a `ProviderError`.
    """

    def __init__(self, provider: LLMProvider, call_seconds: float, token_seconds: float, stream_seconds: float) -> None:
        super().__init__(provider)
        self._call_seconds = call_seconds
        self._token_seconds = token_seconds
        self._stream_seconds = stream_seconds

    async def complete(self, call: Call) -> Completion:
        listener: _Listener | None = None
        try:
            async with asyncio.timeout(self._call_seconds) as scope:
                if call.on_event is None:
                    return await self.inner.complete(call)
                with _Listener(scope, self._token_seconds, self._stream_seconds, call.on_event) as listener:
                    return await self.inner.complete(replace(call, on_event=listener.hear))
        except TimeoutError:
            error: ProviderError = ProviderTimeout()
            # Whoever waited for the whole answer cannot know how much of it was written.
            error.accepted = call.on_event is None
        except ProviderError as failure:
            error = failure
        except Exception as defect:
            # A defect of an adapter must not leave the message pending, nor its words reach the caller.
            logger.exception("provider_adapter_failed", provider=self.name)
            raise ProviderError from defect
        if listener is not None and listener.heard:
            # It was at work: how an answer goes on depends on what was asked.
            error.unhealthy = False
        raise error


class _Listener:
    """Ends `scope` after `seconds` of silence.

    A piece only notes its time: the one timer looks at it when it goes off, so a thousand pieces cost no timer each.
    """

    def __init__(self, scope: asyncio.Timeout, seconds: float, stream_seconds: float, on_event: OnEvent) -> None:
        self.heard = False
        self._scope = scope
        self._seconds = seconds
        self._on_event = on_event
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._loop.time()
        self._longest = self._heard_at + stream_seconds

    def __enter__(self) -> Self:
        self._timer = self._loop.call_at(self._heard_at + self._seconds, self._look)
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def hear(self, event: Delta) -> None:
        self._heard_at = self._loop.time()
        if not self.heard:
            self.heard = True
            if not self._scope.expired():
                self._scope.reschedule(self._longest)
        self._on_event(event)

    def _look(self) -> None:
        now = self._loop.time()
        if (due := self._heard_at + self._seconds) > now:
            self._timer = self._loop.call_at(due, self._look)
        elif not self._scope.expired():
            self._scope.reschedule(now)
