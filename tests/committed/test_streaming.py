"""A message as a stream: in order, whole, and not its client's to lose."""

import asyncio
from itertools import pairwise

import asyncpg
import pytest

from app.core.errors import ProviderUnavailable
from tests.api.problems import assert_problem
from tests.committed.conftest import Serve, rows_of
from tests.committed.providers import HeldProvider
from tests.committed.sse import following, rest, sending, text_of
from tests.helpers import make_tenant
from tests.waiting import until

PIECES = ["Cor", "outines ", "wait", " \U0001f600", ", threads", " block.\n", "data: event\n\n", "end"]
TEXT = "".join(PIECES)


async def test_a_stream_is_the_message_then_deltas_then_one_end(listen: Serve, superuser: asyncpg.Connection) -> None:
    provider = HeldProvider()
    async with listen(provider) as (_, client):
        acme = await make_tenant(client)
        async with sending(client, acme.user.headers) as events:
            first = await anext(events)  # before the provider said anything
            assert first.name == "message"
            assert first.data["status"] == "pending"
            await provider.wait_for_calls(1)
            for piece in PIECES:
                provider.say(piece)
                delta = await anext(events)
                assert (delta.name, delta.data) == ("delta", {"text": piece})
                assert delta.id
            provider.release.set()
            (end,) = await rest(events)

    assert (end.name, end.data["status"], end.data["response"]) == ("completed", "completed", TEXT)
    (row,) = await rows_of(superuser, acme)
    assert (row["id"], row["response"], row["input_tokens"], row["output_tokens"]) == (first.data["id"], TEXT, 1, 2)


async def test_accepting_event_streams_is_asking_for_one(listen: Serve) -> None:
    provider = HeldProvider()
    provider.release.set()
    async with listen(provider) as (_, client):
        acme = await make_tenant(client)
        headers = {**acme.user.headers, "Accept": "text/event-stream"}
        answer = await client.post("/messages", json={"content": "Hello"}, headers=headers)
    assert answer.text.startswith("event: message\n")
    assert "event: completed\n" in answer.text


async def test_a_client_that_hangs_up_does_not_lose_the_answer(listen: Serve, superuser: asyncpg.Connection) -> None:
    provider = HeldProvider()
    async with listen(provider) as (app, client):
        acme = await make_tenant(client)
        async with sending(client, acme.user.headers) as events:
            message_id = (await anext(events)).data["id"]
            await provider.wait_for_calls(1)
            provider.say(PIECES[0])
            await anext(events)
        generation = app.state.container.engine.find(message_id, 1)
        await until(lambda: not generation.readers, "the reader to be gone")
        for piece in PIECES[1:]:
            provider.say(piece)
        provider.release.set()
        await generation.ended
        async with following(client, message_id, acme.user.headers, "1-3") as events:
            resumed = await rest(events)

    (row,) = await rows_of(superuser, acme)
    assert (row["status"], row["response"]) == ("completed", TEXT)
    assert text_of(resumed) == TEXT[3:]


async def test_a_stream_can_be_resumed_at_any_point_in_either_process(listen: Serve) -> None:
    """Readers that begin at every character, here and in another process, while the message runs and afterwards."""
    provider = HeldProvider()
    async with listen(provider) as (app, here), listen(HeldProvider()) as (_, there):
        acme = await make_tenant(here)
        async with sending(here, acme.user.headers) as events:
            message_id = (await anext(events)).data["id"]
            await provider.wait_for_calls(1)
            for piece in PIECES[:4]:
                provider.say(piece)
            await written(app, message_id)

            async def resumed(client: object, offset: int) -> str:
                async with following(client, message_id, acme.user.headers, f"1-{offset}") as events:  # type: ignore[arg-type]
                    return text_of(await rest(events))

            running = [
                asyncio.create_task(resumed(client, offset)) for client in (here, there) for offset in range(0, 20, 3)
            ]
            for piece in PIECES[4:]:
                provider.say(piece)
                await written(app, message_id)
            provider.release.set()
            (*_, end) = await rest(events)
            texts = await asyncio.gather(*running)
        assert end.name == "completed"
        assert texts == [TEXT[offset:] for _ in (here, there) for offset in range(0, 20, 3)]
        for client in (here, there):
            for offset in range(len(TEXT) + 1):
                assert await resumed(client, offset) == TEXT[offset:]


async def written(app: object, message_id: str) -> None:
    """Write what is new now, instead of waiting for the clock."""
    await app.state.container.engine._deltas.write(look_at_all=True)  # type: ignore[attr-defined]


async def test_ids_of_deltas_follow_the_text(listen: Serve) -> None:
    provider = HeldProvider()
    async with listen(provider) as (_, client):
        acme = await make_tenant(client)
        async with sending(client, acme.user.headers) as events:
            await anext(events)
            await provider.wait_for_calls(1)
            ids = []
            for piece in PIECES:
                provider.say(piece)
                ids.append((await anext(events)).id)
            provider.release.set()
    offsets = [int(str(event_id).split("-")[1]) for event_id in ids]
    assert [later - earlier for earlier, later in pairwise([0, *offsets])] == [len(piece) for piece in PIECES]


