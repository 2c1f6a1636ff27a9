"""smolagents: chat completions with content as parts."""

import openai
from cells import ASKS_FOR_TOOL, BASE, BROKE_KEY, KEY, MODEL, PROMPT, WRONG_KEY, refused, run
from smolagents import OpenAIModel, tool
from smolagents.models import ChatMessage, MessageRole

ASKED = [ChatMessage(MessageRole.USER, [{"type": "text", "text": PROMPT}])]


@tool
def get_weather(city: str) -> str:
    """The weather of a city.

    Args:
        city: Its name.
    """
    return city


def model(key: str = KEY, name: str = MODEL) -> OpenAIModel:
    # By itself it waits minutes for a limit to pass, and tries again.
    return OpenAIModel(name, api_base=f"{BASE}/v1", api_key=key, retry=False)


def text() -> None:
    assert PROMPT in model().generate(ASKED).content


def stream() -> None:
    assert PROMPT in "".join(piece.content or "" for piece in model().generate_stream(ASKED))


def tools() -> None:
    asked = [ChatMessage(MessageRole.USER, [{"type": "text", "text": ASKS_FOR_TOOL}])]
    (call,) = model().generate(asked, tools_to_call_from=[get_weather]).tool_calls
    assert call.function.name == "get_weather"


run(
    text=text,
    stream=stream,
    tools=tools,
    unauthorized=refused(lambda: model(WRONG_KEY).generate(ASKED), openai.AuthenticationError),
    over_budget=refused(lambda: model(BROKE_KEY).generate(ASKED), openai.RateLimitError),
    unknown_model=refused(lambda: model(name="no-such-model").generate(ASKED), openai.NotFoundError),
)
