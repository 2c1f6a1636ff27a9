"""OpenAI's chat completions request: what is asked, in our own words.

What it knows and we cannot do is refused where the answer would be another (sound, several choices), and passed over
where it would only be a little worse (`logprobs`, `logit_bias`).
"""

from dataclasses import dataclass

from app.api.v1.chat.messages import items_of
from app.api.v1.fields import Fields
from app.core.items import Item, Options, OutputFormat, Tool, ToolChoice, last_of_user
from app.llm.schemas import check_parameters, check_schema

MAX_TOOLS, MAX_STOPS = 512, 4
MAX_TOKENS = 2**31
MODES = ("auto", "none", "required")
IGNORED = (
    "logit_bias", "logprobs", "modalities", "prediction", "prompt_cache_key", "prompt_cache_retention",
    "safety_identifier", "service_tier", "top_logprobs", "user", "verbosity", "web_search_options",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """`functions`: the client speaks of functions, which tools were called before, and is answered in those words."""

    model: str
    items: tuple[Item, ...]
    options: Options
    streams: bool
    with_usage: bool
    stored: bool
    asks_to_be_stored: bool
    metadata: dict[str, str] | None
    functions: bool

    @property
    def content(self) -> str:
        """The last words of the user."""
        return last_of_user(self.items)


def chat_request(body: Fields, *, stores: bool = False) -> ChatRequest:
    """Raises `InvalidRequest`. `stores`: where nothing is said of it."""
    body.ignore(*IGNORED)
    if body.integer("n", 1, 2**63) not in (None, 1):
        body.refuse("n", "one choice is made for a request: send it again for another", "unsupported_value")
    if body.raw("audio") is not None:
        body.refuse("audio", "answers are text here", "unsupported_value")
    streams = body.flag("stream") or False
    stream_options = body.object("stream_options")
    store = body.flag("store")
    functions = body.raw("tools") is None and body.raw("functions") is not None
    return ChatRequest(
        body.model(),
        items_of(body.objects("messages")) or body.missing("messages"),
        _options(body, functions=functions),
        streams,
        streams and stream_options is not None and bool(stream_options.flag("include_usage")),
        stores if store is None else store,
        store is True,
        body.pairs("metadata", most=16, most_key=64, most_value=512),
        functions,
    )


def _options(body: Fields, *, functions: bool) -> Options:
    tools = _functions(body) if functions else _tools(body)
    offered, choice = _choice(body, tools, "function_call" if functions else "tool_choice")
    most = body.integer("max_completion_tokens", 1, MAX_TOKENS)
    return Options(
        max_output_tokens=body.integer("max_tokens", 1, MAX_TOKENS) if most is None else most,
        temperature=body.number("temperature", 0, 2),
        top_p=body.number("top_p", 0, 1),
        stop=_stops(body),
        seed=body.integer("seed", -(2**63), 2**63 - 1),
        frequency_penalty=body.number("frequency_penalty", -2, 2),
        presence_penalty=body.number("presence_penalty", -2, 2),
        reasoning_effort=body.effort("reasoning_effort"),
        tools=offered,
        tool_choice=choice,
        parallel_tool_calls=body.flag("parallel_tool_calls") if tools else None,
        output_format=_output_format(body),
    )


def _stops(body: Fields) -> tuple[str, ...]:
    stop = body.raw("stop")
    if isinstance(stop, str):
        return (stop,) if stop else ()
    stops = body.list("stop", MAX_STOPS)
    if not all(isinstance(each, str) and each for each in stops):
        body.refuse("stop", "must be a string, or an array of strings", "invalid_type")
    return tuple(stops)


def _tools(body: Fields) -> tuple[Tool, ...]:
    found = []
    for tool in body.objects("tools", MAX_TOOLS):
        if tool.required_text("type") != "function":
            tool.refuse("type", "tools are functions here", "unsupported_value")
        found.append(_function(tool.required_object("function")))
    return tuple(found)


def _functions(body: Fields) -> tuple[Tool, ...]:
    return tuple(_function(function) for function in body.objects("functions", MAX_TOOLS))


def _function(function: Fields) -> Tool:
    name = function.required_text("name", most=64)
    if not (name.isascii() and name.replace("-", "_").replace("_", "a").isalnum()):
        function.refuse("name", "letters, digits, - and _")
    description = function.text("description") or ""
    return Tool(name, description, function.schema("parameters", check_parameters) or {}, function.flag("strict"))


def _choice(body: Fields, tools: tuple[Tool, ...], field: str) -> tuple[tuple[Tool, ...], ToolChoice | None]:
    """The tools that may be called, and which must be."""
    said = body.raw(field)
    if said is None or isinstance(said, str):
        mode = body.one_of(field, MODES)
        if mode == "required" and not tools:
            body.refuse(field, "there are no tools")
        return tools, None if mode is None or not tools else ToolChoice(mode)  # type: ignore[arg-type]
    choice = body.required_object(field)
    if choice.text("type") == "allowed_tools":
        return _allowed(choice.required_object("allowed_tools"), tools)
    named = choice if field == "function_call" else choice.required_object("function")
    name = named.required_text("name")
    if name not in {tool.name for tool in tools}:
        named.refuse("name", "there is no such tool")
    return tools, ToolChoice("named", name)


def _allowed(allowed: Fields, tools: tuple[Tool, ...]) -> tuple[tuple[Tool, ...], ToolChoice]:
    mode = "required" if allowed.one_of("mode", ("auto", "required")) == "required" else "auto"
    names = {tool.required_object("function").required_text("name") for tool in allowed.objects("tools", MAX_TOOLS)}
    offered = tuple(tool for tool in tools if tool.name in names)
    if not offered:
        allowed.refuse("tools", "there are no such tools")
    return offered, ToolChoice(mode)  # type: ignore[arg-type]


def _output_format(body: Fields) -> OutputFormat | None:
    wanted = body.object("response_format")
    if wanted is None:
        return None
    match wanted.one_of("type", ("text", "json_object", "json_schema")):
        case "json_object":
            return OutputFormat(None)
        case "json_schema":
            schema = wanted.required_object("json_schema")
            name = schema.required_text("name", most=64)
            description = schema.text("description") or ""
            return OutputFormat(schema.schema("schema", check_schema) or {}, name, description, schema.flag("strict"))
    return None
