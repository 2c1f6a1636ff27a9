"""Reads Anthropic's messages, whole or as events."""

import json
from typing import Any

from app.core.completion import Completion
from app.llm.answer import cached_of, completed, counted, fields_of, named, text_of
from app.llm.base import OnEvent
from app.llm.failures import refused, status_of
from app.llm.output import Called, Output, Said


class Reader:
    """What one answer says so far. `maker` is whose thoughts it holds, `answering` the tool whose input is the text."""

    def __init__(self, provider: str, maker: str, model: str, answering: str, on_event: OnEvent | None) -> None:
        self.output = Output(on_event, maker)
        self.ended = False
        self._provider = provider
        self._asked = model
        self._answering = answering
        self._message: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        self._blocks: dict[object, _Block] = {}

    def take(self, event: dict[str, Any], *, began: bool) -> None:
        """The next event; `began`: it is not the first. Raises `ProviderError` for one that is an error."""
        match event.get("type"):
            case "content_block_delta":
                self._delta(event, fields_of(event.get("delta")))
            case "content_block_start":
                self._begin(event.get("index"), fields_of(event.get("content_block")))
            case "content_block_stop":
                self._end(event.get("index"))
            case "message_start":
                self._message = fields_of(event.get("message"))
                self._usage = fields_of(self._message.get("usage"))
            case "message_delta":
                self._message["stop_reason"] = fields_of(event.get("delta")).get("stop_reason")
                self.ended = self.ended or self._message["stop_reason"] is not None
                # Cumulative, and null where the number of the start still holds.
                counts = fields_of(event.get("usage")).items()
                self._usage |= {name: count for name, count in counts if count is not None}
            case "message_stop":
                self.ended = True
            case "error":
                raise refused(self._provider, {}, status_of(event.get("error")), began=began)

    def take_whole(self, message: dict[str, Any]) -> None:
        """Raises `ProviderError` for a message that is an error."""
        if message.get("type") == "error" or message.get("error"):
            raise refused(self._provider, {}, status_of(message.get("error")))
        self._message, self._usage = message, fields_of(message.get("usage"))
        content = message["content"]
        for at, block in enumerate(content if isinstance(content, list) else [content]):
            if isinstance(block, dict):
                self._begin(at, block)
                self._end(at)
            else:
                self.output.say(text_of(block))

    def completion(self) -> Completion:
        """The answer, at its end. Raises `ProviderError` if it is none."""
        usage = self._usage
        fresh, cached = counted(usage.get("input_tokens")), counted(usage.get("cache_read_input_tokens"))
        kept = counted(usage.get("cache_creation_input_tokens"))
        # Theirs are only those that the cache neither gave nor took.
        read = None if fresh is None else counted(fresh + (cached or 0) + (kept or 0))
        wrote = counted(usage.get("output_tokens"))
        thought = counted(fields_of(usage.get("output_tokens_details")).get("thinking_tokens"))
        return completed(
            self._provider,
            self.output,
            self._message.get("stop_reason"),
            Completion(
                "",
                named(self._message.get("model"), self._asked),
                read,
                wrote,
                cached_of(cached, read),
                cache_write_tokens=cached_of(kept, read),
                reasoning_tokens=cached_of(thought, wrote),
            ),
        )

    def _begin(self, index: object, start: dict[str, Any]) -> None:
        block = self._blocks[index] = _Block()
        match start.get("type"):
            case "thinking":
                block.thought = self.output.begin_thought()
                self.output.think(text_of(start.get("thinking")))
                self._sign(block, start.get("signature"))
            case "redacted_thinking":
                block.thought = self.output.begin_thought()
                block.thought.sealed = {"data": start.get("data")}
            case "tool_use":
                block.whole = fields_of(start.get("input"))
                if start.get("name") == self._answering:
                    block.answers = True
                else:
                    block.called = self.output.begin_call(start.get("id"), start.get("name"))
            case _:
                self.output.say(text_of(start))

    def _delta(self, event: dict[str, Any], delta: dict[str, Any]) -> None:
        kind = delta.get("type")
        if kind == "text_delta":
            text = delta.get("text")
            self.output.say(text if isinstance(text, str) else text_of(text))
        elif kind == "thinking_delta":
            self.output.think(text_of(delta.get("thinking")))
        elif (block := self._blocks.get(event.get("index"))) is None:
            pass
        elif kind == "signature_delta":
            self._sign(block, delta.get("signature"))
        elif kind == "input_json_delta":
            self._argue(block, text_of(delta.get("partial_json")))

    def _sign(self, block: "_Block", signature: object) -> None:
        if block.thought is not None and isinstance(signature, str) and signature:
            before = (block.thought.sealed or {}).get("signature", "")
            block.thought.sealed = {"signature": before + signature}

    def _argue(self, block: "_Block", piece: str) -> None:
        block.argued = block.argued or bool(piece)
        if block.called is not None:
            self.output.argue(block.called, piece)
        elif block.answers:
            self.output.say(piece)

    def _end(self, index: object) -> None:
        block = self._blocks.get(index)
        if block is None:
            return
        # In an answer that is not streamed, and by some servers also in one that is.
        if block.whole and not block.argued:
            self._argue(block, json.dumps(block.whole, ensure_ascii=False))
        if block.called is not None:
            self.output.end_call(block.called)


class _Block:
    """A part of the message that is under way, and what it is here."""

    __slots__ = ("answers", "argued", "called", "thought", "whole")

    def __init__(self) -> None:
        self.thought: Said | None = None
        self.called: Called | None = None
        self.answers = False
        self.argued = False
        self.whole: dict[str, Any] = {}
