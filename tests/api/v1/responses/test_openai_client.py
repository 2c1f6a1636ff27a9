"""Responses as OpenAI's own client makes, reads and follows them."""

import json
from typing import Any

import asyncpg
import openai as sdk
import pytest
from pydantic import BaseModel

from app.core.completion import FinishReason
from app.core.errors import ProviderUnavailable
from app.core.ids import new_id
from app.core.items import Message, Reasoning, ToolCall, ToolResult
from tests.api.v1.responses.joining import joined
from tests.api.v1.responses.scripted import Scripted, openai
from tests.api.v1.responses.specification import check_event, check_response
from tests.committed.conftest import Serve, rows_of
from tests.helpers import make_tenant
from tests.waiting import until

WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "description": "Of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}
SAYS = (Message("assistant", "It rains in Zürich. 🌧"),)
CALLS = (Reasoning("Look it up."), ToolCall("call_1", "weather", '{"city": "Zürich"}'))


async def test_a_response_has_every_field_and_is_there_to_be_read_again(
    live: Serve, superuser: asyncpg.Connection
) -> None:
    provider = Scripted(SAYS)
    async with live(provider) as (_, client):
        acme = await make_tenant(client)
        async with openai(client, acme.user) as ai:
            made = await ai.responses.create(
                model="small",
                input="What is it like?",
                instructions="Be brief.",
                max_output_tokens=100,
                temperature=0,
                metadata={"for": "a test"},
            )
            again = await ai.responses.retrieve(made.id)
    check_response(made.to_dict())
    assert again.to_dict() == made.to_dict()
    assert (made.output_text, made.status, made.metadata) == (SAYS[0].text, "completed", {"for": "a test"})
    assert made.usage is not None
    assert (made.usage.input_tokens, made.usage.output_tokens, made.usage.total_tokens) == (11, 22, 33)
    assert made.usage.output_tokens_details.reasoning_tokens == 4
    [call] = provider.calls
    assert tuple(call.items) == (Message("system", "Be brief."), Message("user", "What is it like?"))
    assert (call.options.temperature, call.options.max_output_tokens) == (0, 100)
    [row] = await rows_of(superuser, acme)
    assert (f"resp_{row['id']}", row["api"], row["content"]) == (made.id, "responses", "What is it like?")


async def test_a_stream_is_typed_events_that_end_with_the_response(live: Serve) -> None:
    async with live(Scripted(CALLS)) as (_, client):
        acme = await make_tenant(client)
        async with openai(client, acme.user) as ai:
            async with ai.responses.stream(model="small", input="Is it raining?", tools=[WEATHER]) as stream:
                events = [event async for event in stream]
                final = await stream.get_final_response()
            stored = await ai.responses.retrieve(final.id)
            raw = [event.to_dict() async for event in await ai.responses.retrieve(final.id, stream=True)]
    for event in raw:
        check_event(event)
    assert events[0].type == "response.created"
    assert final.output_text == stored.output_text
    assert [item.id for item in final.output] == [item.id for item in stored.output]
    assert raw[-1]["response"] == stored.to_dict()
    assert stored.output[1].type == "function_call"
    assert (stored.output[1].call_id, stored.output[1].arguments) == ("call_1", '{"city": "Zürich"}')


async def test_a_function_is_called_and_its_output_answered(live: Serve) -> None:
    provider = Scripted(CALLS, SAYS)
    async with live(provider) as (_, client):
        acme = await make_tenant(client)
        async with openai(client, acme.user) as ai:
            asks = await ai.responses.create(
                model="small", input="Is it raining?", tools=[WEATHER], tool_choice="required"
            )
            output: Any = {"type": "function_call_output", "call_id": asks.output[1].call_id, "output": "Rain"}  # type: ignore[union-attr]
            told = await ai.responses.create(
                model="small", input=[output], previous_response_id=asks.id, tools=[WEATHER]
            )
            # As clients do that keep the conversation themselves.
            again = await ai.responses.create(
                model="small",
                input=[{"role": "user", "content": "Is it raining?"}, *asks.to_dict()["output"], output],  # type: ignore[misc]
                tools=[WEATHER],
            )
    assert told.output_text == again.output_text == SAYS[0].text
    assert told.previous_response_id == asks.id
    chained, kept = (provider.calls[number].items for number in (1, 2))
    assert tuple(chained) == tuple(kept) == (Message("user", "Is it raining?"), *CALLS, ToolResult("call_1", "Rain"))


async def test_items_may_be_named_instead_of_sent(live: Serve) -> None:
    provider = Scripted(SAYS)
    async with live(provider) as (_, client):
        acme = await make_tenant(client)
        rival = await make_tenant(client)
        async with openai(client, acme.user) as ai, openai(client, rival.user) as other:
            first = await ai.responses.create(model="small", input="What is it like?")
            items: Any = [{"type": "item_reference", "id": first.output[0].id}, {"role": "user", "content": "Still?"}]
            await ai.responses.create(model="small", input=items)
            with pytest.raises(sdk.BadRequestError) as refused:
                await other.responses.create(model="small", input=items)
    assert tuple(provider.calls[1].items) == (*SAYS, Message("user", "Still?"))
    assert (refused.value.param, refused.value.code) == ("input[0].id", "not_found")


