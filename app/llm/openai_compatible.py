"""OpenAI, and any server that speaks its chat completions (`OPENAI_BASE_URL`)."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from openai import AsyncOpenAI

from app.core.completion import Completion
from app.llm.answer import cached_of, counted, fields_of, finished, named, reason_of, text_of
from app.llm.base import Call, CallLimits, OnEvent, event_of
from app.llm.failures import refused, status_of
from app.llm.http import Endpoint, NotUnderstood, Read, whole
from app.llm.lines import events_of

DEFAULT_MODEL = "gpt-4o-mini"
OPENAI_URL = "https://api.openai.com/v1"
OPENAI_HOSTS = (".openai.com", ".openai.azure.com")
LIMIT_NAMES = ("max_tokens", "max_completion_tokens")


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a server of this protocol is known to take: how the bound of an answer is called, and whether a stream may
    be asked to count its tokens. A server that names what it refuses is asked in the other way.
    """

    limit: str
    counts: bool = True
    renamed: bool = False

    def without(self, words: str) -> "Dialect | None":
        """The next one to try, by what the server said; None if it speaks of something else."""
        if self.counts and ("stream_options" in words or "include_usage" in words):
            return replace(self, counts=False)
        if not self.renamed and self.limit in words:
            (other,) = set(LIMIT_NAMES) - {self.limit}
            return replace(self, limit=other, renamed=True)
        return None


class OpenAICompatibleProvider:
    """One for the life of the process, as its connections are."""

    name = "openai"

    def __init__(self, api_key: str, base_url: str, model: str, limits: CallLimits) -> None:
        self._client = OpenAIClient(api_key=api_key, base_url=base_url or OPENAI_URL)
        url = f"{str(self._client.base_url).rstrip('/')}/chat/completions"
        headers = {**self._client.default_headers, "Authorization": f"Bearer {api_key}"}
        self._endpoint = Endpoint(self.name, url, headers, limits)
        self._model = model or DEFAULT_MODEL
        self.models: tuple[str, ...] = (self._model,)
        self._output_tokens = limits.output_tokens
        # OpenAI's newer models refuse max_tokens. Of the compatible servers Ollama (2026) silently ignores the new
        # name, so that nothing would bound an answer; vLLM and llama.cpp know both.
        modern = f".{urlsplit(url).hostname}".endswith(OPENAI_HOSTS)
        self._dialect = Dialect("max_completion_tokens" if modern else "max_tokens")

    async def complete(self, call: Call) -> Completion:
        messages = [{"role": turn.role, "content": turn.text} for turn in call.messages]
        dialect = self._dialect
        while True:
            body: dict[str, Any] = {"model": self._model, dialect.limit: self._output_tokens, "messages": messages}
            if call.on_event is not None:
                body |= {"stream": True, "stream_options": {"include_usage": True}}
                if not dialect.counts:
                    del body["stream_options"]
            try:
                completion = await self._endpoint.call(body, self._reading(call.on_event))
            except NotUnderstood as error:
                other = dialect.without(error.words)
                if other is None:
                    raise error.refusal from None
                dialect = other
            else:
                # Only what worked is remembered: an error may name a parameter for another reason.
                self._dialect = dialect
                return completion

    def _reading(self, on_event: OnEvent | None) -> Read[Completion]:
        if on_event is None:
            return whole(self._completion)
        return lambda parts: self._streamed(parts, on_event)

    async def _streamed(self, parts: AsyncIterator[bytes], on_event: OnEvent) -> Completion:
        pieces: list[str] = []
        model, reason, began = None, None, False
        usage: dict[str, Any] = {}
        async with aclosing(events_of(parts)) as events:
            async for event in events:
                chunk = fields_of(event)
                self._raise_error_of(chunk, began=began)
                model = chunk.get("model") or model
                usage = _usage_of(chunk) or usage
                piece = ""
                for choice in _choices_of(chunk):
                    reason = choice.get("finish_reason") or reason
                    said = fields_of(choice.get("delta")) or ({} if pieces else fields_of(choice.get("message")))
                    piece += text_of(said.get("content"))
                if piece:
                    pieces.append(piece)
                began = True
                on_event(event_of(piece))
        if reason is None:
            raise ValueError("the stream was cut")
        return self._ended("".join(pieces), reason, model, usage)

    def _completion(self, answer: dict[str, Any]) -> Completion:
        self._raise_error_of(answer)
        usage = _usage_of(answer)
        choice = next(iter(_choices_of(answer)), {})
        if not usage and not isinstance(choice.get("message"), dict):
            raise ValueError("no answer")
        text = text_of(fields_of(choice.get("message")).get("content"))
        return self._ended(text, choice.get("finish_reason"), answer.get("model"), usage)

    def _raise_error_of(self, answer: dict[str, Any], *, began: bool = False) -> None:
        """Gateways say with the status 200 that it was none: for the whole answer, or in its place."""
        first = next(iter(_choices_of(answer)), {})
        error = answer.get("error") or (None if fields_of(first.get("message")).get("content") else first.get("error"))
        if error:
            raise refused(self.name, {}, status_of(error), began=began)

    def _ended(self, text: str, reason: object, model: object, usage: dict[str, Any]) -> Completion:
        read = counted(usage.get("prompt_tokens"), usage.get("input_tokens"))
        details = fields_of(usage.get("prompt_tokens_details"))
        cached = counted(details.get("cached_tokens"), usage.get("prompt_cache_hit_tokens"), usage.get("cached_tokens"))
        completion = Completion(
            text, named(model, self._model), read, _written(usage, read), cached_of(cached, read), reason_of(reason)
        )
        return finished(self.name, completion)

    async def close(self) -> None:
        await self._endpoint.close()
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
