"""langchain-openai: chat completions and embeddings."""

import openai
from cells import (
    ASKS_FOR_TOOL,
    BASE,
    BROKE_KEY,
    EMBEDDING_MODEL,
    KEY,
    MODEL,
    PERSON,
    PROMPT,
    WEATHER,
    WRONG_KEY,
    refused,
    run,
)
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings


def model(key: str = KEY, name: str = MODEL) -> ChatOpenAI:
    return ChatOpenAI(base_url=f"{BASE}/v1", api_key=key, model=name)


@tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    return WEATHER


def text() -> None:
    answer = model().invoke(PROMPT)
    assert PROMPT in answer.content and answer.usage_metadata["total_tokens"] > 0


def stream() -> None:
    pieces = list(model().stream(PROMPT))
    assert len(pieces) > 2 and PROMPT in "".join(piece.content for piece in pieces)


def structured() -> None:
    person = {"title": "person", "description": "A person.", **PERSON}
    assert set(model().with_structured_output(person, method="json_schema").invoke(PROMPT)) == {"name", "age"}


def tools() -> None:
    asked = HumanMessage(ASKS_FOR_TOOL)
    called = model().bind_tools([get_weather], tool_choice="required").invoke([asked])
    (call,) = called.tool_calls
    assert call["name"] == "get_weather"
    last = model().bind_tools([get_weather]).invoke([asked, called, ToolMessage(WEATHER, tool_call_id=call["id"])])
    assert WEATHER in last.content


def embeddings() -> None:
    # Its own counting of tokens would fetch a file from the network.
    embedder = OpenAIEmbeddings(
        base_url=f"{BASE}/v1", api_key=KEY, model=EMBEDDING_MODEL, check_embedding_ctx_length=False
    )
    assert len(embedder.embed_documents(["one", "two"])) == 2


run(
    text=text,
    stream=stream,
    structured=structured,
    tools=tools,
    embeddings=embeddings,
    unauthorized=refused(lambda: model(WRONG_KEY).invoke(PROMPT), openai.AuthenticationError),
    over_budget=refused(lambda: model(BROKE_KEY).invoke(PROMPT), openai.RateLimitError),
    unknown_model=refused(lambda: model(name="no-such-model").invoke(PROMPT), openai.NotFoundError),
)