async def test_a_failure_in_the_middle_ends_the_stream_and_keeps_the_text(
    listen: Serve, superuser: asyncpg.Connection
) -> None:
    provider = HeldProvider()
    provider.error = ProviderUnavailable()
    async with listen(provider) as (_, client):
        acme = await make_tenant(client)
        async with sending(client, acme.user.headers) as events:
            message_id = (await anext(events)).data["id"]
            await provider.wait_for_calls(1)
            provider.say("Half an ans")
            provider.release.set()
            delta, end = await rest(events)
        async with following(client, message_id, acme.user.headers) as events:
            again = await rest(events)

    assert (delta.data["text"], end.name) == ("Half an ans", "failed")
    assert (end.data["type"], end.data["status"]) == ("urn:llm-saas:problem:provider-unavailable", 503)
    assert end.data["message_id"] == message_id
    assert [event.name for event in again] == ["message", "delta", "failed"]
    (row,) = await rows_of(superuser, acme)
    assert (row["status"], row["response"]) == ("failed", "Half an ans")


async def test_a_reader_of_a_message_that_was_not_streamed_gets_its_text_at_the_end(listen: Serve) -> None:
    provider = HeldProvider()
    async with listen(provider) as (_, client):
        acme = await make_tenant(client)
        send = asyncio.create_task(client.post("/messages", json={"content": "x"}, headers=acme.user.headers))
        await provider.wait_for_calls(1)
        (listed,) = (await client.get("/messages", headers=acme.user.headers)).json()
        async with following(client, listed["id"], acme.user.headers) as events:
            assert (await anext(events)).data["status"] == "pending"
            provider.release.set()
            deltas = await rest(events)
        assert (await send).status_code == 201
    assert [event.name for event in deltas] == ["delta", "completed"]
    assert text_of(deltas) == "answer to x"


async def test_a_silent_stream_shows_that_it_is_alive(listen: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.messages.signals.LOOK_SECONDS", 0.05)
    provider = HeldProvider()
    async with listen(provider, stream_heartbeat_seconds=0.1) as (_, client):
        acme = await make_tenant(client)
        async with sending(client, acme.user.headers) as events:
            assert (await anext(events)).name == "message"
            assert (await anext(events)).name == "comment"
            assert (await anext(events)).name == "comment"
            provider.release.set()
            assert [event.name for event in await rest(events)] == ["completed"]


async def test_a_stream_that_was_read_to_its_end_is_not_opened_again(listen: Serve) -> None:
    provider = HeldProvider()
    provider.release.set()
    async with listen(provider) as (_, client):
        acme = await make_tenant(client)
        async with sending(client, acme.user.headers) as events:
            message, *_, end = await rest(events)
        headers = {**acme.user.headers, "Last-Event-ID": str(end.id)}
        again = await client.get(f"/messages/{message.data['id']}/stream", headers=headers)
    assert again.status_code == 204


@pytest.mark.parametrize("last_event_id", ["x", "1", "1-", "-1", "0-1", "1-1-1", "1-99999999999", "1-end2"])
async def test_a_position_that_is_none_of_ours_is_refused(listen: Serve, last_event_id: str) -> None:
    provider = HeldProvider()
    provider.release.set()
    async with listen(provider) as (_, client):
        acme = await make_tenant(client)
        sent = await client.post("/messages", json={"content": "x"}, headers=acme.user.headers)
        headers = {**acme.user.headers, "Last-Event-ID": last_event_id}
        answer = await client.get(f"/messages/{sent.json()['id']}/stream", headers=headers)
    assert_problem(answer, 422)


async def test_another_tenants_message_cannot_be_followed_while_it_runs(listen: Serve) -> None:
    provider = HeldProvider()
    async with listen(provider) as (_, client):
        acme, rival = await make_tenant(client), await make_tenant(client)
        async with sending(client, acme.user.headers) as events:
            message_id = (await anext(events)).data["id"]
            for path in ("stream", "cancel", "retry"):
                method = "GET" if path == "stream" else "POST"
                answer = await client.request(method, f"/messages/{message_id}/{path}", headers=rival.admin.headers)
                assert_problem(answer, 404)
            assert provider.cancelled == 0
            provider.release.set()
            await rest(events)


async def test_head_of_a_stream_does_not_wait_for_its_end(listen: Serve) -> None:
    provider = HeldProvider()
    async with listen(provider) as (_, client):
        acme = await make_tenant(client)
        body = {"content": "Hello", "background": True}
        sent = (await client.post("/messages", json=body, headers=acme.user.headers)).json()
        head = await client.head(f"/messages/{sent['id']}/stream", headers=acme.user.headers)
        assert (head.status_code, head.content) == (200, b"")
        assert (await client.get(f"/messages/{sent['id']}", headers=acme.user.headers)).json()["status"] == "pending"
        provider.release.set()
