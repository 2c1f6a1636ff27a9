"""Answers as Anthropic's messages: as a whole, and as the events of a stream."""

import json
from collections.abc import Sequence
from typing import Any

from starlette.types import Scope

from app.api.errors import problem_of
from app.api.v1.errors import anthropic as rendered
from app.api.v1.errors import fault_of
from app.api.v1.sealing import sealed
from app.core.completion import FinishReason
from app.core.errors import AppError
from app.core.items import Item, Message, Reasoning, ReasoningDelta, TextDelta, ToolCall, ToolCallDelta
from app.core.lines import one_line
from app.messages.stream import Delta, End, Event
from app.models.rows import MessageRow

PREFIX = "msg_"
REASONS = {
    FinishReason.LENGTH: "max_tokens",
    FinishReason.TOOL_CALLS: "tool_use",
    FinishReason.CONTENT_FILTER: "refusal",
}


def message(row: MessageRow, output: Sequence[Item]) -> dict[str, Any]:
    """The answer as a whole."""
    calls = any(isinstance(item, ToolCall) for item in output)
    return {
        **_head(row),
        "content": [block for item in output if (block := _block(item)) is not None],
        "stop_reason": _reason(row, calls=calls),
        "usage": usage_of(row),
    }


def usage_of(row: MessageRow) -> dict[str, Any]:
    """What was read from a cache is beside what was read, and not part of it."""
    cached = row.cached_tokens or 0
    return {
        "input_tokens": (row.input_tokens or 0) - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": row.output_tokens or 0,
    }


class MessageEncoder:
    """The events of one answer. A block ends where another begins, and with the answer."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._row: MessageRow | None = None
        self._index = -1
        self._open = ""
        self._thoughts: list[str] = []
        self._begun = self._called = False

    def encode(self, event: Event) -> bytes:
        match event:
            case MessageRow():
                self._row = event
            case Delta(TextDelta(text)):
                return self._in("text", {"type": "text", "text": ""}) + self._delta("text_delta", text=text)
            case Delta(ReasoningDelta() as thought):
                return self._thought(thought)
            case Delta(ToolCallDelta() as call):
                return self._call(call)
            case End(MessageRow() as row):
                return self._end(row)
        return b""

    def failed(self, error: AppError, end: End) -> bytes:  # noqa: ARG002 - others tell what came so far
        return _frame("error", rendered(fault_of(self._scope, problem_of(self._scope, error), error)))

    def _thought(self, thought: ReasoningDelta) -> bytes:
        if not thought.text and thought.sealed is None:
            return b""
        if thought.sealed is not None and self._open != "thinking":
            block = _block(Reasoning(thought.text, thought.provider, thought.sealed))
            return self._in("sealed", block or {}) + self._close()
        said = self._in("thinking", {"type": "thinking", "thinking": "", "signature": ""})
        if thought.text:
            self._thoughts.append(thought.text)
            said += self._delta("thinking_delta", thinking=thought.text)
        if thought.sealed is not None:
            whole = Reasoning("".join(self._thoughts), thought.provider, thought.sealed)
            said += self._delta("signature_delta", signature=sealed(whole)) + self._close()
        return said

    def _call(self, call: ToolCallDelta) -> bytes:
        self._called = True
        said = b""
        if call.id:
            block = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
            said = self._close() + self._in("tool_use", block)
        return said + self._delta("input_json_delta", partial_json=call.arguments) if call.arguments else said

    def _in(self, kind: str, block: dict[str, Any]) -> bytes:
        """So that a block of the kind is open."""
        if self._open == kind:
            return b""
        said = self._opening() + self._close()
        self._open, self._thoughts = kind, []
        self._index += 1
        return said + _frame("content_block_start", {"index": self._index, "content_block": block})

    def _delta(self, kind: str, **values: Any) -> bytes:
        return _frame("content_block_delta", {"index": self._index, "delta": {"type": kind, **values}})

    def _close(self) -> bytes:
        if not self._open:
            return b""
        self._open = ""
        return _frame("content_block_stop", {"index": self._index})

    def _opening(self) -> bytes:
        if self._begun or self._row is None:
            return b""
        self._begun = True
        # Nobody has counted yet what was read; the end says it.
        usage = {**usage_of(self._row), "output_tokens": 0}
        empty = {**_head(self._row), "content": [], "stop_reason": None, "usage": usage}
        return _frame("message_start", {"message": empty})

    def _end(self, row: MessageRow) -> bytes:
        reason = {"stop_reason": _reason(row, calls=self._called), "stop_sequence": None}
        said = self._opening() + self._close()
        said += _frame("message_delta", {"delta": reason, "usage": usage_of(row)})
        return said + _frame("message_stop", {})


def _head(row: MessageRow) -> dict[str, Any]:
    return {
        "id": f"{PREFIX}{row.id}",
        "type": "message",
        "role": "assistant",
        "model": row.asked_model or row.model or "",
        "stop_sequence": None,
    }


def _block(item: Item) -> dict[str, Any] | None:
    match item:
        case Message():
            return {"type": "text", "text": item.text} if item.text else None
        case ToolCall():
            return {"type": "tool_use", "id": item.id, "name": item.name, "input": _input(item.arguments)}
        case Reasoning() if item.text or item.sealed is None:
            return {"type": "thinking", "thinking": item.text, "signature": sealed(item) or ""}
        case Reasoning():
            return {"type": "redacted_thinking", "data": sealed(item)}
    return None


def _input(arguments: str) -> dict[str, Any]:
    """An object: what a model wrote that is none stands under a name of its own, so that nothing is lost."""
    try:
        value = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {"_arguments": arguments}


def _reason(row: MessageRow, *, calls: bool) -> str:
    reason = REASONS.get(FinishReason(row.finish_reason), "end_turn") if row.finish_reason else "end_turn"
    if calls and reason == "end_turn":
        return "tool_use"
    return "end_turn" if reason == "tool_use" and not calls else reason


def _frame(kind: str, values: dict[str, Any]) -> bytes:
    return f"event: {kind}\ndata: {one_line(json.dumps({'type': kind, **values}, ensure_ascii=False))}\n\n".encode()
