"""Ollama's own API. Its OpenAI-compatible one cannot set the context length, and cuts long conversations silently."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from app.core.completion import Completion
from app.llm.answer import counted, fields_of, finished, named, reason_of, text_of
from app.llm.base import Call, CallLimits, OnEvent, event_of
from app.llm.failures import refused, status_of
from app.llm.http import Endpoint, NotUnderstood, whole
from app.llm.lines import lines_of, parsed

DEFAULT_MODEL = "llama3.2"
OLLAMA_URL = "http://127.0.0.1:11434"


class OllamaProvider:
    """One for the life of the process, as its connections are. `context_tokens` hold a conversation and its answer."""

    name = "ollama"

    def __init__(self, base_url: str, model: str, limits: CallLimits, context_tokens: int) -> None:
        self._endpoint = Endpoint(self.name, base_url or OLLAMA_URL, "/api/chat", {}, limits)
        self._model = model or DEFAULT_MODEL
        self.models: tuple[str, ...] = (self._model,)
        self._options = {"num_ctx": context_tokens, "num_predict": limits.output_tokens}

    async def complete(self, call: Call) -> Completion:
        on_event = call.on_event
        body = {
            "model": self._model,
            "messages": [{"role": turn.role, "content": turn.text} for turn in call.messages],
            "options": self._options,
            "stream": on_event is not None,
            # What does not fit is refused with 400. By default the oldest turns would silently be left out.
            "truncate": False,
            "shift": False,
        }
        try:
            if on_event is None:
                return await self._endpoint.call(body, whole(self._whole), call)
            return await self._endpoint.call(body, lambda parts: self._streamed(parts, on_event), call)
        except NotUnderstood as error:
            raise error.refusal from None

    async def _streamed(self, parts: AsyncIterator[bytes], on_event: OnEvent) -> Completion:
        pieces: list[str] = []
        answer: dict[str, Any] = {"done": False}
        began = False
        async with aclosing(lines_of(parts)) as lines:
            async for line in lines:
                said = fields_of(parsed(line))
                answer = said or answer
                self._raise_error_of(said, began=began)
                piece = text_of(fields_of(said.get("message")).get("content"))
                if piece:
                    pieces.append(piece)
                began = True
                on_event(event_of(piece))
        return self._completion(answer, "".join(pieces))

    def _raise_error_of(self, answer: dict[str, Any], *, began: bool = False) -> None:
        if error := answer.get("error"):
            raise refused(self.name, {}, status_of(error), began=began)

    def _whole(self, answer: dict[str, Any]) -> Completion:
        self._raise_error_of(answer)
        return self._completion(answer, text_of(fields_of(answer.get("message")).get("content")))

    def _completion(self, answer: dict[str, Any], text: str) -> Completion:
        if answer["done"] is not True:
            raise ValueError("the answer was cut")
        completion = Completion(
            text,
            named(answer.get("model"), self._model),
            counted(answer.get("prompt_eval_count")),
            counted(answer.get("eval_count")),
            finish_reason=reason_of(answer.get("done_reason")),
        )
        return finished(self.name, completion)

    async def close(self) -> None:
        await self._endpoint.close()
