"""Stopping a message, and running one again; in the background, under a limit, and while the database is away."""

import asyncio

import asyncpg
import pytest

from app.core.errors import DatabaseUnavailable, ProviderUnavailable
from app.db.session import Session
from tests.api.problems import assert_problem
from tests.committed.conftest import Serve, rows_of
from tests.committed.providers import HeldProvider
from tests.committed.sse import rest, sending, text_of
from tests.helpers import join, make_tenant, send
from tests.waiting import until


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "in another process"])
async def test_a_cancelled_stream_stops_its_provider_and_keeps_its_text(
    listen: Serve, superuser: asyncpg.Connection, *, elsewhere: bool
) -> None:
    provider = HeldProvider()
    async with listen(provider) as (_, here), listen(HeldProvider()) as (_, there):
        acme = await make_tenant(here)
        async with sending(here, acme.user.headers) as events:
            message_id = (await anext(events)).data["id"]
            await provider.wait_for_calls(1)
            provider.say("So far")
            await anext(events)
            canceller = there if elsewhere else here
            answer = await canceller.post(f"/messages/{message_id}/cancel", headers=acme.user.headers)
            (end,) = await rest(events)
        again = await here.post(f"/messages/{message_id}/cancel", headers=acme.user.headers)

    assert provider.cancelled == 1
    assert (end.name, end.data["response"]) == ("cancelled", "So far")
    assert (answer.status_code, answer.json()) == (200, end.data)
    assert (again.status_code, again.json()) == (200, end.data)
    (row,) = await rows_of(superuser, acme)
    assert (row["status"], row["response"], row["lease_expires_at"]) == ("cancelled", "So far", None)


async def test_a_lost_notification_does_not_lose_the_cancelling(listen: Serve, superuser: asyncpg.Connection) -> None:
    provider = HeldProvider()
    async with listen(provider) as (_, client):
        acme = await make_tenant(client)
        async with sending(client, acme.user.headers) as events:
            message_id = (await anext(events)).data["id"]
            await superuser.execute("UPDATE messages SET cancel_requested = true WHERE id = $1", message_id)
            assert [event.name for event in await rest(events)] == ["cancelled"]


async def test_whoever_waits_for_a_cancelled_message_gets_it(serve: Serve) -> None:
    provider = HeldProvider()
    async with serve(provider) as (_, client):
        acme = await make_tenant(client)
        waiting = asyncio.create_task(client.post("/messages", json={"content": "x"}, headers=acme.user.headers))
        await provider.wait_for_calls(1)
        (listed,) = (await client.get("/messages", headers=acme.user.headers)).json()
        await client.post(f"/messages/{listed['id']}/cancel", headers=acme.admin.headers)
        answer = await waiting
    assert (answer.status_code, answer.json()["status"], answer.json()["response"]) == (201, "cancelled", "")


async def test_only_its_author_and_admins_cancel_and_retry(serve: Serve) -> None:
    provider = HeldProvider()
    async with serve(provider) as (_, client):
        acme = await make_tenant(client)
        colleague = await join(client, acme.id)
        body = {"content": "x", "background": True}
        message_id = (await client.post("/messages", json=body, headers=acme.user.headers)).json()["id"]
        for verb in ("cancel", "retry"):
            assert_problem(await client.post(f"/messages/{message_id}/{verb}", headers=colleague.headers), 403)
        assert (await client.post(f"/messages/{message_id}/cancel", headers=acme.admin.headers)).status_code == 200
        provider.release.set()
        retried = await client.post(f"/messages/{message_id}/retry", headers=acme.admin.headers)
    assert (retried.status_code, retried.json()["user_id"]) == (200, acme.user.id)


async def test_what_has_ended_is_not_cancelled_and_what_was_completed_not_retried(serve: Serve) -> None:
    provider = HeldProvider()
    provider.release.set()
    async with serve(provider) as (_, client):
        acme = await make_tenant(client)
        message = await send(client, acme.user)
        for verb in ("cancel", "retry"):
            answer = await client.post(f"/messages/{message['id']}/{verb}", headers=acme.user.headers)
            assert assert_problem(answer, 409)["type"] == "urn:llm-saas:problem:message-ended"


async def test_a_failed_message_is_retried_as_a_stream_and_tells_its_runs_apart(listen: Serve) -> None:
    provider = HeldProvider()
    provider.error = ProviderUnavailable()
    async with listen(provider) as (_, client):
        acme = await make_tenant(client)
        async with sending(client, acme.user.headers) as events:
            message_id = (await anext(events)).data["id"]
            await provider.wait_for_calls(1)
            provider.say("Wrong")
            provider.release.set()
            delta, _failed = await rest(events)
        provider.error = None
        provider.release.clear()
        url = f"/messages/{message_id}/retry"
        retry = asyncio.create_task(client.post(url, json={"stream": True}, headers=acme.user.headers))
        await provider.wait_for_calls(2)
        provider.say("Right")
        provider.release.set()
        retried = await retry
        # A reader of the first run: what it read is no more, so it begins again.
        headers = {**acme.user.headers, "Last-Event-ID": str(delta.id)}
        resumed = await client.get(f"/messages/{message_id}/stream", headers=headers)

    assert retried.status_code == 200
    assert "event: completed\n" in retried.text
    assert '"attempts":2' in retried.text
    assert "id: 2-5\n" in resumed.text
    assert 'data: {"text": "Right"}' in resumed.text
    assert "Wrong" not in resumed.text


