"""Conversations as OpenAI's own client makes, reads and uses them."""

from typing import Any

import asyncpg
import openai as sdk
import pytest

from app.core.ids import new_id
from app.core.items import Message, ToolCall, ToolResult
from tests.api.v1.responses.scripted import Scripted, openai
from tests.committed.conftest import Serve
from tests.helpers import join, make_tenant

SAYS = (Message("assistant", "It rains."), ToolCall("call_1", "now", "{}"))
OPENING: Any = [{"role": "system", "content": "Be brief."}, {"role": "developer", "content": "Speak German."}]


async def test_a_conversation_has_metadata_that_change_and_goes_with_its_responses(live: Serve) -> None:
    async with live(Scripted(SAYS)) as (_, client):
        acme = await make_tenant(client)
        async with openai(client, acme.user) as ai:
            made = await ai.conversations.create(metadata={"topic": "Rain"})
            changed = await ai.conversations.update(made.id, metadata={"topic": "Sun"})
            found = await ai.conversations.retrieve(made.id)
            said = await ai.responses.create(model="small", input="Hello", conversation=made.id)
            deleted = await ai.conversations.delete(made.id)
            with pytest.raises(sdk.NotFoundError):
                await ai.conversations.retrieve(made.id)
            with pytest.raises(sdk.NotFoundError):
                await ai.responses.retrieve(said.id)
    assert (made.metadata, changed.metadata, found.metadata) == ({"topic": "Rain"}, {"topic": "Sun"}, {"topic": "Sun"})
    assert (made.object, found.id, found.created_at) == ("conversation", made.id, made.created_at)
    assert (said.conversation and said.conversation.id, deleted.id, deleted.deleted) == (made.id, made.id, True)


async def test_what_is_said_in_a_conversation_goes_along_and_is_listed(live: Serve) -> None:
    provider = Scripted(SAYS, (Message("assistant", "So."),))
    async with live(provider) as (_, client):
        acme = await make_tenant(client)
        async with openai(client, acme.user) as ai:
            talk = await ai.conversations.create(items=OPENING)
            await ai.responses.create(model="small", input="Hello", conversation=talk.id)
            output: Any = {"type": "function_call_output", "call_id": "call_1", "output": "Noon"}
            await ai.responses.create(model="small", input=[output], conversation=talk.id)
            oldest = [item.to_dict() async for item in await ai.conversations.items.list(talk.id, order="asc", limit=2)]
            newest = [item.to_dict() async for item in await ai.conversations.items.list(talk.id, limit=1)]
            single = await ai.conversations.items.retrieve(newest[1]["id"], conversation_id=talk.id)  # type: ignore[arg-type]
    assert tuple(provider.calls[1].items)[:2] == (
        Message("system", "Be brief.\n\nSpeak German."),
        Message("user", "Hello"),
    )
    kinds = ["message", "message", "function_call", "function_call_output", "message"]
    assert [item["type"] for item in oldest] == kinds
    assert newest == oldest[::-1]
    assert single.to_dict() == newest[1]


async def test_no_more_of_a_conversation_is_read_at_once_than_the_memory_has_room_for(live: Serve) -> None:
    async with live(Scripted(SAYS)) as (_, client):
        acme = await make_tenant(client)
        async with openai(client, acme.user) as ai:
            talk = await ai.conversations.create()
            for letter in "ab":  # together more than 32 MiB; compressed they are a hundredth
                large: Any = {"role": "user", "content": letter * 17 * 2**20}
                await ai.conversations.items.create(talk.id, items=[large])
            page = await ai.conversations.items.list(talk.id, order="asc", limit=100)
            texts = [item.to_dict()["content"] async for item in ai.conversations.items.list(talk.id, order="asc")]
    assert (len(page.data), page.has_more) == (1, True)
    assert [text[0]["text"][0] for text in texts] == ["a", "b"]  # type: ignore[index]


