"""What a request wants beside its items: as options of a call, and as the response repeats it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import structlog

from app.api.v1.fields import Fields
from app.core.items import Options, OutputFormat, Tool, ToolChoice
from app.llm.schemas import check_parameters, check_schema

Mode = Literal["auto", "none", "required"]
MODES = ("auto", "none", "required")
SUMMARIES = ("auto", "concise", "detailed")
VERBOSITIES = ("low", "medium", "high")
TRUNCATIONS = ("auto", "disabled")
MAX_TOOLS, MAX_NAME, MAX_SHORT, MAX_TOKENS, MAX_NAMED = 1_000, 200, 512, 2**31 - 1, 20
# Of no effect here, and known to be: every client sends some of them.
WITHOUT_EFFECT = (
    "user",
    "service_tier",
    "top_logprobs",
    "client_metadata",
    "context_management",
    "prompt_cache_retention",
    "prompt_cache_options",
    "stream_options",
)

logger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Wanted:
    """`extra` is what the response repeats of it, and no option says: it is stored with them."""

    options: Options
    extra: dict[str, Any]


def read_options(fields: Fields) -> Wanted:
    """Raises `InvalidRequest` for what would change the answer and cannot be done here."""
    choice, tools = _choice(fields, "tool_choice", _tools(fields))
    text, reasoning = fields.object("text") or Fields({}), fields.object("reasoning") or Fields({})
    parallel = fields.flag("parallel_tool_calls")
    options = Options(
        max_output_tokens=fields.integer("max_output_tokens", 1, MAX_TOKENS),
        temperature=fields.number("temperature", 0, 2),
        top_p=fields.number("top_p", 0, 1),
        reasoning_effort=reasoning.effort("effort"),
        tools=tuple(tools.values()),
        tool_choice=choice if tools and choice.mode != "auto" else None,
        parallel_tool_calls=parallel if tools else None,
        output_format=_format(text.object("format")),
    )
    fields.ignore(*WITHOUT_EFFECT)
    extra = {
        "max_output_tokens": options.max_output_tokens,
        "max_tool_calls": fields.integer("max_tool_calls", 0, MAX_TOKENS),
        "temperature": 1.0 if options.temperature is None else options.temperature,
        "top_p": 1.0 if options.top_p is None else options.top_p,
        "tool_choice": fields.raw("tool_choice") or "auto",
        "parallel_tool_calls": parallel is not False,
        "verbosity": text.one_of("verbosity", VERBOSITIES) or "medium",
        "reasoning": {"effort": options.reasoning_effort, "summary": reasoning.one_of("summary", SUMMARIES)},
        "truncation": fields.one_of("truncation", TRUNCATIONS) or "disabled",
        "safety_identifier": fields.text("safety_identifier", MAX_SHORT),
        "prompt_cache_key": fields.text("prompt_cache_key", MAX_SHORT),
    }
    return Wanted(options, extra)


def _tools(fields: Fields) -> dict[str, Tool]:
    """The functions by name. What only another service could run is passed over."""
    tools, passed_over = {}, set()
    for sent in fields.objects("tools", MAX_TOOLS):
        kind = sent.text("type") or ""
        if kind == "function":
            tool = _tool(sent)
            tools[tool.name] = tool
        else:
            passed_over.add(kind[:MAX_NAMED])
    if passed_over:
        logger.info("tools_passed_over", types=sorted(passed_over)[:MAX_NAMED])
    return tools


def _tool(sent: Fields) -> Tool:
    name, description = sent.required_text("name", MAX_NAME), sent.text("description") or ""
    return Tool(name, description, sent.schema("parameters", check_parameters) or {}, sent.flag("strict"))


def _choice(fields: Fields, name: str, tools: Mapping[str, Tool]) -> tuple[ToolChoice, Mapping[str, Tool]]:
    """The choice, and the functions that it leaves."""
    sent = fields.raw(name)
    if sent is None or isinstance(sent, str):
        mode = cast("Mode", fields.one_of(name, MODES) or "auto")
        if mode == "required" and not tools:
            fields.refuse(name, "there is no function in `tools` that could be called")
        return ToolChoice(mode), tools
    choice = fields.object(name)
    kind = choice and choice.text("type")
    if choice and kind == "allowed_tools":
        allowed = {tool.text("name") for tool in choice.objects("tools", MAX_TOOLS)}
        return _choice(choice, "mode", {called: tool for called, tool in tools.items() if called in allowed})
    if choice and kind == "function" and (called := choice.text("name")) in tools:
        return ToolChoice("named", called or ""), tools
    return fields.refuse(name, "must be auto, none, required, or one of the functions in `tools`", "unsupported_value")


def _format(sent: Fields | None) -> OutputFormat | None:
    kind = sent and sent.one_of("type", ("text", "json_object", "json_schema"))
    if sent is None or kind in (None, "text"):
        return None
    if kind == "json_object":
        return OutputFormat(None)
    sent.required_object("schema")
    name, description = sent.text("name", MAX_NAME) or "output", sent.text("description") or ""
    return OutputFormat(sent.schema("schema", check_schema), name, description, sent.flag("strict"))