async def test_what_is_named_weighs_as_if_it_had_been_sent(live: Serve) -> None:
    provider = Scripted(SAYS)
    async with live(provider) as (_, client):
        acme = await make_tenant(client)
        async with openai(client, acme.user) as ai:
            first = await ai.responses.create(model="small", input="word " * 100_000)
            said = f"msg_{first.id.removeprefix('resp_')}_i0"
            with pytest.raises(sdk.BadRequestError) as refused:
                await ai.responses.create(model="small", input=[{"type": "item_reference", "id": said}] * 100)  # type: ignore[list-item]
    assert (refused.value.param, refused.value.code) == ("input[67].id", "request_too_large")
    assert len(provider.calls) == 1


async def test_an_answer_keeps_to_a_schema(live: Serve) -> None:
    class City(BaseModel):
        city: str
        rainy: bool

    provider = Scripted((Message("assistant", '{"city": "Zürich", "rainy": true}'),))
    async with live(provider) as (_, client):
        acme = await make_tenant(client)
        async with openai(client, acme.user) as ai:
            response = await ai.responses.parse(model="small", input="Where?", text_format=City)
    assert response.output_parsed == City(city="Zürich", rainy=True)
    [call] = provider.calls
    assert call.options.output_format is not None
    assert call.options.output_format.schema == response.to_dict()["text"]["format"]["schema"]  # type: ignore[index]


async def test_a_response_in_the_background_is_polled_and_followed(live: Serve) -> None:
    provider = Scripted(SAYS, pauses=2)
    async with live(provider) as (_, client):
        acme = await make_tenant(client)
        async with openai(client, acme.user) as ai:
            begun = await ai.responses.create(model="small", input="Hello", background=True)
            assert begun.status == "in_progress"
            assert begun.background
            stream = await ai.responses.retrieve(begun.id, stream=True)
            provider.go_on.set()
            text = "".join([event.delta async for event in stream if event.type == "response.output_text.delta"])
            ended = await ai.responses.retrieve(begun.id)
    check_response(begun.to_dict())
    assert (ended.status, ended.output_text, text) == ("completed", SAYS[0].text, SAYS[0].text)


async def test_a_response_is_cancelled_and_its_stream_says_so(live: Serve) -> None:
    provider = Scripted(SAYS, pauses=2)
    async with live(provider) as (_, client):
        acme = await make_tenant(client)
        async with openai(client, acme.user) as ai:
            stream = await ai.responses.create(model="small", input="Hello", stream=True)
            first = await anext(aiter(stream))
            assert first.type == "response.created"
            cancelled = await ai.responses.cancel(first.response.id)
            last = [event async for event in stream][-1]
            assert (await ai.responses.retrieve(first.response.id)).status == "cancelled"
    check_response(cancelled.to_dict())
    assert last.type == "response.incomplete"
    assert last.response.status == cancelled.status == "cancelled"


async def test_a_stream_that_died_goes_on_at_another_process_after_any_event(live: Serve, listen: Serve) -> None:
    answer = (Reasoning("Think\u2028of 🌧."), *SAYS, ToolCall("call_1", "weather", '{"city": "Zürich"}'))
    provider = Scripted(answer, pauses=4)
    async with live(provider) as (_, client), listen(Scripted(SAYS)) as (_, elsewhere):
        acme = await make_tenant(client)
        async with openai(client, acme.user) as here, openai(elsewhere, acme.user) as there:
            stream = await here.responses.create(model="small", input="Hello", stream=True, tools=[WEATHER])
            read = []
            async for event in stream:
                read.append(event.to_dict())
                if "delta" in read[-1]:
                    break
            await stream.close()
            response_id = read[0]["response"]["id"]
            after = read[-1]["sequence_number"]
            resumed = aiter(await there.responses.retrieve(response_id, stream=True, starting_after=after))
            running = [(await anext(resumed)).to_dict()]
            provider.go_on.set()
            running += [event.to_dict() async for event in resumed]
            whole = [event.to_dict() async for event in await there.responses.retrieve(response_id, stream=True)]
            assert json.dumps(joined(read + running)) == json.dumps(joined(whole))  # the order of names, too
            for place, event in list(enumerate(whole))[::4]:
                after = event["sequence_number"]
                later = await there.responses.retrieve(response_id, stream=True, starting_after=after)
                rest = [event.to_dict() async for event in later]
                assert joined(whole[: place + 1] + rest) == joined(whole)


