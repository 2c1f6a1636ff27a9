"""A call as a request for Ollama's chat."""

import json
from collections.abc import Sequence
from typing import Any

from app.core.items import Image, Item, Message, Options, Reasoning, Tool, ToolCall, ToolResult
from app.llm.openai.request import NO_PARAMETERS

LEVELS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high"}
SAMPLING = ("temperature", "top_p", "seed", "frequency_penalty", "presence_penalty")
THINKING = ("level", "switch", "never")
"""How a model is told to think: by a level, which few know; on or off; or not at all."""


def messages_of(items: Sequence[Item], maker: str) -> list[dict[str, Any]]:
    """The conversation. Thoughts go back to their `maker`."""
    messages: list[dict[str, Any]] = []
    names = {item.id: item.name for item in items if isinstance(item, ToolCall)}
    thought = ""
    for item in items:
        match item:
            case Reasoning(text, provider, {"field": "thinking"}) if provider == maker:
                thought += text
            case Message(role, content):
                messages.append(_message(role, item.text, content))
            case ToolCall(_, name, arguments):
                if not messages or messages[-1]["role"] != "assistant":
                    messages.append(_message("assistant", ""))
                function = {"name": name, "arguments": _arguments(arguments)}
                messages[-1].setdefault("tool_calls", []).append({"function": function})
            case ToolResult(call_id, content):
                messages.append(_message("tool", item.text, content))
                if call_id in names:
                    messages[-1]["tool_name"] = names[call_id]
        if thought and not isinstance(item, Reasoning):
            if messages[-1]["role"] == "assistant":
                messages[-1]["thinking"] = messages[-1].get("thinking", "") + thought
            thought = ""
    return messages


def options_of(options: Options, own: dict[str, Any], thinking: str) -> dict[str, Any]:
    """`own` are those of the model, with the most tokens that an answer may have."""
    settings = dict(own)
    if options.max_output_tokens is not None:
        settings["num_predict"] = min(options.max_output_tokens, own["num_predict"])
    settings |= {name: value for name in SAMPLING if (value := getattr(options, name)) is not None}
    if options.stop:
        settings["stop"] = list(options.stop)
    asked: dict[str, Any] = {"options": settings}
    if tools := _offered(options):
        asked["tools"] = [{"type": "function", "function": _function(tool)} for tool in tools]
    if options.output_format is not None:
        schema = options.output_format.schema
        asked["format"] = "json" if schema is None else schema
    effort = options.reasoning_effort
    if effort is not None and thinking != "never":
        asked["think"] = False if effort == "none" else LEVELS[effort] if thinking == "level" else True
    return asked


def _offered(options: Options) -> list[Tool]:
    """It cannot be told what to choose: a choice of none, or of one, is made by what is offered."""
    choice = options.tool_choice
    if choice is None or choice.mode in ("auto", "required"):
        return list(options.tools)
    return [tool for tool in options.tools if choice.mode == "named" and tool.name == choice.name]


def _message(role: str, text: str, content: Sequence[object] = ()) -> dict[str, Any]:
    images = [part.data for part in content if isinstance(part, Image)]
    return {"role": role, "content": text, **({"images": images} if images else {})}


def _arguments(text: str) -> dict[str, Any]:
    """An object, which a model may have failed to write."""
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        value = text
    return value if isinstance(value, dict) else {"arguments": value}


def _function(tool: Tool) -> dict[str, Any]:
    described = {"description": tool.description} if tool.description else {}
    return {"name": tool.name, **described, "parameters": tool.parameters or NO_PARAMETERS}
