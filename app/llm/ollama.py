"""Ollama's own API. Its OpenAI-compatible one cannot set the context length, and cuts long conversations silently."""

import json
from contextlib import aclosing
from typing import Any

import httpx2

from app.core.completion import Completion
from app.llm.answer import counted, fields_of, finished, named, reason_of, text_of
from app.llm.base import OnText, Turn
from app.llm.http import UNREADABLE, bounded_client, bytes_for, refused, status_of, unreachable, unreadable
from app.llm.lines import lines_of

DEFAULT_MODEL = "llama3.2"
OLLAMA_URL = "http://127.0.0.1:11434"


class OllamaProvider:
    """One client for the life of the process, as its connections are."""

    name = "ollama"

    def __init__(self, base_url: str, model: str, timeout: float, context_tokens: int, max_output_tokens: int) -> None:
        self._client = bounded_client(timeout, bytes_for(max_output_tokens))
        self._url = f"{(base_url or OLLAMA_URL).rstrip('/')}/api/chat"
        self._model = model or DEFAULT_MODEL
        self.models: tuple[str, ...] = (self._model,)
        self._options = {"num_ctx": context_tokens, "num_predict": max_output_tokens}

    async def complete(self, turns: list[Turn], on_text: OnText | None = None) -> Completion:
        body = {
            "model": self._model,
            "messages": [{"role": turn.role, "content": turn.content} for turn in turns],
            "options": self._options,
            "stream": on_text is not None,
            # What does not fit is refused with 400. By default the oldest turns would silently be left out.
            "truncate": False,
            "shift": False,
        }
        try:
            async with self._client.stream("POST", self._url, json=body) as response:
                if response.status_code != 200:
                    raise refused(self.name, response, response.status_code)
                if on_text is None:
                    answer = json.loads(await response.aread())
                    self._raise_error_of(answer)
                    return self._completion(answer, text_of(answer["message"]["content"]))
                return await self._streamed(response, on_text)
        except httpx2.RequestError as error:
            raise unreachable(self.name, error) from None
        except UNREADABLE as error:
            raise unreadable(self.name, error) from None

    async def _streamed(self, response: httpx2.Response, on_text: OnText) -> Completion:
        pieces: list[str] = []
        answer: dict[str, Any] = {"done": False}
        async with aclosing(lines_of(response.aiter_bytes())) as lines:
            async for line in lines:
                answer = json.loads(line)
                self._raise_error_of(answer)
                piece = text_of(fields_of(answer.get("message")).get("content"))
                if piece:
                    pieces.append(piece)
                on_text(piece)
        return self._completion(answer, "".join(pieces))

    def _raise_error_of(self, answer: dict[str, Any]) -> None:
        if error := answer.get("error"):
            raise refused(self.name, None, status_of(error))

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
        await self._client.aclose()
