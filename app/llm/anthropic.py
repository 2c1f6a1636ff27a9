"""Anthropic's Claude, and servers that speak its messages (`ANTHROPIC_BASE_URL`)."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import httpx2
from anthropic import AsyncAnthropic

from app.core.completion import Completion
from app.llm.answer import cached_of, counted, fields_of, finished, named, reason_of, text_of
from app.llm.base import Call, CallLimits, OnEvent, event_of
from app.llm.failures import refused, status_of
from app.llm.http import Endpoint, NotUnderstood, trust, whole
from app.llm.lines import events_of

DEFAULT_MODEL = "claude-haiku-5-5"
ANTHROPIC_URL = "https://api.anthropic.com"


class AnthropicProvider:
    """One for the life of the process, as its connections are."""

    name = "anthropic"

    def __init__(self, api_key: str, base_url: str, model: str, limits: CallLimits) -> None:
        self._client = AnthropicClient(api_key=api_key, base_url=base_url or ANTHROPIC_URL)
        headers = {**self._client.default_headers, "Authorization": f"Bearer {api_key}"}
        self._endpoint = Endpoint(self.name, str(self._client.base_url), "/v1/messages", headers, limits)
        self._model = model or DEFAULT_MODEL
        self.models: tuple[str, ...] = (self._model,)
        self._output_tokens = limits.output_tokens

    async def complete(self, call: Call) -> Completion:
        # Consecutive turns of one role need no merging: the API does it.
        messages = [{"role": turn.role, "content": turn.text} for turn in call.messages if turn.role != "system"]
        system = "\n\n".join(turn.text for turn in call.messages if turn.role == "system")
        body: dict[str, Any] = {"model": self._model, "max_tokens": self._output_tokens, "messages": messages}
        if system:
            body["system"] = system
        on_event = call.on_event
        try:
            if on_event is None:
                return await self._endpoint.call(body, whole(self._completion), call)
            return await self._endpoint.call(
                body | {"stream": True}, lambda parts: self._streamed(parts, on_event), call
            )
        except NotUnderstood as error:
            raise error.refusal from None

    async def _streamed(self, parts: AsyncIterator[bytes], on_event: OnEvent) -> Completion:
        pieces: list[str] = []
        message: dict[str, Any] = {}
        usage: dict[str, Any] = {}
        began = stopped = False
        async with aclosing(events_of(parts)) as events:
            async for data in events:
                event = fields_of(data)
                piece = ""
                match event.get("type"):
                    case "message_start":
                        message = fields_of(event.get("message"))
                        usage = fields_of(message.get("usage"))
                    case "content_block_start":
                        piece = _text_in(event.get("content_block"), "text")
                    case "content_block_delta":
                        piece = _text_in(event.get("delta"), "text_delta")
                    case "message_delta":
                        message["stop_reason"] = fields_of(event.get("delta")).get("stop_reason")
                        # Cumulative, and null where the number of the start still holds.
                        counts = fields_of(event.get("usage")).items()
                        usage |= {name: count for name, count in counts if count is not None}
                    case "message_stop":
                        stopped = True
                    case "error":
                        raise refused(self.name, {}, status_of(event.get("error")), began=began)
                if piece:
                    pieces.append(piece)
                began = True
                on_event(event_of(piece))
        if not stopped and message.get("stop_reason") is None:
            raise ValueError("the stream was cut")
        return self._ended("".join(pieces), message, usage)

    def _completion(self, message: dict[str, Any]) -> Completion:
        if message.get("type") == "error" or message.get("error"):
            raise refused(self.name, {}, status_of(message.get("error")))
        return self._ended(text_of(message["content"]), message, fields_of(message.get("usage")))

    def _ended(self, text: str, message: dict[str, Any], usage: dict[str, Any]) -> Completion:
        fresh, cached = counted(usage.get("input_tokens")), counted(usage.get("cache_read_input_tokens"))
        written = counted(usage.get("cache_creation_input_tokens")) or 0
        # Theirs are only those that the cache neither gave nor took.
        read = None if fresh is None else counted(fresh + (cached or 0) + written)
        completion = Completion(
            text,
            named(message.get("model"), self._model),
            read,
            counted(usage.get("output_tokens")),
            cached_of(cached, read),
            reason_of(message.get("stop_reason")),
        )
        return finished(self.name, completion)

    async def close(self) -> None:
        await self._endpoint.close()
        await self._client.close()


class AnthropicClient(AsyncAnthropic):
    """The SDK's client, configured by our settings alone: by itself it reads ANTHROPIC_CUSTOM_HEADERS."""

    def __init__(self, **options: Any) -> None:
        # It sends nothing: without this it would read the authorities again.
        super().__init__(http_client=httpx2.AsyncClient(verify=trust()), **options)
        self._custom_headers = {}


def _text_in(block: object, kind: str) -> str:
    fields = fields_of(block)
    return text_of(fields.get("text")) if fields.get("type") == kind else ""
