"""Reads chat completions, whole or as chunks, as servers of this protocol were seen to write them."""

import json
from typing import Any

from app.core.completion import Completion
from app.llm.answer import cached_of, completed, counted, fields_of, named, text_of
from app.llm.base import OnEvent
from app.llm.failures import refused, status_of
from app.llm.openai.request import THOUGHTS
from app.llm.output import Called, Output

SEALS = {name: {"field": name} for name in THOUGHTS}


class Reader:
    """What one answer says so far. `maker` is whose thoughts it holds."""

    def __init__(self, provider: str, maker: str, model: str, on_event: OnEvent | None) -> None:
        self.output = Output(on_event, maker)
        self.reason: object = None
        self.usage: dict[str, Any] = {}
        self.answered = False
        """Whether there was a message, though it may be empty."""
        self._provider = provider
        self._asked = model
        self._model: object = None
        self._by_index: dict[int, Called] = {}
        self._said_ids: dict[int, object] = {}

    def take(self, answer: dict[str, Any], *, began: bool = False) -> None:
        """The whole of an answer, or its next chunk; `began`: it is not the first.

        Raises:
            ProviderError: it says that it is none.
        """
        if error := answer.get("error"):
            raise refused(self._provider, {}, status_of(error), began=began)
        self._model = answer.get("model") or self._model
        if usage := answer.get("usage"):
            self.usage = fields_of(usage) or self.usage
        choices = answer.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                self._choose(choice, began=began)
        if "x_groq" in answer:
            self.usage = self.usage or fields_of(fields_of(answer["x_groq"]).get("usage"))

    def completion(self) -> Completion:
        """The answer, at its end.

        Raises:
            ProviderError: it is none.
        """
        usage = self.usage
        read = counted(usage.get("prompt_tokens"), usage.get("input_tokens"))
        details = fields_of(usage.get("prompt_tokens_details"))
        cached = counted(details.get("cached_tokens"), usage.get("prompt_cache_hit_tokens"), usage.get("cached_tokens"))
        written, thought = _written(usage, read)
        return completed(
            self._provider,
            self.output,
            self.reason,
            Completion(
                "", named(self._model, self._asked), read, written, cached_of(cached, read), reasoning_tokens=thought
            ),
        )

    def _choose(self, choice: dict[str, Any], *, began: bool) -> None:
        said = choice.get("delta") or (choice.get("message") if self.output.is_empty else None)
        if "error" in choice and (error := choice["error"]) and not fields_of(said).get("content"):
            raise refused(self._provider, {}, status_of(error), began=began)
        self.reason = choice.get("finish_reason") or self.reason
        if "usage" in choice:
            self.usage = fields_of(choice["usage"]) or self.usage
        if isinstance(said, dict):
            self.answered = True
            self._hear(said)

    def _hear(self, said: dict[str, Any]) -> None:
        for name in THOUGHTS:
            if name in said and (thought := said[name]) and isinstance(thought, str):
                self.output.think(thought, SEALS[name])
                break
        content = said.get("content")
        if isinstance(content, str):
            self.output.say(content)
        elif content is not None:
            self._hear_parts(content)
        # The model's own words for why it answers with nothing else.
        if "refusal" in said and not content:
            self.output.say(text_of(said["refusal"]))
        calls = said.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, dict):
                self._hear_call(call)
        if isinstance(called := said.get("function_call"), dict):  # the name of it before there were several
            self._hear_call({"index": -1, "function": called})

    def _hear_parts(self, content: object) -> None:
        for part in content if isinstance(content, list) else (content,):
            if isinstance(part, dict) and part.get("type") == "thinking":
                self.output.think(text_of(part.get("thinking")))
            else:
                self.output.say(text_of(part))

    def _hear_call(self, call: dict[str, Any]) -> None:
        function = fields_of(call.get("function"))
        index, call_id, name = call.get("index"), call.get("id"), function.get("name")
        called = self._called(index, call_id, name)
        if called is None:
            called = self.output.begin_call(call_id, name)
            self._said_ids[called.index] = call_id
            self._by_index[index if type(index) is int else called.index] = called
        self.output.argue(called, _arguments_in(function.get("arguments")), name)

    def _called(self, index: object, call_id: object, name: object) -> Called | None:
        """The call that a piece belongs to, None if it begins one.

        Gemini gives each the index 0; vLLM was seen to repeat the name in each piece, and to make up an id for it.
        Others leave the index out. So a new id, or a name without one, begins a call where the one before is whole.
        """
        if type(index) is int:
            known = self._by_index.get(index)
        else:
            same = (called for called in self.output.calls if call_id and self._said_ids[called.index] == call_id)
            known = next(same, self.output.calls[-1] if self.output.calls else None)
        if known is None or not name:
            return known
        another = call_id != self._said_ids[known.index] if call_id else type(index) is not int
        return None if another and known.is_whole() else known


def _arguments_in(value: object) -> str:
    """A string of JSON; some servers send what it would hold."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _written(usage: dict[str, Any], read: int | None) -> tuple[int | None, int | None]:
    """The tokens of the answer, and of these the thoughts': xAI counts them beside the others."""
    written = counted(usage.get("completion_tokens"), usage.get("output_tokens"))
    details = fields_of(usage.get("completion_tokens_details")) or fields_of(usage.get("output_tokens_details"))
    thought = counted(details.get("reasoning_tokens"), usage.get("reasoning_tokens"))
    if written is None or thought is None:
        return written, thought
    if read is not None and thought and counted(usage.get("total_tokens")) == read + written + thought:
        return counted(written + thought), thought
    return written, min(thought, written)
