"""Chat completions that were stored, as OpenAI's own client reads them."""

from typing import Any

import openai
import pytest

from tests.api.v1.conftest import Live
from tests.helpers import Tenant, make_tenant

TURNS: list[Any] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
    {
        "role": "assistant",
        "content": "I look.",
        "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "Sun"},
]


async def test_what_was_stored_is_found_again(live: Live, tenant: Tenant) -> None:
    async with live.openai(tenant.user) as client:
        completions = client.chat.completions
        made = await completions.create(model="mock-echo", messages=TURNS, store=True, metadata={"of": "x"})
        found = await completions.retrieve(made.id)
        asked = [message async for message in completions.messages.list(made.id)]
        relabelled = await completions.update(made.id, metadata={"of": "y"})
        again = await completions.retrieve(made.id)
        deleted = await completions.delete(made.id)
        with pytest.raises(openai.NotFoundError):
            await completions.retrieve(made.id)
    assert found.model_dump(exclude={"metadata"}) == made.model_dump(exclude={"metadata"})
    assert found.metadata == {"of": "x"}  # type: ignore[attr-defined]
    assert relabelled.metadata == again.metadata == {"of": "y"}  # type: ignore[attr-defined]
    assert (deleted.id, deleted.deleted) == (made.id, True)
    assert [message.id for message in asked] == [f"{made.id}-{number}" for number in range(4)]
    assert [message.role for message in asked] == ["system", "user", "assistant", "tool"]
    assert [message.content for message in asked] == ["Be brief.", "Weather?", "I look.", "Sun"]
    assert asked[2].tool_calls is not None
    assert asked[2].tool_calls[0].id == "call_1"


async def test_they_are_listed_by_pages_in_either_order(live: Live) -> None:
    acme = await make_tenant(live.client)
    async with live.openai(acme.user) as client:
        completions = client.chat.completions
        made = [(await completions.create(model="mock-echo", messages=TURNS[1:2], store=True)).id for _ in range(5)]
        await completions.create(model="mock-echo", messages=TURNS[1:2])  # it is not stored
        await live.client.post("/messages", json={"content": "Hello"}, headers=acme.user.headers)
        listed = [one.id async for one in completions.list(limit=2)]
        backwards = [one.id async for one in completions.list(limit=2, order="desc")]
    assert listed == made
    assert backwards == made[::-1]


async def test_they_are_narrowed_by_model_and_by_what_they_are_labelled_with(live: Live) -> None:
    acme, rival = await make_tenant(live.client), await make_tenant(live.client)
    labels: list[dict[str, str]] = [{"of": "x", "by": "é"}, {"of": "y"}, {}, {"of": "x"}, {"of": "x", "by": "b]"}]
    async with live.openai(rival.user) as client:
        await client.chat.completions.create(model="mock-echo", messages=TURNS[1:2], store=True, metadata={"of": "x"})
    async with live.openai(acme.user) as client:
        completions = client.chat.completions
        made = []
        for label in labels:
            asked: dict[str, Any] = {"model": "mock-echo", "messages": TURNS[1:2], "store": True, "metadata": label}
            made.append((await completions.create(**asked)).id)

        async def listed(**filters: Any) -> list[int]:
            return [made.index(one.id) async for one in completions.list(limit=1, **filters)]

        assert await listed(metadata={"of": "x"}) == [0, 3, 4]
        assert await listed(metadata={"of": "x"}, order="desc") == [4, 3, 0]
        assert await listed(metadata={"of": "x"}, after=made[0]) == [3, 4]
        assert await listed(metadata={"of": "x", "by": "é"}) == [0]
        assert await listed(metadata={"by": "b]"}) == [4]
        assert await listed(metadata={"of": "nobody"}) == []
        assert await listed(model="mock-echo", metadata={"of": "y"}) == [1]
        assert await listed(model="mock-echo") == [0, 1, 2, 3, 4]
        assert await listed(model="mock") == []
        assert await listed(model="m\0") == []
        for wrong in ({"a": "x" * 513}, {"a" * 65: "x"}, {str(n): "" for n in range(17)}, "x"):
            with pytest.raises(openai.BadRequestError) as refused:
                await completions.list(metadata=wrong)  # type: ignore[arg-type]
            assert refused.value.param == "metadata"


async def test_a_colleague_may_read_and_not_change(live: Live, tenant: Tenant) -> None:
    async with live.openai(tenant.admin) as client:
        made = await client.chat.completions.create(model="mock-echo", messages=TURNS[1:2], store=True)
        passing = await client.chat.completions.create(model="mock-echo", messages=TURNS[1:2])
    message = (await live.client.post("/messages", json={"content": "Hello"}, headers=tenant.user.headers)).json()
    async with live.openai(tenant.user) as client:
        assert (await client.chat.completions.retrieve(made.id)).id == made.id
        with pytest.raises(openai.PermissionDeniedError):
            await client.chat.completions.update(made.id, metadata={"of": "y"})
        with pytest.raises(openai.PermissionDeniedError):
            await client.chat.completions.delete(made.id)
        for other in (passing.id, f"chatcmpl-{message['id']}", "chatcmpl-none"):
            with pytest.raises(openai.NotFoundError):
                await client.chat.completions.retrieve(other)


async def test_a_key_that_may_not_read_is_told_nothing_that_was_stored(live: Live, tenant: Tenant) -> None:
    headers, client = tenant.user.headers, live.client
    made = await client.post("/api-keys", json={"name": "writer", "scopes": ["messages:write"]}, headers=headers)
    writer = {"Authorization": f"Bearer {made.json()['key']}"}
    body = {"messages": [{"role": "user", "content": "Hi"}], "store": True}
    chat = (await client.post("/v1/chat/completions", json=body, headers=headers)).json()["id"]
    told = await client.post(f"/v1/chat/completions/{chat}", json={"metadata": {"a": "b"}}, headers=writer)
    said = {"type": "item_reference", "id": f"msg_{chat.removeprefix('chatcmpl-')}_i0"}
    named = await client.post("/v1/responses", json={"input": [said]}, headers=writer)
    response = (await client.post("/v1/responses", json={"input": "Hi"}, headers=headers)).json()["id"]
    again = {"input": "Say it again.", "previous_response_id": response}
    gone_on = await client.post("/v1/responses", json=again, headers=writer)
    assert (told.status_code, named.status_code, gone_on.status_code) == (403, 403, 403)
    assert (await client.post("/v1/responses", json=again, headers=headers)).status_code == 200
    assert (await client.post("/v1/responses", json={"input": [said]}, headers=headers)).status_code == 200
