"""Anthropic's request: what is asked, in our own words.

What it knows and we do not is passed over where the answer is only a little worse for it (`top_k`, caching), and
refused where it would be another (servers of tools, files).
"""

import json
from dataclasses import dataclass

from app.api.v1.anthropic.blocks import items_of, part_of
from app.api.v1.fields import Fields
from app.core.items import (
    Effort,
    Item,
    Options,
    OutputFormat,
    Tool,
    ToolChoice,
    last_of_user,
    text_of,
    words_of,
)
from app.llm.pricing import estimated_tokens
from app.llm.schemas import check_parameters, check_schema

MAX_TOOLS, MAX_STOPS, MAX_TOKENS = 512, 16, 2**31
IGNORED = (
    "anthropic_beta", "betas", "cache_control", "container", "context_management", "diagnostics", "inference_geo",
    "metadata", "service_tier", "speed", "top_k",
)  # fmt: skip
# A budget of thoughts as the effort that other providers know.
EFFORTS: tuple[tuple[int, Effort], ...] = ((4_096, "low"), (16_384, "medium"), (MAX_TOKENS, "high"))
TOKENS_OF_MESSAGE = 4


@dataclass(frozen=True, slots=True)
class AnthropicRequest:
    model: str
    system: str
    items: tuple[Item, ...]
    options: Options
    streams: bool

    @property
    def content(self) -> str:
        """The last words of the user."""
        return last_of_user(self.items)

    @property
    def tokens(self) -> int:
        """About as many as the model would read; pictures are left out."""
        said = [self.system, *(words_of(item) for item in self.items)]
        offered = [json.dumps([tool.name, tool.description, tool.parameters]) for tool in self.options.tools]
        return sum(estimated_tokens(text) + TOKENS_OF_MESSAGE for text in (*said, *offered) if text)


def anthropic_request(body: Fields, *, counts: bool = False) -> AnthropicRequest:
    """`counts`: only its tokens are asked for. Raises `InvalidRequest`."""
    body.ignore(*IGNORED)
    if body.list("mcp_servers", MAX_TOOLS):
        body.refuse("mcp_servers", "tools are the caller's own here")
    most = body.integer("max_tokens", 1, MAX_TOKENS)
    if most is None and not counts:
        body.missing("max_tokens")
    items = items_of(body.objects("messages"))
    if not items:
        body.missing("messages")
    return AnthropicRequest(
        body.model(), _system(body), tuple(items), _options(body, most), body.flag("stream") or False
    )


def _system(body: Fields) -> str:
    system = body.raw("system")
    if system is None or isinstance(system, str):
        return system or ""
    blocks = body.objects("system")
    for block in blocks:
        block.ignore("cache_control", "citations")
    return "\n\n".join(text_of((part_of(block),)) for block in blocks)


def _options(body: Fields, most: int | None) -> Options:
    tools = _tools(body)
    choice, parallel = _choice(body, tools)
    stops = body.list("stop_sequences", MAX_STOPS)
    if not all(isinstance(stop, str) and stop for stop in stops):
        body.refuse("stop_sequences", "must be an array of strings", "invalid_type")
    config = body.object("output_config")
    effort = config.effort("effort") if config is not None else None
    wanted = (config.object("format") if config is not None else None) or body.object("output_format")
    return Options(
        max_output_tokens=most,
        temperature=body.number("temperature", 0, 1),
        top_p=body.number("top_p", 0, 1),
        stop=tuple(stops),
        reasoning_effort=effort or _thinking(body),
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=parallel,
        output_format=_output_format(wanted),
    )


def _tools(body: Fields) -> tuple[Tool, ...]:
    """Functions of the caller's. Those that Anthropic's servers would run are passed over: nobody runs them here."""
    found = []
    for tool in body.objects("tools", MAX_TOOLS):
        tool.ignore("cache_control", "eager_input_streaming", "defer_loading", "input_examples", "allowed_callers")
        kind = tool.text("type") or "custom"
        if kind != "custom" and tool.raw("input_schema") is None:
            continue
        schema = tool.schema("input_schema", check_parameters)
        if schema is None:
            tool.missing("input_schema")
        name = tool.required_text("name", most=128)
        found.append(Tool(name, tool.text("description") or "", schema, tool.flag("strict")))
    return tuple(found)


def _choice(body: Fields, tools: tuple[Tool, ...]) -> tuple[ToolChoice | None, bool | None]:
    choice = body.object("tool_choice")
    if choice is None:
        return None, None
    alone = choice.flag("disable_parallel_tool_use")
    parallel = None if alone is None or not tools else not alone
    match choice.one_of("type", ("auto", "any", "tool", "none")):
        case "any" if not tools:
            choice.refuse("type", "there are no tools")
        case "any":
            return ToolChoice("required"), parallel
        case "tool":
            name = choice.required_text("name")
            if name not in {tool.name for tool in tools}:
                choice.refuse("name", "there is no such tool")
            return ToolChoice("named", name), parallel
        case "none" if tools:
            return ToolChoice("none"), parallel
    return (ToolChoice("auto") if tools else None), parallel


def _thinking(body: Fields) -> Effort | None:
    thinking = body.object("thinking")
    if thinking is None:
        return None
    thinking.ignore("display")
    match thinking.one_of("type", ("enabled", "disabled", "adaptive")):
        case "enabled":
            budget = thinking.integer("budget_tokens", 1, MAX_TOKENS) or MAX_TOKENS
            return next(effort for most, effort in EFFORTS if budget <= most)
        case "adaptive":
            return "medium"
    return None


def _output_format(wanted: Fields | None) -> OutputFormat | None:
    if wanted is None:
        return None
    wanted.one_of("type", ("json_schema",))
    schema = wanted.schema("schema", check_schema)
    return OutputFormat(schema, strict=True) if schema is not None else wanted.missing("schema")
