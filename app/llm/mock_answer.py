"""What the mock provider answers: equal for equal calls, and with nothing in it that it did not take from the call."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from app.core.completion import Completion, FinishReason
from app.core.items import (
    Delta,
    Image,
    Item,
    Message,
    Reasoning,
    ReasoningDelta,
    TextDelta,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolResult,
)
from app.llm.base import Call
from app.llm.examples import example_of

NAME = "mock"
ABSENT = "[mock] No language model is configured"
TOKENS_PER_IMAGE = 85
PIECES = re.compile(r"\S+\s*|\s+")


def answer_to(call: Call, model: str) -> Completion:
    """Calls the tools that `tool_choice` demands, or the prompt ("call get_weather"); quotes what tools said; fills in
    a wanted schema; and repeats the prompt else. Words are its tokens.
    """
    options = call.options
    thoughts = _thoughts(call)
    said: list[Item] = [*thoughts, *_calls(call)]
    reason = FinishReason.TOOL_CALLS
    text = ""
    if len(said) == len(thoughts):
        text, reason = _bounded(call, _text(call), thoughts)
        said.append(Message("assistant", text))
    read = sum(map(_tokens, call.items))
    counts = Completion(text, model, read, sum(map(_tokens, said)), finish_reason=reason)
    if len(said) == 1 and text:
        return counts
    thought = sum(map(_tokens, thoughts)) if options.reasoning_effort else None
    return replace(counts, reasoning_tokens=thought, items=tuple(said))


def events_of(answer: Completion) -> list[Delta]:
    """The same, piece by piece."""
    return [event for item in _numbered(answer.output) for event in item]


def _numbered(items: Sequence[Item]) -> Iterator[list[Delta]]:
    index = 0
    for item in items:
        match item:
            case Message():
                yield [TextDelta(piece) for piece in PIECES.findall(item.text)]
            case Reasoning(text, provider, sealed):
                yield [*map(ReasoningDelta, PIECES.findall(text)), ReasoningDelta("", provider, sealed)]
            case ToolCall(call_id, name, arguments):
                pieces = [ToolCallDelta(index, piece) for piece in PIECES.findall(arguments)]
                yield [ToolCallDelta(index, "", call_id, name), *pieces]
                index += 1


def _thoughts(call: Call) -> list[Reasoning]:
    effort = call.options.reasoning_effort
    if effort in (None, "none"):
        return []
    words = sum(map(_tokens, call.items))
    return [
        Reasoning(f"[mock] Thinking with {effort} effort about {words} words.", NAME, {"signature": f"mock-{words}"})
    ]


def _calls(call: Call) -> list[ToolCall]:
    earlier = sum(isinstance(item, ToolCall) for item in call.items)
    wanted = _wanted(call)
    if call.options.parallel_tool_calls is False:
        wanted = wanted[:1]
    return [
        ToolCall(f"call_mock_{number}", tool.name, json.dumps(_arguments(tool), ensure_ascii=False))
        for number, tool in enumerate(wanted, earlier + 1)
    ]


def _wanted(call: Call) -> list[Tool]:
    tools, choice = call.options.tools, call.options.tool_choice
    mode = choice.mode if choice else "auto"
    if not tools or mode == "none":
        return []
    if choice is not None and mode == "named":
        return [tool for tool in tools if tool.name == choice.name][:1]
    # Who must call a tool, and has called all, has an answer: an agent would not end otherwise.
    called = {item.name for item in _turn(call.items) if isinstance(item, ToolCall)}
    left = [tool for tool in tools if tool.name not in called]
    named = [] if isinstance(call.items[-1], ToolResult) else [tool for tool in left if _names(call, tool)]
    return named or (left[:1] if mode == "required" else [])


def _names(call: Call, tool: Tool) -> bool:
    """Whether the prompt's last line asks for the tool: call it, use it."""
    *_, line = [""] + [line for line in _prompt(call.items).splitlines() if line.strip()]
    asked = re.search(r"\b(?:call|use)\b(.*)", line, re.IGNORECASE)
    return asked is not None and re.search(rf"(?<![\w-]){re.escape(tool.name)}(?![\w-])", asked[1]) is not None


def _arguments(tool: Tool) -> object:
    arguments = example_of({"type": "object", **tool.parameters})
    return arguments if isinstance(arguments, dict) else {}


def _text(call: Call) -> str:
    wanted = call.options.output_format
    if wanted is not None:
        value = {"mock": ABSENT} if wanted.schema is None else example_of(wanted.schema)
        return json.dumps(value, ensure_ascii=False)
    if call.items and isinstance(call.items[-1], ToolResult):
        names = {item.id: item.name for item in call.items if isinstance(item, ToolCall)}
        results = [item for item in _turn(call.items) if isinstance(item, ToolResult)]
        quoted = "; ".join(f"{names.get(result.call_id, result.call_id)}: {result.text}" for result in results)
        return f"{ABSENT}, so here is what your tools said: {quoted}"
    images = sum(map(_images, call.items))
    shown = f", with {images} image{'s' * (images > 1)}" if images else ""
    return f"{ABSENT}, so here is your prompt again{shown}: {_prompt(call.items)}"


def _bounded(call: Call, text: str, thoughts: Sequence[Item]) -> tuple[str, FinishReason]:
    """The text up to the first stop, or to as many words as were asked for."""
    for stop in call.options.stop:
        text = text.partition(stop)[0] if stop else text
    most = call.options.max_output_tokens
    left = len(text) if most is None else max(0, most - sum(map(_tokens, thoughts)))
    pieces = PIECES.findall(text) if most is not None else []
    if len(pieces) > left:
        return "".join(pieces[:left]), FinishReason.LENGTH
    return text, FinishReason.STOP


def _turn(items: Sequence[Item]) -> Sequence[Item]:
    """What came after the last prompt."""
    prompts = [at for at, item in enumerate(items) if isinstance(item, Message) and item.role == "user"]
    return items[prompts[-1] + 1 :] if prompts else items


def _prompt(items: Sequence[Item]) -> str:
    messages = [item for item in items if isinstance(item, Message)]
    users = [message for message in messages if message.role == "user"]
    return (users or messages)[-1].text if messages else ""


def _images(item: Item) -> int:
    content = item.content if isinstance(item, Message | ToolResult) else ""
    return 0 if isinstance(content, str) else sum(isinstance(part, Image) for part in content)


def _tokens(item: Item) -> int:
    match item:
        case Reasoning():
            return len(item.text.split())
        case ToolCall():
            return 1 + len(item.arguments.split())
    return len(item.text.split()) + _images(item) * TOKENS_PER_IMAGE
