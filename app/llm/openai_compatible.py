"""OpenAI, and any server that speaks its chat completions (`OPENAI_BASE_URL`)."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
from openai import AsyncOpenAI

from app.core.completion import Completion
from app.llm.base import Call, CallLimits, OnEvent
from app.llm.http import Endpoint, NotUnderstood, Read, maker_of, trust, whole
from app.llm.learned import Learned
from app.llm.openai.answer import Reader
from app.llm.openai.dialect import Dialect, without_hint
from app.llm.openai.request import messages_of, options_of
from app.llm.output import follow

DEFAULT_MODEL = "gpt-4o-mini"
OPENAI_URL = "https://api.openai.com/v1"


class OpenAICompatibleProvider:
    """One for the life of the process, as its connections are."""

    name = "openai"

    def __init__(self, api_key: str, base_url: str, model: str, limits: CallLimits) -> None:
        self._client = OpenAIClient(api_key=api_key, base_url=base_url or OPENAI_URL)
        headers = {**self._client.default_headers, "Authorization": f"Bearer {api_key}"}
        self._endpoint = Endpoint(self.name, str(self._client.base_url), "/chat/completions", headers, limits)
        self._model = model or DEFAULT_MODEL
        self.models: tuple[str, ...] = (self._model,)
        self._output_tokens = limits.output_tokens
        self._dialects = Learned(Dialect.of)

    async def complete(self, call: Call) -> Completion:
        url = self._endpoint.url_for(call.credential)
        maker = maker_of(self.name, url, OPENAI_URL)
        body: dict[str, Any] = {"model": self._model, "messages": messages_of(call.items, maker)}
        body |= options_of(call.options)
        most = min(call.options.max_output_tokens or self._output_tokens, self._output_tokens)
        dialect = self._dialects.of(url)
        while True:
            try:
                completion = await self._endpoint.call(
                    body | _manner(dialect, most, streams=call.on_event is not None),
                    self._reading(maker, call.on_event),
                    call,
                )
            except NotUnderstood as error:
                if other := dialect.without(error.words):
                    dialect = other
                elif (fewer := without_hint(body, error.words)) is not None:
                    body = fewer
                else:
                    raise error.refusal from None
            else:
                # Only what worked is remembered: an error may name a parameter for another reason.
                self._dialects.keep(url, dialect)
                return completion

    def _reading(self, maker: str, on_event: OnEvent | None) -> Read[Completion]:
        """Reads one answer: one that is asked for again begins anew."""
        if on_event is None:
            return whole(lambda answer: _taken(Reader(self.name, maker, self._model, None), answer))
        return lambda parts: _streamed(Reader(self.name, maker, self._model, on_event), parts, on_event)

    async def close(self) -> None:
        await self._endpoint.close()
        await self._client.close()


class OpenAIClient(AsyncOpenAI):
    """The SDK's client, configured by our settings alone: by itself it reads OPENAI_ORG_ID and more."""

    def __init__(self, **options: Any) -> None:
        # It sends nothing: without this it would read the authorities again.
        super().__init__(http_client=httpx2.AsyncClient(verify=trust()), **options)
        self.organization = self.project = self.admin_api_key = None
        self._custom_headers = {}


def _manner(dialect: Dialect, most: int, *, streams: bool) -> dict[str, Any]:
    manner: dict[str, Any] = {dialect.limit: most}
    if streams:
        manner["stream"] = True
        if dialect.counts:
            manner["stream_options"] = {"include_usage": True}
    return manner


def _taken(reader: Reader, answer: dict[str, Any]) -> Completion:
    reader.take(answer)
    if not reader.answered and not reader.usage:
        raise ValueError("no answer")
    return reader.completion()


async def _streamed(reader: Reader, parts: AsyncIterator[bytes], on_event: OnEvent) -> Completion:
    def take(event: Any, began: bool) -> None:
        if isinstance(event, dict):
            reader.take(event, began=began)

    await follow(parts, reader.output, take, on_event)
    if reader.reason is None:
        raise ValueError("the stream was cut")
    return reader.completion()