async def test_what_was_not_kept_cannot_be_gone_on_from(live: Serve) -> None:
    provider = Scripted(SAYS)
    async with live(provider) as (_, client):
        acme, rival = await make_tenant(client), await make_tenant(client)
        async with openai(client, acme.user) as ai, openai(client, rival.user) as other:
            kept = await ai.responses.create(model="small", input="Hello")
            deleted = await ai.responses.create(model="small", input="Hello")
            await ai.responses.delete(deleted.id)
            unkept = await ai.responses.create(model="small", input="Hello", store=False)
            assert unkept.output_text == SAYS[0].text
            errors = []
            for caller, response_id in (
                (other, kept.id),
                (ai, deleted.id),
                (ai, unkept.id),
                (ai, f"resp_{new_id()}"),
                (ai, "resp_1"),
            ):
                with pytest.raises(sdk.APIStatusError) as refused:
                    await caller.responses.create(model="small", input="And?", previous_response_id=response_id)
                with pytest.raises(sdk.NotFoundError) as unfound:
                    await caller.responses.retrieve(response_id)
                errors.append((refused.value.status_code, refused.value.body, unfound.value.body))
    assert len(provider.calls) == 3
    assert all(error == errors[0] for error in errors)
    assert errors[0][1]["param"] == "previous_response_id"
    assert errors[0][1]["code"] == "previous_response_not_found"


async def test_a_message_of_another_interface_is_no_response(live: Serve) -> None:
    async with live(Scripted(SAYS)) as (_, client):
        acme = await make_tenant(client)
        sent = await client.post("/messages", json={"content": "Hello"}, headers=acme.user.headers)
        async with openai(client, acme.user) as ai:
            with pytest.raises(sdk.NotFoundError):
                await ai.responses.retrieve(f"resp_{sent.json()['id']}")
            made = await ai.responses.create(model="small", input="Hello")
        shown = await client.get(f"/messages/{made.id.removeprefix('resp_')}", headers=acme.user.headers)
    assert shown.json()["response"] == made.output_text


async def test_a_key_of_idempotency_makes_one_response(live: Serve) -> None:
    provider = Scripted(SAYS)
    async with live(provider) as (_, client):
        acme = await make_tenant(client)
        async with openai(client, acme.user) as ai:
            key: Any = {"Idempotency-Key": new_id()}
            made = [await ai.responses.create(model="small", input="Hello", extra_headers=key) for _ in range(3)]
            with pytest.raises(sdk.ConflictError) as refused:
                await ai.responses.create(model="small", input="Another", extra_headers=key)
    assert len(provider.calls) == 1
    assert all(response.to_dict() == made[0].to_dict() for response in made)
    assert refused.value.response.headers["x-should-retry"] == "false"


async def test_what_was_asked_is_listed(live: Serve) -> None:
    async with live(Scripted(SAYS)) as (_, client):
        acme = await make_tenant(client)
        async with openai(client, acme.user) as ai:
            items: Any = [{"role": "user", "content": text} for text in ("one", "two", "three")]
            made = await ai.responses.create(model="small", input=items, instructions="Be brief.")
            newest = await ai.responses.input_items.list(made.id, limit=2)
            all_of_them = [item.to_dict() async for item in newest]
            oldest = await ai.responses.input_items.list(made.id, limit=2, order="asc", after=all_of_them[-1]["id"])
    texts = [item["content"][0]["text"] for item in all_of_them]  # type: ignore[index]
    assert texts == ["three", "two", "one"]
    assert newest.has_more
    assert [item.to_dict()["content"][0]["text"] for item in oldest.data] == ["two", "three"]  # type: ignore[index]


async def test_a_provider_that_fails_ends_the_stream_as_failed(live: Serve) -> None:
    async with live(Scripted(ProviderUnavailable())) as (_, client):
        acme = await make_tenant(client)
        async with openai(client, acme.user) as ai:
            events = [event async for event in await ai.responses.create(model="small", input="Hello", stream=True)]
            assert events[0].type == "response.created"
            kept = await ai.responses.retrieve(events[0].response.id)
            with pytest.raises(sdk.InternalServerError):
                await ai.responses.create(model="small", input="Hello")
    assert events[-1].type == "response.failed"
    assert events[-1].response.to_dict() == kept.to_dict()
    assert kept.error is not None
    assert (kept.status, kept.error.code) == ("failed", "server_error")


async def test_an_answer_that_was_cut_is_incomplete(live: Serve) -> None:
    async with live(Scripted(SAYS, reason=FinishReason.LENGTH)) as (_, client):
        acme = await make_tenant(client)
        async with openai(client, acme.user) as ai:
            cut = await ai.responses.create(model="small", input="Hello")
    assert (cut.status, cut.incomplete_details and cut.incomplete_details.reason) == ("incomplete", "max_output_tokens")


async def test_a_call_that_nobody_waits_for_any_more_ends_where_nothing_is_kept(live: Serve) -> None:
    provider = Scripted(SAYS, pauses=2)
    async with live(provider) as (_, client):
        acme = await make_tenant(client)
        async with openai(client, acme.user) as ai:
            stream = await ai.responses.create(model="small", input="Hello", stream=True, store=False)
            await anext(aiter(stream))
            await stream.close()

            async def ended() -> bool:
                listed = (await client.get("/messages", headers=acme.user.headers)).json()
                return [message["status"] for message in listed] == ["cancelled"]

            await until(ended, "the message to be cancelled")
    assert len(provider.calls) == 1
