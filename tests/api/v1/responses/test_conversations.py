"""Conversations as OpenAI's own client makes, reads and uses them."""

from typing import Any

import openai as sdk
import pytest

from app.core.ids import new_id
from app.core.items import Message, ToolCall
from tests.api.v1.responses.scripted import Scripted, openai
from tests.committed.conftest import Serve
from tests.helpers import make_tenant

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


@pytest.mark.parametrize("items", [[{"role": "user", "content": "Hello"}], [{"type": "item_reference", "id": "x"}]])
async def test_a_conversation_begins_with_system_messages_alone(live: Serve, items: Any) -> None:
    async with live(Scripted(SAYS)) as (_, client):
        acme = await make_tenant(client)
        async with openai(client, acme.user) as ai:
            with pytest.raises(sdk.BadRequestError) as refused:
                await ai.conversations.create(items=items)
            talk = await ai.conversations.create()
            with pytest.raises(sdk.APIStatusError) as unsupported:
                await ai.conversations.items.create(talk.id, items=items)
    assert (refused.value.param or "").startswith("items[0]")
    assert unsupported.value.status_code == 405
