"""Messages as Anthropic's own client asks for them: nothing of it is changed but base URL and key."""

import json
from typing import Any

import anthropic
import pytest

from tests.api.v1.conftest import Live
from tests.helpers import Tenant, make_tenant

HELLO: list[Any] = [{"role": "user", "content": "What is async Python?"}]
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: list[Any] = [{"name": "get_weather", "description": "The weather.", "input_schema": CITY}]
ASKED: dict[str, Any] = {"model": "mock-echo", "max_tokens": 500}


def client_of(live: Live, token: str, **options: Any) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=live.url, api_key=token, **options)


async def test_a_question_is_answered(live: Live, tenant: Tenant) -> None:
    async with client_of(live, tenant.user.token) as client:
        answer = await client.messages.create(**ASKED, messages=HELLO, system="Be brief.")
        counted = await client.messages.count_tokens(model="mock-echo", messages=HELLO, tools=TOOLS)
        fewer = await client.messages.count_tokens(model="mock-echo", messages=HELLO)
    assert answer.id.startswith("msg_")
    assert (answer.type, answer.role, answer.stop_reason) == ("message", "assistant", "end_turn")
    assert answer.content[0].type == "text"
    assert answer.content[0].text.endswith("What is async Python?")
    assert answer.usage.input_tokens > 0
    assert answer.usage.output_tokens > 0
    assert counted.input_tokens > fewer.input_tokens > 0


async def test_either_header_names_the_caller(live: Live, tenant: Tenant) -> None:
    body = {**ASKED, "messages": HELLO}
    for headers in ({"x-api-key": tenant.user.token}, {"Authorization": f"Bearer {tenant.user.token}"}):
        assert (await live.client.post("/v1/messages", json=body, headers=headers)).status_code == 200
    elsewhere = await live.client.get("/me", headers={"x-api-key": tenant.user.token})
    assert elsewhere.status_code == 401


async def test_a_stream_is_as_anthropic_streams(live: Live, tenant: Tenant) -> None:
    async with client_of(live, tenant.user.token) as client:
        whole = await client.messages.create(**ASKED, messages=HELLO)
        async with client.messages.stream(**ASKED, messages=HELLO) as stream:
            kinds = [event.type async for event in stream]
            answer = await stream.get_final_message()
        async with await client.messages.create(**ASKED, messages=HELLO, stream=True) as raw:
            first, *_, last = [event async for event in raw]
    assert [block.model_dump(include={"type", "text"}) for block in answer.content] == [
        block.model_dump(include={"type", "text"}) for block in whole.content
    ]
    assert (answer.stop_reason, answer.usage.output_tokens) == ("end_turn", whole.usage.output_tokens)
    assert answer.usage.input_tokens == whole.usage.input_tokens
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 1
    assert (first.type, last.type) == ("message_start", "message_stop")


@pytest.mark.parametrize("streams", [False, True])
async def test_a_tool_is_called_and_its_result_is_read(live: Live, tenant: Tenant, streams: bool) -> None:
    asked: list[Any] = [{"role": "user", "content": "What is the weather?"}]
    choice: Any = {"type": "tool", "name": "get_weather", "disable_parallel_tool_use": True}
    async with client_of(live, tenant.user.token) as client:
        if streams:
            async with client.messages.stream(**ASKED, messages=asked, tools=TOOLS, tool_choice=choice) as stream:
                answer = await stream.get_final_message()
        else:
            answer = await client.messages.create(**ASKED, messages=asked, tools=TOOLS, tool_choice=choice)
        (call,) = (block for block in answer.content if block.type == "tool_use")
        assert (answer.stop_reason, call.name) == ("tool_use", "get_weather")
        assert isinstance(call.input["city"], str)
        said: Any = {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in answer.content]}
        result: Any = {"type": "tool_result", "tool_use_id": call.id, "content": "rain, 7 degrees"}
        then: Any = {"role": "user", "content": [result]}
        last = await client.messages.create(**ASKED, messages=[*asked, said, then], tools=TOOLS)
    assert last.stop_reason == "end_turn"
    assert last.content[0].type == "text"
    assert "rain, 7 degrees" in last.content[0].text


