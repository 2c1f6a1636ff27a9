"""Anthropic's Claude, and servers that speak its messages (`ANTHROPIC_BASE_URL`)."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx2
from anthropic import AsyncAnthropic, transform_schema

from app.core.completion import Completion
from app.core.items import Options
from app.llm.answer import fields_of
from app.llm.base import Call, CallLimits, OnEvent
from app.llm.claude.answer import Reader
from app.llm.claude.manner import Manner, without_hint
from app.llm.claude.request import messages_of, options_of, system_of
from app.llm.failures import UNREADABLE
from app.llm.http import Endpoint, NotUnderstood, Read, maker_of, trust, whole
from app.llm.learned import Learned
from app.llm.output import follow

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
        self._manners = Learned(lambda _: Manner())

    async def complete(self, call: Call) -> Completion:
        url = self._endpoint.url_for(call.credential)
        maker = maker_of(self.name, url, ANTHROPIC_URL)
        body: dict[str, Any] = {"model": self._model, "messages": messages_of(call.items, maker)}
        if system := system_of(call.items, call.options):
            body["system"] = system
        if call.on_event is not None:
            body["stream"] = True
        known = manner = self._manners.of(url)
        left_out: set[str] = set()
        words = ""
        while True:
            asked = options_of(self._shaped(call.options), manner, self._output_tokens)
            asked = {name: value for name, value in asked.items() if name not in left_out}
            try:
                completion = await self._endpoint.call(body | asked, self._reading(call, manner, maker), call)
            except NotUnderstood as error:
                words = error.words
                if other := manner.without(asked, words):
                    manner = other
                elif hints := without_hint(asked, words):
                    left_out.update(hints)
                else:
                    raise error.refusal from None
            else:
                # Only what worked is remembered: an error may name a parameter for another reason.
                if manner is not known:
                    self._manners.keep(url, manner.lasting(known, words))
                return completion

    def _shaped(self, options: Options) -> Options:
        """With the schema of an answer as their models take it: what they cannot enforce becomes words in it."""
        wanted = options.output_format
        if wanted is None or wanted.schema is None:
            return options
        try:
            schema = transform_schema(wanted.schema)
        except (*UNREADABLE, RecursionError):
            return options
        return replace(options, output_format=replace(wanted, schema=schema))

    def _reading(self, call: Call, manner: Manner, maker: str) -> Read[Completion]:
        """Reads one answer: one that is asked for again begins anew."""
        wanted = call.options.output_format
        answering = "" if wanted is None or wanted.schema is None or manner.formats else wanted.name
        on_event = call.on_event

        def reader() -> Reader:
            return Reader(self.name, maker, self._model, answering, on_event)

        if on_event is None:
            return whole(lambda message: _taken(reader(), message))
        return lambda parts: _streamed(reader(), parts, on_event)

    async def close(self) -> None:
        await self._endpoint.close()
        await self._client.close()


class AnthropicClient(AsyncAnthropic):
    """The SDK's client, configured by our settings alone: by itself it reads ANTHROPIC_CUSTOM_HEADERS."""

    def __init__(self, **options: Any) -> None:
        # It sends nothing: without this it would read the authorities again.
        super().__init__(http_client=httpx2.AsyncClient(verify=trust()), **options)
        self._custom_headers = {}


def _taken(reader: Reader, message: dict[str, Any]) -> Completion:
    reader.take_whole(message)
    return reader.completion()


async def _streamed(reader: Reader, parts: AsyncIterator[bytes], on_event: OnEvent) -> Completion:
    await follow(parts, reader.output, lambda event, began: reader.take(fields_of(event), began=began), on_event)
    if not reader.ended:
        raise ValueError("the stream was cut")
    return reader.completion()