async def test_a_conversation_of_another_tenant_is_none(live: Serve) -> None:
    provider = Scripted(SAYS)
    async with live(provider) as (_, client):
        acme, rival = await make_tenant(client), await make_tenant(client)
        async with openai(client, acme.user) as ai, openai(client, rival.user) as other:
            talk = await ai.conversations.create()
            await ai.responses.create(model="small", input="Hello", conversation=talk.id)
            [item, *_] = (await ai.conversations.items.list(talk.id)).data
            told = []
            for conversation_id, item_id in ((talk.id, item.id), (f"conv_{new_id()}", f"msg_{new_id()}_0"), ("x", "y")):
                for call in (
                    other.conversations.retrieve(conversation_id),
                    other.conversations.items.list(conversation_id),
                    other.conversations.items.retrieve(item_id or "", conversation_id=conversation_id),
                    other.responses.create(model="small", input="Hello", conversation=conversation_id),
                ):
                    with pytest.raises(sdk.NotFoundError) as refused:
                        await call
                    told.append(refused.value.body)
            mine = await other.conversations.create()
            with pytest.raises(sdk.NotFoundError):
                await other.conversations.items.retrieve(item.id or "", conversation_id=mine.id)
    assert all(body == told[0] for body in told)
    assert len(provider.calls) == 1


TALK: Any = [
    {"role": "user", "content": "What is a lease?"},
    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "A promise."}]},
    {"type": "function_call", "call_id": "call_9", "name": "now", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "call_9", "output": "Noon"},
    {"role": "user", "content": "And its end?"},
]


async def test_items_are_added_read_and_taken_away_and_a_model_reads_them_in_their_order(live: Serve) -> None:
    provider = Scripted((Message("assistant", "It comes."),))
    async with live(provider) as (_, client):
        acme = await make_tenant(client)
        async with openai(client, acme.user) as ai:
            talk = await ai.conversations.create(items=[*OPENING, *TALK[:1]])
            added = await ai.conversations.items.create(talk.id, items=TALK[1:])
            ids = [item.id or "" for item in added.data]
            single = await ai.conversations.items.retrieve(ids[1], conversation_id=talk.id)
            left = await ai.conversations.items.delete(ids[3], conversation_id=talk.id)
            with pytest.raises(sdk.NotFoundError):
                await ai.conversations.items.retrieve(ids[3], conversation_id=talk.id)
            with pytest.raises(sdk.NotFoundError):
                await ai.conversations.items.delete(ids[3], conversation_id=talk.id)
            said = await ai.responses.create(model="small", input="Well?", conversation=talk.id)
            listed = [item async for item in ai.conversations.items.list(talk.id, order="asc", limit=100)]
            named: Any = [{"type": "item_reference", "id": ids[0]}, {"role": "user", "content": "Again?"}]
            await ai.responses.create(model="small", input=named)
            gone: Any = [{"type": "item_reference", "id": ids[3]}, {"role": "user", "content": "Again?"}]
            with pytest.raises(sdk.BadRequestError):
                await ai.responses.create(model="small", input=gone)
            kept = []
            for stays in (ids[1], ids[2], listed[-1].id or "", listed[-2].id or ""):
                with pytest.raises(sdk.ConflictError) as refused:
                    await ai.conversations.items.delete(stays, conversation_id=talk.id)
                kept.append(refused.value.code)
    assert (added.object, added.has_more, added.first_id, added.last_id) == ("list", False, ids[0], ids[3])
    assert (single.type, left.id, left.object) == ("function_call", talk.id, "conversation")
    # As they were before one was taken away.
    assert [item.id for item in listed][1:4] == ids[:3]
    assert [item.type for item in listed] == ["message", "message", "function_call", "function_call_output"] + [
        "message"
    ] * 2
    asked = tuple(provider.calls[0].items)
    assert asked == (
        Message("system", "Be brief.\n\nSpeak German."),
        Message("user", "What is a lease?"),
        Message("assistant", "A promise."),
        ToolCall("call_9", "now", "{}"),
        ToolResult("call_9", "Noon"),
        Message("user", "Well?"),
    )
    assert provider.calls[1].items[0] == Message("assistant", "A promise.")
    assert said.output_text == "It comes."
    assert kept == ["item_stays"] * 4


