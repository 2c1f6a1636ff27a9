"""pydantic-ai: `openai-chat` speaks chat completions, `openai-responses` responses."""

import asyncio

from cells import ASKS_FOR_TOOL, BASE, BROKE_KEY, KEY, MODEL, PROMPT, WEATHER, WRONG_KEY, refused, run
from pydantic import BaseModel
from pydantic_ai import Agent, ModelHTTPError, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider


class Person(BaseModel):
    name: str
    age: int


KINDS = (OpenAIChatModel, OpenAIResponsesModel)


def get_weather(city: str) -> str:
    """The weather of a city."""
    return WEATHER


def agent(kind: type = OpenAIChatModel, key: str = KEY, name: str = MODEL, **options: object) -> Agent:
    return Agent(kind(name, provider=OpenAIProvider(base_url=f"{BASE}/v1", api_key=key)), **options)


def text() -> None:
    for kind in KINDS:
        assert PROMPT in agent(kind).run_sync(PROMPT).output


def stream() -> None:
    async def streamed(kind: type) -> str:
        async with agent(kind).run_stream(PROMPT) as result:
            return "".join([piece async for piece in result.stream_text(delta=True)])

    for kind in KINDS:
        assert PROMPT in asyncio.run(streamed(kind))


def structured() -> None:
    for kind in KINDS:
        assert isinstance(agent(kind, output_type=NativeOutput(Person)).run_sync(PROMPT).output, Person)


def tools() -> None:
    for kind in KINDS:
        made = agent(kind)
        made.tool_plain(get_weather)
        assert WEATHER in made.run_sync(ASKS_FOR_TOOL).output


def fails(status: int, key: str = KEY, name: str = MODEL) -> None:
    try:
        agent(key=key, name=name).run_sync(PROMPT)
    except ModelHTTPError as error:
        assert error.status_code == status, error.status_code
        raise


run(
    text=text,
    stream=stream,
    structured=structured,
    tools=tools,
    unauthorized=refused(lambda: fails(401, WRONG_KEY), ModelHTTPError),
    over_budget=refused(lambda: fails(429, BROKE_KEY), ModelHTTPError),
    unknown_model=refused(lambda: fails(404, name="no-such-model"), ModelHTTPError),
)
