"""openai-agents: responses."""

import asyncio

import openai
from agents import Agent, ModelSettings, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
from cells import ASKS_FOR_TOOL, BASE, BROKE_KEY, KEY, MODEL, PROMPT, WEATHER, WRONG_KEY, refused, run
from pydantic import BaseModel

set_tracing_disabled(True)


class Person(BaseModel):
    name: str
    age: int


@function_tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    return WEATHER


def agent(key: str = KEY, name: str = MODEL, **options: object) -> Agent:
    client = openai.AsyncOpenAI(base_url=f"{BASE}/v1", api_key=key)
    return Agent(name="a", model=OpenAIResponsesModel(name, client), **options)


def text() -> None:
    assert PROMPT in Runner.run_sync(agent(), PROMPT).final_output


def stream() -> None:
    async def streamed() -> str:
        result = Runner.run_streamed(agent(), PROMPT)
        pieces = []
        async for event in result.stream_events():
            if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                pieces.append(event.data.delta)
        return "".join(pieces)

    assert PROMPT in asyncio.run(streamed())


def structured() -> None:
    assert isinstance(Runner.run_sync(agent(output_type=Person), PROMPT).final_output, Person)


def tools() -> None:
    made = agent(tools=[get_weather], model_settings=ModelSettings(tool_choice="required"))
    assert WEATHER in Runner.run_sync(made, ASKS_FOR_TOOL).final_output


run(
    text=text,
    stream=stream,
    structured=structured,
    tools=tools,
    unauthorized=refused(lambda: Runner.run_sync(agent(WRONG_KEY), PROMPT), openai.AuthenticationError),
    over_budget=refused(lambda: Runner.run_sync(agent(BROKE_KEY), PROMPT), openai.RateLimitError),
    unknown_model=refused(lambda: Runner.run_sync(agent(name="no-such-model"), PROMPT), openai.NotFoundError),
)