@pytest.mark.parametrize("streams", [False, True])
async def test_thoughts_come_before_the_answer_and_may_be_sent_back(live: Live, tenant: Tenant, streams: bool) -> None:
    thinking: Any = {"type": "enabled", "budget_tokens": 2000}
    async with client_of(live, tenant.user.token) as client:
        if streams:
            async with client.messages.stream(**ASKED, messages=HELLO, thinking=thinking) as stream:
                answer = await stream.get_final_message()
        else:
            answer = await client.messages.create(**ASKED, messages=HELLO, thinking=thinking)
        assert [block.type for block in answer.content] == ["thinking", "text"]
        said: Any = {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in answer.content]}
        again: Any = {"role": "user", "content": "And threads?"}
        assert (await client.messages.create(**ASKED, messages=[*HELLO, said, again])).stop_reason == "end_turn"


async def test_it_is_a_message_like_any_other_of_which_no_text_is_kept(live: Live, tenant: Tenant) -> None:
    async with client_of(live, tenant.user.token) as client:
        passing = await client.messages.create(**ASKED, messages=HELLO)
        kept = [
            await client.messages.create(**ASKED, messages=HELLO, extra_headers={"Idempotency-Key": "k"})
            for _ in range(2)
        ]
    assert kept[0] == kept[1]
    rows = {row["id"]: row for row in (await live.client.get("/messages", headers=tenant.user.headers)).json()}
    passing_row, kept_row = rows[passing.id.removeprefix("msg_")], rows[kept[0].id.removeprefix("msg_")]
    assert (passing_row["content"], passing_row["response"]) == ("", "")
    assert kept_row["content"] == "What is async Python?"
    assert passing_row["output_tokens"] == passing.usage.output_tokens


# --- what goes wrong


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": None}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "nobody", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "sound"}]}]}, "messages[0].content[0].type"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "x"}}]}]},
            "messages[0].content[0].source",
        ),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
        ({"tool_choice": {"type": "any"}}, "tool_choice.type"),
        ({"tools": TOOLS, "tool_choice": {"type": "tool", "name": "g"}}, "tool_choice.name"),
        ({"stop_sequences": [1]}, "stop_sequences"),
        ({"mcp_servers": [{"url": "x"}]}, "mcp_servers"),
        ({"temperature": 1.5}, "temperature"),
    ],
)
async def test_what_is_wrong_is_named(live: Live, tenant: Tenant, changed: dict[str, Any], says: str) -> None:
    body = {**ASKED, "messages": HELLO, **changed}
    answer = await live.client.post("/v1/messages", json=body, headers=tenant.user.headers)
    assert answer.status_code == 400
    said = answer.json()
    assert said["type"] == "error"
    assert said["error"]["type"] == "invalid_request_error"
    assert said["error"]["message"].startswith(says)
    assert said["request_id"] == answer.headers["request-id"] == answer.headers["x-request-id"]


async def test_unknown_fields_and_tools_of_other_servers_are_passed_over(live: Live, tenant: Tenant) -> None:
    others = [{"type": "web_search_20250305", "name": "web_search"}]
    body = {**ASKED, "messages": HELLO, "tools": others, "top_k": 3, "new": {"x": 1}}
    answer = await live.client.post("/v1/messages?beta=true", json=body, headers=tenant.user.headers)
    assert answer.status_code == 200


async def test_its_client_raises_its_own_errors(live: Live) -> None:
    other = await make_tenant(live.client)
    budget = await live.client.put("/admin/budget", json={"limit_micro_usd": 1}, headers=other.admin.headers)
    assert budget.status_code == 200
    sent = len(live.requests)
    async with client_of(live, other.user.token) as client:
        with pytest.raises(anthropic.RateLimitError) as over:
            await client.messages.create(**ASKED, messages=HELLO)
        with pytest.raises(anthropic.NotFoundError) as unknown:
            await client.messages.create(**{**ASKED, "model": "none-such"}, messages=HELLO)
    async with client_of(live, "nobody") as client:
        with pytest.raises(anthropic.AuthenticationError) as refused:
            await client.messages.create(**ASKED, messages=HELLO)
    # None of them is worth another try.
    assert len(live.requests) == sent + 3
    kinds = [json.loads(error.value.response.text)["error"]["type"] for error in (over, unknown, refused)]
    assert kinds == ["rate_limit_error", "not_found_error", "authentication_error"]
