"""OpenAI through its official SDK, and any server that speaks its chat completions (`OPENAI_BASE_URL`)."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import httpx2
import openai
from openai import AsyncOpenAI

from app.core.completion import Completion
from app.llm.answer import cached_of, counted, fields_of, finished, named, reason_of, text_of
from app.llm.base import OnText, Turn
from app.llm.http import UNREADABLE, bounded_client, bytes_for, refused, status_of, unreachable, unreadable
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
        model, reason = None, None
        usage: dict[str, Any] = {}
        async with aclosing(events_of(parts)) as events:
            async for event in events:
                chunk = fields_of(event)
                self._raise_error_of(chunk)
                model = chunk.get("model") or model
                usage = _usage_of(chunk) or usage
                piece = ""
                for choice in _choices_of(chunk):
                    reason = choice.get("finish_reason") or reason
                    piece += text_of(fields_of(choice.get("delta")).get("content"))
                if piece:
                    pieces.append(piece)
                on_text(piece)
        if reason is None:
            raise ValueError("the stream was cut")
        return self._ended("".join(pieces), reason, model, usage)

    def _completion(self, answer: dict[str, Any]) -> Completion:
        self._raise_error_of(answer)
        choice = answer["choices"][0]
        text = text_of(choice["message"]["content"])
        return self._ended(text, choice.get("finish_reason"), answer.get("model"), _usage_of(answer))

    def _raise_error_of(self, answer: dict[str, Any]) -> None:
        """Gateways say with the status 200 that it was none: for the whole answer, or in its place."""
        first = next(iter(_choices_of(answer)), {})
        error = answer.get("error") or (None if fields_of(first.get("message")).get("content") else first.get("error"))
        if error:
            raise refused(self.name, None, status_of(error))

    def _ended(self, text: str, reason: object, model: object, usage: dict[str, Any]) -> Completion:
        read = counted(usage.get("prompt_tokens"), usage.get("input_tokens"))
        details = fields_of(usage.get("prompt_tokens_details"))
        cached = counted(details.get("cached_tokens"), usage.get("prompt_cache_hit_tokens"), usage.get("cached_tokens"))
        completion = Completion(
            text, named(model, self._model), read, _written(usage, read), cached_of(cached, read), reason_of(reason)
        )
        return finished(self.name, completion)

    async def close(self) -> None:
        await self._client.close()


class OpenAIClient(AsyncOpenAI):
    """The SDK's client, configured by our settings alone: by itself it reads OPENAI_ORG_ID and more."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.organization = self.project = self.admin_api_key = None
        self._custom_headers = {}


def _choices_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    choices = answer.get("choices")
    return [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []


def _usage_of(answer: dict[str, Any]) -> dict[str, Any]:
    """Where the counts stand: at the top, in Moonshot's choices, or in Groq's own field."""
    places = [answer, *_choices_of(answer), fields_of(answer.get("x_groq"))]
    return next(filter(None, (fields_of(place.get("usage")) for place in places)), {})


def _written(usage: dict[str, Any], read: int | None) -> int | None:
    """The tokens of the answer, with those of its thoughts: xAI counts these beside the others."""
    written = counted(usage.get("completion_tokens"), usage.get("output_tokens"))
    details = fields_of(usage.get("completion_tokens_details"))
    thought = counted(details.get("reasoning_tokens"), usage.get("reasoning_tokens"))
    if written is None or not thought or read is None:
        return written
    beside = counted(usage.get("total_tokens")) == read + written + thought
    return counted(written + thought) if beside else written