async def test_of_many_retries_at_once_one_runs(serve: Serve) -> None:
    provider = HeldProvider()
    provider.error = ProviderUnavailable()
    provider.release.set()
    async with serve(provider) as (_, client):
        acme = await make_tenant(client)
        failed = await client.post("/messages", json={"content": "x"}, headers=acme.user.headers)
        url = f"/messages/{failed.json()['message_id']}/retry"
        provider.error = None
        provider.release.clear()
        retries = [asyncio.create_task(client.post(url, headers=acme.user.headers)) for _ in range(20)]
        await provider.wait_for_calls(2)
        await until(lambda: sum(retry.done() for retry in retries) == 19, "the others to be refused")
        provider.release.set()
        statuses = sorted([(await retry).status_code for retry in retries])
    assert statuses == [200] + [409] * 19
    assert provider.calls == 2


async def test_a_background_message_is_accepted_at_once_and_shows_its_outcome(serve: Serve) -> None:
    provider = HeldProvider()
    async with serve(provider) as (app, client):
        acme = await make_tenant(client)
        body = {"content": "x", "background": True}
        accepted = await client.post("/messages", json=body, headers=acme.user.headers)
        assert (accepted.status_code, accepted.json()["status"]) == (202, "pending")
        location = accepted.headers["Location"]
        assert (await client.get(location, headers=acme.user.headers)).json() == accepted.json()
        await provider.wait_for_calls(1)
        provider.say("Done")
        provider.release.set()
        await app.state.container.engine.drain(10)
        outcome = (await client.get(location, headers=acme.user.headers)).json()
    assert (outcome["status"], outcome["response"]) == ("completed", "Done")


async def test_streaming_in_the_background_is_a_contradiction(serve: Serve) -> None:
    async with serve(HeldProvider()) as (_, client):
        acme = await make_tenant(client)
        body = {"content": "x", "background": True, "stream": True}
        assert_problem(await client.post("/messages", json=body, headers=acme.user.headers), 422)


async def test_a_tenant_at_its_limit_is_refused_and_no_other(serve: Serve, superuser: asyncpg.Connection) -> None:
    provider = HeldProvider()
    async with serve(provider, llm_max_running_per_tenant=3) as (app, client):
        acme, rival = await make_tenant(client), await make_tenant(client)
        body = {"content": "x", "background": True}
        answers = [await client.post("/messages", json=body, headers=acme.user.headers) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [202, 202, 202, 429]
        assert answers[3].headers["Retry-After"] == "1"
        assert (await client.post("/messages", json=body, headers=rival.user.headers)).status_code == 202
        assert len(await rows_of(superuser, acme)) == 3
        # What is refused later than at the door gives its place back as well.
        missing = {**body, "conversation_id": acme.id}
        assert (await client.post("/messages", json=missing, headers=acme.user.headers)).status_code == 429
        provider.release.set()
        engine = app.state.container.engine
        await until(lambda: not engine.find(answers[0].json()["id"], 1), "the run to end")
        for _ in range(5):
            assert (await client.post("/messages", json=missing, headers=acme.user.headers)).status_code == 404
        assert not app.state.container.engine._tenants


async def test_an_answer_outlives_a_database_that_is_away(
    serve: Serve, superuser: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = HeldProvider()
    failures = 0
    enter = Session.__aenter__

    async def away(self: Session):
        nonlocal failures
        if provider.release.is_set() and failures < 3:
            failures += 1
            raise DatabaseUnavailable
        return await enter(self)

    async with serve(provider) as (_, client):
        acme = await make_tenant(client)
        waiting = asyncio.create_task(client.post("/messages", json={"content": "x"}, headers=acme.user.headers))
        await provider.wait_for_calls(1)
        monkeypatch.setattr(Session, "__aenter__", away)
        provider.release.set()
        assert (await waiting).status_code == 201
    assert failures == 3
    (row,) = await rows_of(superuser, acme)
    assert (row["status"], row["response"]) == ("completed", "answer to x")


async def test_a_half_character_at_the_end_of_a_piece_waits_for_its_other_half(listen: Serve) -> None:
    provider = HeldProvider()
    async with listen(provider) as (_, client):
        acme = await make_tenant(client)
        async with sending(client, acme.user.headers) as events:
            await anext(events)
            await provider.wait_for_calls(1)
            for piece in ("a\ud83d", "\ude00b", "\x00", "\ude00", "c\ud83d"):
                provider.say(piece)
            provider.release.set()
            received = await rest(events)
    assert text_of(received) == "a\U0001f600b\ufffd\ufffdc\ufffd"
    assert received[-1].data["response"] == text_of(received)
