"""haystack: chat completions."""

import openai
from cells import (
    ASKS_FOR_TOOL,
    BASE,
    BROKE_KEY,
    CITY,
    EMBEDDING_MODEL,
    KEY,
    MODEL,
    PERSON,
    PROMPT,
    WRONG_KEY,
    refused,
    run,
)
from haystack.components.embedders import OpenAITextEmbedder
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tools import Tool
from haystack.utils import Secret


def ask(prompt: str = PROMPT, key: str = KEY, name: str = MODEL, **options: object) -> ChatMessage:
    generator = OpenAIChatGenerator(api_key=Secret.from_token(key), model=name, api_base_url=f"{BASE}/v1", **options)
    return generator.run([ChatMessage.from_user(prompt)])["replies"][0]


def text() -> None:
    assert PROMPT in ask().text


def stream() -> None:
    pieces = []
    ask(streaming_callback=lambda chunk: pieces.append(chunk.content))
    assert PROMPT in "".join(pieces)


def structured() -> None:
    shape = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON, "strict": True}}
    assert '"age"' in ask(generation_kwargs={"response_format": shape}).text


def tools() -> None:
    weather = Tool("get_weather", "The weather of a city.", CITY, lambda city: city)
    (call,) = ask(ASKS_FOR_TOOL, tools=[weather], generation_kwargs={"tool_choice": "required"}).tool_calls
    assert call.tool_name == "get_weather" and "city" in call.arguments


def embeddings() -> None:
    embedder = OpenAITextEmbedder(api_key=Secret.from_token(KEY), model=EMBEDDING_MODEL, api_base_url=f"{BASE}/v1")
    assert len(embedder.run("one")["embedding"]) > 100


run(
    text=text,
    stream=stream,
    structured=structured,
    tools=tools,
    embeddings=embeddings,
    unauthorized=refused(lambda: ask(key=WRONG_KEY), openai.AuthenticationError),
    over_budget=refused(lambda: ask(key=BROKE_KEY), openai.RateLimitError),
    unknown_model=refused(lambda: ask(name="no-such-model"), openai.NotFoundError),
)
