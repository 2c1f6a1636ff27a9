"""A tenant is told how its background responses end, in the words and with the signature that OpenAI's client reads."""

from pathlib import Path
from typing import Any

import asyncpg
import httpx
import openai
import pytest

from app.core.completion import Completion, FinishReason
from app.core.errors import ProviderRejected
from app.core.items import Message
from app.llm.base import Call
from tests.committed.caching import keep_answers
from tests.committed.conftest import Serve, rows_of
from tests.committed.playing import PlayingProvider
from tests.committed.providers import FailingProvider, HeldProvider
from tests.committed.test_budget_alerts import deliver, tell
from tests.committed.test_unstored import CANARY
from tests.committed.test_webhooks import LOOPBACK, Receiver, ended
from tests.committed.test_webhooks import receiver as webhook_receiver
from tests.conftest import own_database
from tests.helpers import Tenant, make_tenant
from tests.redis_server import RedisServer, needs_redis

database_url, settings, superuser = own_database()
receiver = webhook_receiver


class CutProvider(PlayingProvider):
    async def complete(self, call: Call) -> Completion:
        items = (Message("assistant", "Half"),)
        return Completion("Half", "playing-1", 10, 5, 0, FinishReason.LENGTH, items=items)


async def respond(client: httpx.AsyncClient, tenant: Tenant, **more: Any) -> str:
    body = {"model": "", "input": CANARY, "background": True, "instructions": CANARY, **more}
    answer = await client.post("/v1/responses", json=body, headers=tenant.user.headers)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def secret_of(client: httpx.AsyncClient, tenant: Tenant) -> str:
    answer = await client.get("/admin/webhook-secret", headers=tenant.admin.headers)
    return str(answer.json()["secret"])


@pytest.mark.parametrize(
    ("provider", "kind"),
    [
        (PlayingProvider([Message("assistant", CANARY)]), "response.completed"),
        (FailingProvider(ProviderRejected()), "response.failed"),
        (CutProvider(), "response.incomplete"),
    ],
    ids=["completed", "failed", "incomplete"],
)
async def test_how_a_background_response_ends_is_told_without_its_text(
    serve: Serve, receiver: Receiver, provider: Any, kind: str
) -> None:
    async with serve(provider, **LOOPBACK) as (app, client):
        acme = await make_tenant(client)
        await respond(client, acme)  # nobody is to be told yet
        await tell(client, acme, receiver.url)
        await respond(client, acme, background=False) if kind == "response.completed" else None
        response = await respond(client, acme)
        await ended(app)
        await deliver(app)
        secret = await secret_of(client, acme)
        shown = (await client.get(f"/v1/responses/{response}", headers=acme.user.headers)).json()
    ((headers, content),) = receiver.calls
    assert CANARY.encode() not in content
    assert acme.id.encode() not in content
    event = openai.OpenAI(api_key="none", webhook_secret=secret).webhooks.unwrap(content, headers)
    assert (event.type, event.object) == (kind, "event")
    assert event.data.id == response
    assert event.type == f"response.{shown['status']}"
    with pytest.raises(openai.InvalidWebhookSignatureError):
        openai.OpenAI(api_key="none", webhook_secret="whsec_bm9ib2R5").webhooks.unwrap(content, headers)


async def test_one_that_is_cancelled_is_told_and_of_a_url_that_was_taken_away_nothing(
    serve: Serve, receiver: Receiver
) -> None:
    held = HeldProvider()
    async with serve(held, **LOOPBACK) as (app, client):
        acme = await make_tenant(client)
        await tell(client, acme, receiver.url)
        response = await respond(client, acme)
        await held.wait_for_calls(1)
        cancelled = await client.post(f"/v1/responses/{response}/cancel", headers=acme.user.headers)
        assert cancelled.json()["status"] == "cancelled"
        await deliver(app)
        assert [b'"response.cancelled"' in content for _, content in receiver.calls] == [True]
        await respond(client, acme)
        await held.wait_for_calls(2)
        await tell(client, acme, None)
        held.release.set()
        await ended(app)
        await deliver(app)
    assert len(receiver.calls) == 1


@needs_redis
async def test_an_answer_that_was_kept_is_told_too(
    serve: Serve, receiver: Receiver, superuser: asyncpg.Connection, tmp_path: Path
) -> None:
    server = RedisServer(tmp_path)
    server.start()
    async with serve(PlayingProvider(), redis_url=server.url, **LOOPBACK) as (app, client):
        acme = await make_tenant(client)
        await keep_answers(client, acme)
        await tell(client, acme, receiver.url)
        for _ in range(3):
            await respond(client, acme)
            await ended(app)
        await deliver(app)
        rows = await rows_of(superuser, acme)
    server.kill()
    assert True in {row["cached"] for row in rows}
    assert len(receiver.calls) == 3
