"""llama-index-llms-openai-like: chat completions."""

import openai
from cells import ASKS_FOR_TOOL, BASE, BROKE_KEY, KEY, MODEL, PROMPT, WRONG_KEY, refused, run
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike


def model(key: str = KEY, name: str = MODEL) -> OpenAILike:
    return OpenAILike(
        api_base=f"{BASE}/v1",
        api_key=key,
        model=name,
        is_chat_model=True,
        is_function_calling_model=True,
        max_retries=0,
    )


def get_weather(city: str) -> str:
    """The weather of a city."""
    return city


def text() -> None:
    assert PROMPT in model().chat([ChatMessage(role="user", content=PROMPT)]).message.content


def stream() -> None:
    pieces = list(model().stream_chat([ChatMessage(role="user", content=PROMPT)]))
    assert len(pieces) > 2 and PROMPT in pieces[-1].message.content


def tools() -> None:
    llm = model()
    answer = llm.chat_with_tools([FunctionTool.from_defaults(get_weather)], ASKS_FOR_TOOL, tool_required=True)
    (call,) = llm.get_tool_calls_from_response(answer)
    assert call.tool_name == "get_weather" and "city" in call.tool_kwargs


run(
    text=text,
    stream=stream,
    tools=tools,
    unauthorized=refused(lambda: model(WRONG_KEY).complete(PROMPT), openai.AuthenticationError),
    over_budget=refused(lambda: model(BROKE_KEY).complete(PROMPT), openai.RateLimitError),
    unknown_model=refused(lambda: model(name="no-such-model").complete(PROMPT), openai.NotFoundError),
)
