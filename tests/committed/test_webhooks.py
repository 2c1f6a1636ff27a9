"""Webhooks of messages: signed, tried again, kept through a crash, and never to a private address."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import asyncpg
import pytest

from app.core.errors import ProviderRejected
from app.core.items import ToolCall
from app.services import webhook_service
from app.webhooks.schedule import next_attempt_after
from tests.api.problems import assert_problem
from tests.committed.conftest import Serve, rows_of
from tests.committed.playing import PlayingProvider
from tests.committed.providers import FailingProvider, HeldProvider
from tests.conftest import own_database
from tests.helpers import make_tenant
from tests.waiting import until

database_url, settings, superuser = own_database()
LOOPBACK = {"webhook_allowed_networks": [ip_network("127.0.0.0/8")]}


class Receiver:
    """Takes webhooks on loopback; `statuses` are its next answers, then 204."""

    def __init__(self) -> None:
        self.calls: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:] if line)}
        self.calls.append((headers, await reader.readexactly(int(headers["content-length"]))))
        status = self.statuses.pop(0) if self.statuses else 204
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook?key=1"
    yield receiver
    server.close()


async def ended(app: Any) -> None:
    engine = app.state.container.engine
    await until(lambda: not engine._running, "the runs to end")


async def test_the_end_of_a_message_is_told_signed(serve: Serve, receiver: Receiver) -> None:
    provider = HeldProvider()
    provider.release.set()
    async with serve(provider, **LOOPBACK) as (app, client):
        acme = await make_tenant(client)
        body = {"content": "x", "background": True, "webhook_url": receiver.url}
        sent = await client.post("/messages", json=body, headers=acme.user.headers)
        await ended(app)
        assert await app.state.container.webhooks.deliver_due() == 1
        message = (await client.get(sent.headers["Location"], headers=acme.user.headers)).json()
        secret = (await client.get("/admin/webhook-secret", headers=acme.admin.headers)).json()["secret"]
        assert_problem(await client.get("/admin/webhook-secret", headers=acme.user.headers), 403)
        assert await app.state.container.webhooks.deliver_due() == 0

    ((headers, content),) = receiver.calls
    event = json.loads(content)
    assert acme.id.encode() not in content  # it is a key to the tenant where registration is open
    assert (event["type"], event["data"]) == (
        "message.completed",
        {name: value for name, value in message.items() if name != "tenant_id"},
    )
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + content
    key = base64.b64decode(secret.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert headers["webhook-id"] == f"{message['id']}-1"


async def test_a_webhook_has_the_calls_of_tools(serve: Serve, receiver: Receiver) -> None:
    called = [ToolCall("call_a", "weather", "{}")]
    async with serve(PlayingProvider(called), **LOOPBACK) as (app, client):
        acme = await make_tenant(client)
        body = {"content": "x", "webhook_url": receiver.url, "tools": [{"name": "weather"}], "metadata": {"a": "b"}}
        assert (await client.post("/messages", json=body, headers=acme.user.headers)).status_code == 201
        assert await app.state.container.webhooks.deliver_due() == 1
    data = json.loads(receiver.calls[0][1])["data"]
    assert (data["finish_reason"], data["metadata"]) == ("tool_calls", {"a": "b"})
    assert data["tool_calls"] == [{"id": "call_a", "name": "weather", "arguments": "{}"}]


async def test_a_failing_receiver_is_called_again_later_and_given_up_in_the_end(
    serve: Serve, receiver: Receiver, superuser: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[timedelta | None] = []

    def scheduled(attempts: int) -> timedelta | None:
        pauses.append(next_attempt_after(attempts))
        return pauses[-1] and timedelta(hours=1)  # "not yet" is to hold however slow this machine is

    monkeypatch.setattr(webhook_service, "next_attempt_after", scheduled)
    receiver.statuses = [500] * 20
    async with serve(FailingProvider(ProviderRejected()), **LOOPBACK) as (app, client):
        acme = await make_tenant(client)
        webhooks = app.state.container.webhooks
        body = {"content": "x", "webhook_url": receiver.url}
        assert_problem(await client.post("/messages", json=body, headers=acme.user.headers), 502)
        for attempt in range(1, 8):
            assert await webhooks.deliver_due() == 1
            (row,) = await rows_of(superuser, acme)
            assert (len(receiver.calls), row["webhook_attempts"]) == (attempt, attempt)
            assert (row["webhook_due_at"] is None) == (attempt == 7)
            assert await webhooks.deliver_due() == 0  # not yet
            due = "UPDATE messages SET webhook_due_at = now() WHERE id = $1 AND webhook_due_at IS NOT NULL"
            await superuser.execute(due, row["id"])

    assert len(receiver.calls) == 7
    assert {json.loads(content)["type"] for _, content in receiver.calls} == {"message.failed"}
    assert len({headers["webhook-id"] for headers, _ in receiver.calls}) == 1
    assert pauses[-1] is None
    seconds = [pause.total_seconds() for pause in pauses if pause]
    assert len(seconds) == 6
    assert seconds == sorted(seconds)
    assert 4 < seconds[0] < 6


async def test_two_processes_deliver_a_webhook_once(serve: Serve, receiver: Receiver) -> None:
    provider = HeldProvider()
    provider.release.set()
    async with serve(provider, **LOOPBACK) as (one, client), serve(provider, **LOOPBACK) as (two, _):
        acme = await make_tenant(client)
        body = {"content": "x", "webhook_url": receiver.url}
        for _ in range(10):
            await client.post("/messages", json=body, headers=acme.user.headers)

        async def all_called() -> bool:
            await asyncio.gather(*(app.state.container.webhooks.deliver_due() for app in (one, two) for _ in range(3)))
            return len(receiver.calls) == 10

        await until(all_called, "all ten to be called")
    assert len({headers["webhook-id"] for headers, _ in receiver.calls}) == len(receiver.calls) == 10


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/",
        "http://10.0.0.1:8000/",
        "ftp://acme.com/",
        "https://user:password@acme.com/",
        "acme.com",
        "",
    ],
)
async def test_an_address_that_is_not_public_is_refused_and_nothing_stored(
    serve: Serve, superuser: asyncpg.Connection, url: str
) -> None:
    async with serve(HeldProvider()) as (_, client):
        acme = await make_tenant(client)
        body = {"content": "x", "webhook_url": url}
        problem = assert_problem(await client.post("/messages", json=body, headers=acme.user.headers), 422)
    assert problem["errors"][0]["loc"] == ["body", "webhook_url"]
    assert await rows_of(superuser, acme) == []


async def test_a_name_that_leads_to_a_private_address_is_not_called(
    serve: Serve, receiver: Receiver, superuser: asyncpg.Connection
) -> None:
    provider = HeldProvider()
    provider.release.set()
    async with serve(provider) as (app, client):
        acme = await make_tenant(client)
        body = {"content": "x", "webhook_url": receiver.url.replace("127.0.0.1", "localhost")}
        assert (await client.post("/messages", json=body, headers=acme.user.headers)).status_code == 201
        assert await app.state.container.webhooks.deliver_due() == 1
        assert (await rows_of(superuser, acme))[0]["webhook_due_at"] is None
    assert receiver.calls == []
