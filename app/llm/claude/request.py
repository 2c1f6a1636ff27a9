"""A call as a request for Anthropic's messages."""

import json
import re
from collections.abc import Sequence
from typing import Any

from app.core.items import Image, Item, Message, Options, Part, Reasoning, Text, Tool, ToolCall, ToolResult
from app.llm.claude.manner import Manner

NO_PARAMETERS = {"type": "object", "properties": {}}
EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh"}
BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16_384, "xhigh": 32_768}
"""Tokens to think with, for models that know no effort."""
LEAST_BUDGET = 1024
ANY_OBJECT = "Answer with one JSON object and nothing else."
_MODES = {"auto": "auto", "none": "none", "required": "any", "named": "tool"}
_NO_ID = re.compile(r"[^a-zA-Z0-9_-]")


def system_of(items: Sequence[Item], options: Options) -> str:
    texts = [item.text for item in items if isinstance(item, Message) and item.role == "system"]
    if options.output_format is not None and options.output_format.schema is None:
        texts.append(ANY_OBJECT)
    return "\n\n".join(texts)


def messages_of(items: Sequence[Item], maker: str) -> list[dict[str, Any]]:
    """The conversation without its system messages. What their `maker` sealed goes back to it byte for byte."""
    messages: list[dict[str, Any]] = []
    for item in items:
        said_by = item.role if isinstance(item, Message) else "user" if isinstance(item, ToolResult) else "assistant"
        blocks = [] if said_by == "system" else _blocks(item, maker)
        if blocks and messages and messages[-1]["role"] == said_by:
            messages[-1]["content"] += blocks
        elif blocks:
            messages.append({"role": said_by, "content": blocks})
    for message in messages:
        if len(message["content"]) == 1 and message["content"][0]["type"] == "text":
            message["content"] = message["content"][0]["text"]
    return messages


def options_of(options: Options, manner: Manner, most: int) -> dict[str, Any]:
    """With `max_tokens`, of which `most` may be asked for."""
    most = min(options.max_output_tokens or most, most)
    asked: dict[str, Any] = {"max_tokens": most}
    tools = [_tool(tool, manner) for tool in options.tools]
    choice = _choice(options)
    wanted = options.output_format
    if wanted is not None and wanted.schema is not None:
        if manner.formats:
            asked["output_config"] = {"format": {"type": "json_schema", "schema": wanted.schema}}
        else:
            # The answer is what it calls this tool with.
            tools.append({"name": wanted.name, "input_schema": wanted.schema})
            choice = {"type": "any"} if options.tools else {"type": "tool", "name": wanted.name}
    if tools:
        asked["tools"] = tools
        if choice:
            asked["tool_choice"] = choice
    if options.stop:
        asked["stop_sequences"] = list(options.stop)
    asked |= _thinking(options, manner, most, forced=bool(tools) and choice.get("type") in ("any", "tool"))
    if effort := asked.pop("effort", None):
        asked["output_config"] = {**asked.get("output_config", {}), "effort": effort}
    if asked.get("thinking", {}).get("type", "disabled") == "disabled":  # who thinks takes neither
        if options.temperature is not None:
            asked["temperature"] = min(options.temperature, 1.0)  # theirs end where others' go on to 2
        if options.top_p is not None:
            asked["top_p"] = options.top_p
    return asked


def _blocks(item: Item, maker: str) -> list[dict[str, Any]]:
    match item:
        case Reasoning(text, provider, {"signature": signature}) if provider == maker:
            return [{"type": "thinking", "thinking": text, "signature": signature}]
        case Reasoning(_, provider, {"data": data}) if provider == maker:
            return [{"type": "redacted_thinking", "data": data}]
        case Reasoning():
            return []
        case ToolCall(call_id, name, arguments):
            return [{"type": "tool_use", "id": _id(call_id), "name": name, "input": _input(arguments)}]
        case ToolResult(call_id, content, failed):
            result: dict[str, Any] = {"type": "tool_result", "tool_use_id": _id(call_id)}
            if parts := _parts(content):
                result["content"] = parts[0]["text"] if [part["type"] for part in parts] == ["text"] else parts
            return [result | ({"is_error": True} if failed else {})]
        case Message(_, content):
            return _parts(content)


def _parts(content: str | tuple[Part, ...]) -> list[dict[str, Any]]:
    """An empty text is refused, so it is none."""
    parts = (Text(content),) if isinstance(content, str) else content
    return [_part(part) for part in parts if isinstance(part, Image) or part.text]


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    return {"type": "image", "source": {"type": "base64", "media_type": part.media_type, "data": part.data}}


def _id(call_id: str) -> str:
    """Another provider's may hold what is refused here."""
    return _NO_ID.sub("_", call_id)


def _input(arguments: str) -> dict[str, Any]:
    """An object, which a model may have failed to write."""
    try:
        value = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        value = arguments
    return value if isinstance(value, dict) else {"arguments": value}


def _tool(tool: Tool, manner: Manner) -> dict[str, Any]:
    asked: dict[str, Any] = {"name": tool.name, "input_schema": tool.parameters or NO_PARAMETERS}
    if tool.description:
        asked["description"] = tool.description
    if tool.strict and manner.strict:
        asked["strict"] = True
    return asked


def _choice(options: Options) -> dict[str, Any]:
    choice = options.tool_choice
    choosing: dict[str, Any] = {}
    if choice is not None:
        choosing = {"type": _MODES[choice.mode]} | ({"name": choice.name} if choice.mode == "named" else {})
    if options.parallel_tool_calls is False and choosing.get("type") != "none":
        choosing = {"type": "auto", **choosing, "disable_parallel_tool_use": True}
    return choosing


def _thinking(options: Options, manner: Manner, most: int, *, forced: bool) -> dict[str, Any]:
    effort = options.reasoning_effort
    if effort is None or manner.thinking == "never":
        return {}
    if effort == "none":
        return {"thinking": {"type": "disabled"}}
    if manner.thinking == "effort":
        # Who must call a tool cannot think about it; less effort it can make all the same.
        thinking = {} if forced else {"thinking": {"type": "adaptive", "display": "summarized"}}
        return {**thinking, "effort": EFFORTS[effort]}
    budget = min(BUDGETS[effort], most // 2)
    if forced or budget < LEAST_BUDGET:
        return {}
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}
