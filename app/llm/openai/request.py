"""A call as a request for chat completions. It holds what was asked for alone: servers refuse what they do not know."""

from collections.abc import Sequence
from typing import Any

from app.core.items import (
    Image,
    Item,
    Message,
    Options,
    OutputFormat,
    Part,
    Reasoning,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)

SAMPLING = ("temperature", "top_p", "seed", "frequency_penalty", "presence_penalty", "reasoning_effort")
HINTS = (*SAMPLING, "parallel_tool_calls")
"""What an answer can do without. Models that think take no temperature, and few servers know all of these."""
THOUGHTS = ("reasoning_content", "reasoning")
"""Fields of the same text: DeepSeek's and vLLM's; OpenRouter's and Groq's. Some servers fill both."""
NO_PARAMETERS = {"type": "object", "properties": {}}


def messages_of(items: Sequence[Item], maker: str) -> list[dict[str, Any]]:
    """The conversation. Thoughts go back to their `maker`, within a turn: of earlier ones models want none."""
    messages: list[dict[str, Any]] = []
    shown: list[Image] = []
    thought: dict[str, str] = {}
    asked = max((at for at, item in enumerate(items) if isinstance(item, Message) and item.role == "user"), default=-1)
    for at, item in enumerate(items):
        if shown and not isinstance(item, ToolResult):
            messages.append(_showing(shown))
            shown = []
        match item:
            case Reasoning(text, provider, {"field": str(name)}) if provider == maker and at > asked:
                if name in THOUGHTS:  # a seal comes by the client, who may have written another
                    thought[name] = thought.get(name, "") + text
            case ToolCall():
                _add_thoughts(_add_call(messages, item), thought)
            case ToolResult(call_id, content):
                messages.append({"role": "tool", "tool_call_id": call_id, "content": item.text})
                # A result holds text alone here; the model is to see its images all the same, after the last result.
                shown += [part for part in content if isinstance(part, Image)]
            case Message("assistant"):
                _add_thoughts(_add_answer(messages, item.text), thought)
            case Message(role, content):
                messages.append({"role": role, "content": _content(content)})
    if shown:
        messages.append(_showing(shown))
    return messages


def options_of(options: Options) -> dict[str, Any]:
    """All but the bound of the answer, whose name differs."""
    asked: dict[str, Any] = {name: value for name in SAMPLING if (value := getattr(options, name)) is not None}
    if options.stop:
        asked["stop"] = list(options.stop)
    if options.tools:
        asked["tools"] = [{"type": "function", "function": _function(tool)} for tool in options.tools]
        if options.tool_choice is not None:
            asked["tool_choice"] = _choice(options.tool_choice)
        if options.parallel_tool_calls is not None:
            asked["parallel_tool_calls"] = options.parallel_tool_calls
    if options.output_format is not None:
        asked["response_format"] = _format(options.output_format)
    return asked


def _add_call(messages: list[dict[str, Any]], call: ToolCall) -> dict[str, Any]:
    """All calls of an answer stand in one message, with its text."""
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant"})
    function = {"name": call.name, "arguments": call.arguments}
    messages[-1].setdefault("tool_calls", []).append({"id": call.id, "type": "function", "function": function})
    return messages[-1]


def _add_answer(messages: list[dict[str, Any]], text: str) -> dict[str, Any]:
    """What was said after a call goes before it: only a result may follow the message that has the call."""
    if messages and "tool_calls" in messages[-1]:
        messages[-1]["content"] = messages[-1].get("content", "") + text
    else:
        messages.append({"role": "assistant", "content": text})
    return messages[-1]


def _add_thoughts(message: dict[str, Any], thought: dict[str, str]) -> None:
    for name, text in thought.items():
        message[name] = message.get(name, "") + text
    thought.clear()


def _content(content: str | tuple[Part, ...]) -> str | list[dict[str, Any]]:
    """Parts only where a string would not do: not every server knows them."""
    if isinstance(content, str):
        return content
    if all(isinstance(part, Text) for part in content):
        return "".join(part.text for part in content if isinstance(part, Text))
    return [_part(part) for part in content]


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    return {"type": "image_url", "image_url": {"url": f"data:{part.media_type};base64,{part.data}"}}


def _showing(images: list[Image]) -> dict[str, Any]:
    return {"role": "user", "content": [_part(image) for image in images]}


def _function(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name, "parameters": tool.parameters or NO_PARAMETERS}
    if tool.description:
        function["description"] = tool.description
    if tool.strict is not None:
        function["strict"] = tool.strict
    return function


def _choice(choice: ToolChoice) -> str | dict[str, Any]:
    return {"type": "function", "function": {"name": choice.name}} if choice.mode == "named" else choice.mode


def _format(wanted: OutputFormat) -> dict[str, Any]:
    if wanted.schema is None:
        return {"type": "json_object"}
    described: dict[str, Any] = {"name": wanted.name, "schema": wanted.schema}
    if wanted.description:
        described["description"] = wanted.description
    if wanted.strict is not None:
        described["strict"] = wanted.strict
    return {"type": "json_schema", "json_schema": described}
