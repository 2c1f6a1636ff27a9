"""anthropic-python: messages."""

import json

import anthropic
from cells import ASKS_FOR_TOOL, BASE, BROKE_KEY, CITY, KEY, MODEL, PROMPT, WEATHER, WRONG_KEY, refused, run

client = anthropic.Anthropic(base_url=BASE, api_key=KEY)
USER = [{"role": "user", "content": PROMPT}]
TOOL = {"name": "get_weather", "description": "The weather.", "input_schema": CITY}


def text() -> None:
    done = client.messages.create(model=MODEL, max_tokens=500, messages=USER, system="Be brief.")
    assert PROMPT in done.content[0].text and done.stop_reason == "end_turn" and done.usage.output_tokens > 0
    assert client.messages.count_tokens(model=MODEL, messages=USER).input_tokens > 0


def stream() -> None:
    with client.messages.stream(model=MODEL, max_tokens=500, messages=USER) as events:
        pieces = list(events.text_stream)
        assert PROMPT in "".join(pieces) and events.get_final_message().stop_reason == "end_turn"


def tools() -> None:
    asked = [{"role": "user", "content": ASKS_FOR_TOOL}]
    options = {"model": MODEL, "max_tokens": 500, "tools": [TOOL]}
    for streams in (False, True):
        if streams:
            with client.messages.stream(messages=asked, tool_choice={"type": "any"}, **options) as events:
                done = events.get_final_message()
        else:
            done = client.messages.create(messages=asked, tool_choice={"type": "any"}, **options)
        call = next(block for block in done.content if block.type == "tool_use")
        assert done.stop_reason == "tool_use" and "city" in call.input, json.dumps(call.input)
        said = {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in done.content]}
        result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": WEATHER}]}
        last = client.messages.create(messages=[*asked, said, result], **options)
        assert WEATHER in last.content[0].text


def ask(key: str = KEY, name: str = MODEL) -> None:
    anthropic.Anthropic(base_url=BASE, api_key=key).messages.create(model=name, max_tokens=50, messages=USER)


run(
    text=text,
    stream=stream,
    tools=tools,
    unauthorized=refused(lambda: ask(WRONG_KEY), anthropic.AuthenticationError),
    over_budget=refused(lambda: ask(BROKE_KEY), anthropic.RateLimitError),
    unknown_model=refused(lambda: ask(name="no-such-model"), anthropic.NotFoundError),
)
