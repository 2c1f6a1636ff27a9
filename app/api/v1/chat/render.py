"""Answers as OpenAI's chat completions: as a whole, and as chunks."""

import json
from collections.abc import Sequence
from typing import Any

from starlette.types import Scope

from app.api.v1.stream import error_body
from app.core.completion import FinishReason
from app.core.errors import AppError
from app.core.items import Item, Message, Reasoning, ReasoningDelta, TextDelta, ToolCall, ToolCallDelta
from app.core.lines import one_line
from app.messages.stream import Delta, End, Event
from app.models.rows import MessageRow

DONE = b"data: [DONE]\n\n"
PREFIX = "chatcmpl-"
CALLED = "tool_calls"
# What has no word there ended without anything missing that a client could ask for.
REASONS = {
    FinishReason.LENGTH: "length",
    FinishReason.CONTENT_FILTER: "content_filter",
    FinishReason.TOOL_CALLS: CALLED,
}


def completion(row: MessageRow, output: Sequence[Item], *, functions: bool = False) -> dict[str, Any]:
    """The answer as a whole. `functions`: to who speaks of functions and not of tools."""
    message = _message(output, functions=functions)
    calls = any(isinstance(item, ToolCall) for item in output)
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": _reason(row, calls=calls, functions=functions),
    }
    return {**_envelope(row, "chat.completion"), "choices": [choice], "usage": usage_of(row)}


def usage_of(row: MessageRow) -> dict[str, Any]:
    """What nobody counted is 0: clients add these up."""
    read, wrote = row.input_tokens or 0, row.output_tokens or 0
    return {
        "prompt_tokens": read,
        "completion_tokens": wrote,
        "total_tokens": read + wrote,
        "prompt_tokens_details": {"cached_tokens": row.cached_tokens or 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": row.reasoning_tokens or 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


class ChatEncoder:
    """The chunks of one answer; all have its id.

    `with_usage`: each has a `usage` of null, and one without choices comes last, which has it.
    """

    def __init__(self, scope: Scope, *, with_usage: bool, functions: bool) -> None:
        self._scope = scope
        self._with_usage = with_usage
        self._functions = functions
        self._before = self._after = ""
        self._opened = self._called = False

    def encode(self, event: Event) -> bytes:
        match event:
            case MessageRow():
                self._begin(event)
            case Delta(TextDelta(text)):
                return self._delta({"content": text})
            case Delta(ReasoningDelta(text)) if text:
                return self._delta({"reasoning_content": text})
            case Delta(ToolCallDelta() as call):
                self._called = True
                return self._delta(self._call(call))
            case End(MessageRow() as row):
                return self._end(row)
        return b""

    def failed(self, error: AppError, end: End) -> bytes:  # noqa: ARG002 - others tell what came so far
        return _frame({"error": error_body(self._scope, error)}) + DONE

    def _begin(self, row: MessageRow) -> None:
        head = json.dumps(_envelope(row, "chat.completion.chunk"), ensure_ascii=False)
        self._before = one_line(f'data: {head[:-1]}, "choices": [{{"index": 0, "delta": ')
        usage = ', "usage": null' if self._with_usage else ""
        self._after = f', "logprobs": null, "finish_reason": %s}}]{usage}}}\n\n'

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return self._opening() + self._chunk(delta)

    def _opening(self) -> bytes:
        if self._opened:
            return b""
        self._opened = True
        return self._chunk({"role": "assistant", "content": "", "refusal": None})

    def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> bytes:
        said = one_line(json.dumps(delta, ensure_ascii=False))
        return (self._before + said + self._after % json.dumps(reason)).encode()

    def _call(self, delta: ToolCallDelta) -> dict[str, Any]:
        if self._functions:
            named = {"name": delta.name} if delta.name else {}
            return {"function_call": {**named, "arguments": delta.arguments}}
        if not delta.id:
            return {"tool_calls": [{"index": delta.index, "function": {"arguments": delta.arguments}}]}
        function = {"name": delta.name, "arguments": delta.arguments}
        return {"tool_calls": [{"index": delta.index, "id": delta.id, "type": "function", "function": function}]}

    def _end(self, row: MessageRow) -> bytes:
        chunks = self._opening()
        chunks += self._chunk({}, _reason(row, calls=self._called, functions=self._functions))
        if self._with_usage:
            chunks += _frame({**_envelope(row, "chat.completion.chunk"), "choices": [], "usage": usage_of(row)})
        return chunks + DONE


def _envelope(row: MessageRow, kind: str) -> dict[str, Any]:
    return {
        "id": f"{PREFIX}{row.id}",
        "object": kind,
        "created": int(row.created_at.timestamp()),
        "model": row.asked_model or row.model or "",
        "system_fingerprint": None,
    }


def _message(output: Sequence[Item], *, functions: bool) -> dict[str, Any]:
    text = "".join(item.text for item in output if isinstance(item, Message))
    calls = [item for item in output if isinstance(item, ToolCall)]
    thoughts = "".join(item.text for item in output if isinstance(item, Reasoning))
    message: dict[str, Any] = {"role": "assistant", "content": text if text or not calls else None, "refusal": None}
    if thoughts:
        message["reasoning_content"] = thoughts
    if calls and functions:
        message["function_call"] = {"name": calls[0].name, "arguments": calls[0].arguments}
    elif calls:
        message["tool_calls"] = tool_calls(calls)
    return message


def tool_calls(calls: Sequence[ToolCall]) -> list[dict[str, Any]]:
    return [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in calls
    ]


def _reason(row: MessageRow, *, calls: bool, functions: bool) -> str:
    """A client that is not told of the calls does not make them, whatever the provider says of its end."""
    reason = REASONS.get(FinishReason(row.finish_reason), "stop") if row.finish_reason else "stop"
    if calls and reason in ("stop", CALLED):
        return "function_call" if functions else CALLED
    return "stop" if reason == CALLED else reason


def _frame(body: dict[str, Any]) -> bytes:
    return f"data: {one_line(json.dumps(body, ensure_ascii=False))}\n\n".encode()