async def test_the_last_item_takes_its_message_along_and_nothing_of_it_is_left(
    live: Serve, superuser: asyncpg.Connection
) -> None:
    async with live(Scripted(SAYS)) as (_, client):
        acme = await make_tenant(client)
        async with openai(client, acme.user) as ai:
            talk = await ai.conversations.create()
            added = await ai.conversations.items.create(talk.id, items=[TALK[4], TALK[0], TALK[4]])
            stored = "SELECT m.content, c.request::text FROM messages m JOIN message_contents c ON c.message_id = m.id"
            stored += " WHERE m.tenant_id = $1"
            for ended in (added.data[0], added.data[2]):
                await ai.conversations.items.delete(ended.id or "", conversation_id=talk.id)
            listed = (await ai.conversations.items.list(talk.id)).data
            assert [item.id for item in listed] == [added.data[1].id]
            [row] = await superuser.fetch(stored, acme.id)
            assert row["content"] == "What is a lease?"
            assert "And its end?" not in row["request"]
            await ai.conversations.items.delete(added.data[1].id or "", conversation_id=talk.id)
            assert (await ai.conversations.items.list(talk.id)).data == []
        assert await superuser.fetch(stored, acme.id) == []
        assert (await client.get("/messages", headers=acme.user.headers)).json() == []


async def test_an_idempotency_key_adds_once_and_shows_what_it_added(live: Serve) -> None:
    async with live(Scripted(SAYS)) as (_, client):
        acme = await make_tenant(client)
        async with openai(client, acme.user) as ai:
            talk = await ai.conversations.create()
            once = {"Idempotency-Key": "once"}
            added = [await ai.conversations.items.create(talk.id, items=TALK[:2], extra_headers=once) for _ in range(3)]
            listed = await ai.conversations.items.list(talk.id)
    assert [each.to_dict() for each in added] == [added[0].to_dict()] * 3
    assert len(listed.data) == 2


@pytest.mark.parametrize(
    ("items", "status", "param"),
    [
        ([], 400, "items"),
        ([TALK[0]] * 21, 400, "items"),
        ([{"type": "item_reference", "id": f"msg_{new_id()}_i0"}], 400, "items[0]"),
        ([{"type": "web_search_call"}], 400, "items[0].type"),
        ([TALK[2]], 409, None),
        ([TALK[3]], 400, None),
        ([TALK[2], TALK[0], TALK[3]], 409, None),
    ],
)
async def test_items_that_no_model_would_take_are_not_added(
    live: Serve, items: Any, status: int, param: str | None
) -> None:
    async with live(Scripted(SAYS)) as (_, client):
        acme = await make_tenant(client)
        async with openai(client, acme.user) as ai:
            talk = await ai.conversations.create()
            with pytest.raises(sdk.APIStatusError) as refused:
                await ai.conversations.items.create(talk.id, items=items)
            if items:
                with pytest.raises(sdk.APIStatusError) as begun:
                    await ai.conversations.create(items=items)
                assert begun.value.status_code == status
            assert (await ai.conversations.items.list(talk.id)).data == []
    assert (refused.value.status_code, getattr(refused.value, "param", None)) == (status, param)


async def test_a_result_that_is_waited_for_may_be_added_and_a_colleague_adds_nothing(live: Serve) -> None:
    provider = Scripted(SAYS, (Message("assistant", "So."),))
    output: Any = {"type": "function_call_output", "call_id": "call_1", "output": "Noon"}
    async with live(provider) as (_, client):
        acme = await make_tenant(client)
        colleague = await join(client, acme.id)
        async with openai(client, acme.user) as ai, openai(client, colleague) as other:
            talk = await ai.conversations.create()
            await ai.responses.create(model="small", input="Hello", conversation=talk.id)
            with pytest.raises(sdk.ConflictError):
                await ai.conversations.items.create(talk.id, items=TALK[:1])
            added = await ai.conversations.items.create(talk.id, items=[output])
            for call in (
                other.conversations.items.create(talk.id, items=TALK[:1]),
                other.conversations.items.delete(added.data[0].id or "", conversation_id=talk.id),
            ):
                with pytest.raises(sdk.PermissionDeniedError):
                    await call
            await ai.responses.create(model="small", input="Well?", conversation=talk.id)
    kinds = [type(item).__name__ for item in provider.calls[1].items]
    assert kinds == ["Message", "Message", "ToolCall", "ToolResult", "Message"]
