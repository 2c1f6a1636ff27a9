"""OpenAI through its official SDK, and any server that speaks its chat completions (`OPENAI_BASE_URL`)."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import httpx2
import openai
from openai import AsyncOpenAI

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

DEFAULT_MODEL = "gpt-4o-mini"
OPENAI_URL = "https://api.openai.com/v1"
OPENAI_HOSTS = (".openai.com", ".openai.azure.com")


class OpenAICompatibleProvider:
    """One client for the life of the process: making one costs milliseconds and its connections."""

    name = "openai"

    def __init__(
        self, api_key: str, base_url: str, model: str, timeout: float, max_retries: int, max_output_tokens: int
    ) -> None:
        url = base_url or OPENAI_URL
        client = bounded_client(timeout, bytes_for(max_output_tokens))
        self._client = OpenAIClient(
            api_key=api_key, base_url=url, timeout=client.timeout, max_retries=max_retries, http_client=client
        )
        self._model = model or DEFAULT_MODEL
        self.models: tuple[str, ...] = (self._model,)
        # OpenAI's newer models refuse max_tokens. Of the compatible servers Ollama (2026) silently ignores the new
        # name, so that nothing would bound an answer; vLLM and llama.cpp know both.
        limit = "max_completion_tokens" if httpx2.URL(url).host.endswith(OPENAI_HOSTS) else "max_tokens"
        self._options: dict[str, Any] = {"model": self._model, limit: max_output_tokens}

    async def complete(self, turns: list[Turn], on_text: OnText | None = None) -> Completion:
        options = self._options | {"messages": [{"role": turn.role, "content": turn.content} for turn in turns]}
        if on_text is not None:
            options |= {"stream": True, "stream_options": {"include_usage": True}}
        try:
            async with self._client.chat.completions.with_streaming_response.create(**options) as response:
                if on_text is None:
                    return self._completion(json.loads(await response.read()))
                return await self._streamed(response.iter_bytes(), on_text)
        except openai.APIConnectionError as error:
            raise unreachable(self.name, error.__cause__ or error) from None
        except httpx2.RequestError as error:
            raise unreachable(self.name, error) from None
        except openai.APIStatusError as error:
            raise refused(self.name, error.response, error.status_code) from None
        except (openai.APIError, *UNREADABLE) as error:
            raise unreadable(self.name, error) from None

    async def _streamed(self, parts: AsyncIterator[bytes], on_text: OnText) -> Completion:
        pieces: list[str] = []
        model, usage, reason = None, None, None
        async with aclosing(events_of(parts)) as events:
            async for chunk in events:
                if error := chunk.get("error"):
                    # vLLM and llama.cpp put the status into its code.
                    raise refused(self.name, None, counted(error.get("code")) or 500)
                model = chunk.get("model") or model
                usage = chunk.get("usage") or usage
                for choice in chunk["choices"]:
                    reason = choice.get("finish_reason") or reason
                    if (piece := choice["delta"].get("content")) is not None:
                        pieces.append(text_of(piece))
                        if piece:
                            on_text(piece)
        if reason is None:
            raise ValueError("the stream was cut")
        return self._ended("".join(pieces) if pieces else None, reason, model, usage)

    def _completion(self, answer: dict[str, Any]) -> Completion:
        choice = answer["choices"][0]
        text = choice["message"]["content"]
        return self._ended(text, choice.get("finish_reason"), answer.get("model"), answer.get("usage"))

    def _ended(self, text: object, reason: object, model: object, usage: dict[str, Any] | None) -> Completion:
        if reason == "content_filter":
            # What came is not the whole answer.
            raise ProviderRejected
        usage = usage or {}
        return Completion(
            text_of(text),
            named(model, self._model),
            counted(usage.get("prompt_tokens")),
            counted(usage.get("completion_tokens")),
            counted((usage.get("prompt_tokens_details") or {}).get("cached_tokens")),
        )

    async def close(self) -> None:
        await self._client.close()


class OpenAIClient(AsyncOpenAI):
    """The SDK's client, configured by our settings alone: by itself it reads OPENAI_ORG_ID and more."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.organization = self.project = self.admin_api_key = None
        self._custom_headers = {}
