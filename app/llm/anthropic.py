"""Anthropic's Claude through its official SDK."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import anthropic
import httpx2
from anthropic import AsyncAnthropic

from app.core.errors import ProviderRejected
from app.llm.base import Completion, OnText, Turn
from app.llm.http import (
    UNREADABLE,
    bounded_client,
    bytes_for,
    counted,
    named,
    refused,
    text_of,
    unreachable,
    unreadable,
)
from app.llm.lines import events_of

DEFAULT_MODEL = "claude-haiku-5-5"
ANTHROPIC_URL = "https://api.anthropic.com"
STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""An error inside a stream comes after the status 200: its type says what it would have been."""


class AnthropicProvider:
    """One client for the life of the process: making one costs milliseconds and its connections."""

    name = "anthropic"

    def __init__(
        self, api_key: str, base_url: str, model: str, timeout: float, max_retries: int, max_output_tokens: int
    ) -> None:
        client = bounded_client(timeout, bytes_for(max_output_tokens))
        self._client = AnthropicClient(
            api_key=api_key,
            base_url=base_url or ANTHROPIC_URL,
            timeout=client.timeout,
            max_retries=max_retries,
            http_client=client,
        )
        self._model = model or DEFAULT_MODEL
        self.models: tuple[str, ...] = (self._model,)
        self._max_output_tokens = max_output_tokens

    async def complete(self, turns: list[Turn], on_text: OnText | None = None) -> Completion:
        # Consecutive turns of one role need no merging: the API does it.
        messages = [{"role": turn.role, "content": turn.content} for turn in turns if turn.role != "system"]
        system = "\n\n".join(turn.content for turn in turns if turn.role == "system")
        options: dict[str, Any] = {"model": self._model, "max_tokens": self._max_output_tokens, "messages": messages}
        if system:
            options["system"] = system
        if on_text is not None:
            options["stream"] = True
        try:
            async with self._client.messages.with_streaming_response.create(**options) as response:
                if on_text is None:
                    return self._completion(json.loads(await response.read()))
                return await self._streamed(response.iter_bytes(), on_text)
        except anthropic.APIConnectionError as error:
            raise unreachable(self.name, error.__cause__ or error) from None
        except httpx2.RequestError as error:
            raise unreachable(self.name, error) from None
        except anthropic.APIStatusError as error:
            raise refused(self.name, error.response, error.status_code) from None
        except (anthropic.APIError, *UNREADABLE) as error:
            raise unreadable(self.name, error) from None

    async def _streamed(self, parts: AsyncIterator[bytes], on_text: OnText) -> Completion:
        pieces: list[str] = []
        message: dict[str, Any] = {}
        stopped = False
        async with aclosing(events_of(parts)) as events:
            async for event in events:
                match event["type"]:
                    case "message_start":
                        message = event["message"]
                    case "content_block_delta" if event["delta"]["type"] == "text_delta":
                        pieces.append(text_of(event["delta"]["text"]))
                        if pieces[-1]:
                            on_text(pieces[-1])
                    case "message_delta":
                        message["stop_reason"] = event["delta"].get("stop_reason")
                        # Cumulative, and null where the number of the start still holds.
                        usage = {name: count for name, count in event["usage"].items() if count is not None}
                        message["usage"] |= usage
                    case "message_stop":
                        stopped = True
                    case "error":
                        raise refused(self.name, None, STATUSES.get(event["error"]["type"], 500))
        if not stopped:
            raise ValueError("the stream was cut")
        return self._ended(pieces, message)

    def _completion(self, message: dict[str, Any]) -> Completion:
        return self._ended([text_of(part["text"]) for part in message["content"] if part["type"] == "text"], message)

    def _ended(self, texts: list[str], message: dict[str, Any]) -> Completion:
        if message["stop_reason"] == "refusal":
            # What came is not an answer.
            raise ProviderRejected
        if not texts:
            raise ValueError("no text in the answer")
        usage = message["usage"]
        read = counted(usage.get("cache_read_input_tokens"))
        written = counted(usage.get("cache_creation_input_tokens"))
        fresh = counted(usage.get("input_tokens"))
        return Completion(
            "".join(texts),
            named(message.get("model"), self._model),
            # Theirs are only those that the cache neither gave nor took.
            None if fresh is None else counted(fresh + (read or 0) + (written or 0)),
            counted(usage.get("output_tokens")),
            read,
        )

    async def close(self) -> None:
        await self._client.close()


class AnthropicClient(AsyncAnthropic):
    """The SDK's client, configured by our settings alone: by itself it reads ANTHROPIC_CUSTOM_HEADERS."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._custom_headers = {}
