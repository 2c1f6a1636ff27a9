"""openai-python: chat completions, responses and embeddings."""

import json

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
    WEATHER,
    WRONG_KEY,
    refused,
    run,
)

client = openai.OpenAI(base_url=f"{BASE}/v1", api_key=KEY)
USER = [{"role": "user", "content": PROMPT}]
TOOL = {"type": "function", "function": {"name": "get_weather", "description": "The weather.", "parameters": CITY}}


def text() -> None:
    done = client.chat.completions.create(model=MODEL, messages=USER)
    assert PROMPT in done.choices[0].message.content and done.choices[0].finish_reason == "stop"
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens > 0
    answered = client.responses.create(model=MODEL, input=PROMPT)
    assert PROMPT in answered.output_text and answered.status == "completed"


def stream() -> None:
    chunks = list(
        client.chat.completions.create(model=MODEL, messages=USER, stream=True, stream_options={"include_usage": True})
    )
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert PROMPT in said and chunks[-1].usage.completion_tokens > 0 and len({chunk.id for chunk in chunks}) == 1
    with client.responses.stream(model=MODEL, input=PROMPT) as events:
        pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
        assert "".join(pieces) == events.get_final_response().output_text and PROMPT in "".join(pieces)


def structured() -> None:
    shape = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON, "strict": True}}
    done = client.chat.completions.create(model=MODEL, messages=USER, response_format=shape)
    assert set(json.loads(done.choices[0].message.content)) == {"name", "age"}
    wanted = {"format": {"type": "json_schema", "name": "person", "schema": PERSON, "strict": True}}
    answered = client.responses.create(model=MODEL, input=PROMPT, text=wanted)
    assert set(json.loads(answered.output_text)) == {"name", "age"}


def tools() -> None:
    asked = [{"role": "user", "content": ASKS_FOR_TOOL}]
    for streams in (False, True):
        options = {"model": MODEL, "tools": [TOOL], "tool_choice": "required"}
        if streams:
            with client.chat.completions.stream(messages=asked, **options) as events:
                for _ in events:
                    pass
                done = events.get_final_completion()
        else:
            done = client.chat.completions.create(messages=asked, **options)
        choice = done.choices[0]
        call = choice.message.tool_calls[0]
        assert choice.finish_reason == "tool_calls" and call.function.name == "get_weather"
        assert "city" in json.loads(call.function.arguments)
        said = {"role": "assistant", "tool_calls": [call.model_dump(include={"id", "type", "function"})]}
        result = {"role": "tool", "tool_call_id": call.id, "content": WEATHER}
        last = client.chat.completions.create(model=MODEL, messages=[*asked, said, result], tools=[TOOL])
        assert WEATHER in last.choices[0].message.content
    function = {"type": "function", "name": "get_weather", "parameters": CITY, "strict": True}
    first = client.responses.create(model=MODEL, input=ASKS_FOR_TOOL, tools=[function], tool_choice="required")
    called = next(item for item in first.output if item.type == "function_call")
    output = {"type": "function_call_output", "call_id": called.call_id, "output": WEATHER}
    then = client.responses.create(model=MODEL, previous_response_id=first.id, input=[output], tools=[function])
    assert WEATHER in then.output_text


def embeddings() -> None:
    found = client.embeddings.create(model=EMBEDDING_MODEL, input=["one", "two"])
    assert len(found.data) == 2 and len(found.data[0].embedding) > 100


def resume() -> None:
    events = client.responses.create(model=MODEL, input=PROMPT, stream=True, background=True)
    seen = []
    for event in events:
        seen.append(event)
        if sum(event.type == "response.output_text.delta" for event in seen) == 2:
            break
    events.close()
    known = next(event.response.id for event in seen if event.type == "response.created")
    rest = client.responses.retrieve(known, stream=True, starting_after=seen[-1].sequence_number)
    whole = [*seen, *rest]
    numbers = [event.sequence_number for event in whole]
    assert numbers == sorted(set(numbers)) and whole[-1].type == "response.completed"
    text = "".join(event.delta for event in whole if event.type == "response.output_text.delta")
    assert text == whole[-1].response.output_text


def with_key(key: str) -> None:
    openai.OpenAI(base_url=f"{BASE}/v1", api_key=key).chat.completions.create(model=MODEL, messages=USER)


run(
    text=text,
    stream=stream,
    structured=structured,
    tools=tools,
    embeddings=embeddings,
    unauthorized=refused(lambda: with_key(WRONG_KEY), openai.AuthenticationError),
    over_budget=refused(lambda: with_key(BROKE_KEY), openai.RateLimitError),
    unknown_model=refused(
        lambda: client.chat.completions.create(model="no-such-model", messages=USER), openai.NotFoundError
    ),
    resume=resume,
)
