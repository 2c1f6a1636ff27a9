"""Ollama's own API. Its OpenAI-compatible one cannot set the context length, and cuts long conversations silently."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from app.core.completion import Completion
from app.core.items import AT_WORK
from app.llm.answer import completed, counted, fields_of, named, text_of
from app.llm.base import Call, CallLimits, OnEvent
from app.llm.failures import refused, status_of
from app.llm.http import Endpoint, NotUnderstood, Read, maker_of, whole
from app.llm.learned import Learned
from app.llm.lines import lines_of, parsed
from app.llm.ollama_request import THINKING, messages_of, options_of
from app.llm.output import Output

DEFAULT_MODEL = "llama3.2"
SEAL = {"field": "thinking"}
OLLAMA_URL = "http://127.0.0.1:11434"


class OllamaProvider:
    """One for the life of the process, as its connections are. `context_tokens` hold a conversation and its answer."""

    name = "ollama"

    def __init__(self, base_url: str, model: str, limits: CallLimits, context_tokens: int) -> None:
        self._endpoint = Endpoint(self.name, base_url or OLLAMA_URL, "/api/chat", {}, limits)
        self._model = model or DEFAULT_MODEL
        self.models: tuple[str, ...] = (self._model,)
        self._options = {"num_ctx": context_tokens, "num_predict": limits.output_tokens}
        self._thinking = Learned(lambda _: THINKING[0])

    async def complete(self, call: Call) -> Completion:
        url = self._endpoint.url_for(call.credential)
        maker = maker_of(self.name, url, OLLAMA_URL)
        body = {
            "model": self._model,
            "messages": messages_of(call.items, maker),
            "stream": call.on_event is not None,
            # What does not fit is refused with 400. By default the oldest turns would silently be left out.
            "truncate": False,
            "shift": False,
        }
        known = thinking = self._thinking.of(url)
        while True:
            asked = options_of(call.options, self._options, thinking)
            try:
                completion = await self._endpoint.call(body | asked, self._reading(maker, call.on_event), call)
            except NotUnderstood as error:
                if not asked.get("think") or "think" not in error.words:
                    raise error.refusal from None
                thinking = THINKING[THINKING.index(thinking) + 1]
            else:
                if thinking != known:
                    self._thinking.keep(url, thinking)
                return completion

    def _reading(self, maker: str, on_event: OnEvent | None) -> Read[Completion]:
        """Reads one answer: one that is asked for again begins anew."""
        if on_event is None:
            return whole(lambda answer: self._ended(answer, self._heard(Output(None, maker), answer)))
        return lambda parts: self._streamed(Output(on_event, maker), parts, on_event)

    async def _streamed(self, output: Output, parts: AsyncIterator[bytes], on_event: OnEvent) -> Completion:
        answer: dict[str, Any] = {"done": False}
        began = False
        async with aclosing(lines_of(parts)) as lines:
            async for line in lines:
                said = fields_of(parsed(line))
                answer = said or answer
                output.spoke = False
                self._heard(output, said, began=began)
                began = True
                if not output.spoke:
                    on_event(AT_WORK)
        return self._ended(answer, output)

    def _heard(self, output: Output, said: dict[str, Any], *, began: bool = False) -> Output:
        if error := said.get("error"):
            raise refused(self.name, {}, status_of(error), began=began)
        message = fields_of(said.get("message"))
        if "thinking" in message:
            output.think(text_of(message["thinking"]), SEAL)
        content = message.get("content")
        output.say(content if isinstance(content, str) else text_of(content))
        if "tool_calls" in message:
            self._called(output, message["tool_calls"])
        return output

    def _called(self, output: Output, calls: object) -> None:
        for call in calls if isinstance(calls, list) else ():
            function = fields_of(fields_of(call).get("function"))
            called = output.begin_call(fields_of(call).get("id"), function.get("name"))
            arguments = function.get("arguments") or {}
            written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
            output.argue(called, written)
            output.end_call(called)

    def _ended(self, answer: dict[str, Any], output: Output) -> Completion:
        if answer["done"] is not True:
            raise ValueError("the answer was cut")
        counts = Completion(
            "",
            named(answer.get("model"), self._model),
            counted(answer.get("prompt_eval_count")),
            counted(answer.get("eval_count")),
        )
        return completed(self.name, output, answer.get("done_reason"), counts)

    async def close(self) -> None:
        await self._endpoint.close()
