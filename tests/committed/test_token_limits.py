"""Tokens a minute as callers meet them, by whatever way they ask."""

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.core.errors import ProviderUnavailable
from app.core.settings.models import Price
from app.documents.embedding.embedders import Embedders
from tests.api.problems import assert_kind
from tests.api.test_api_keys import make_key
from tests.committed.conftest import Serve
from tests.committed.dialects import DIALECTS
from tests.committed.playing import PlayingProvider
from tests.committed.providers import FailingProvider, HeldProvider
from tests.committed.test_budget_kinds import bearer
from tests.documents.library import HashEmbedder
from tests.helpers import make_tenant

# "Hello" is two tokens, about, and 98 may be written; a PlayingProvider counts 10 + 5.
MAY, DID = 100, 15
OF_USER = {"rate_limit_enabled": True, "llm_max_output_tokens": 98, "rate_limit_user_tokens": "150/hour"}


def left(answer: httpx.Response) -> int:
    """Of the user's tokens, when the answer began."""
    shown = answer.headers.get_list("ratelimit", split_commas=True)
    (of_tokens,) = [each for each in shown if each.startswith('"user-tokens"')]
    return int(of_tokens.partition("r=")[2].partition(";")[0])


async def hello(client: httpx.AsyncClient, headers: dict[str, str], **more: Any) -> httpx.Response:
    return await client.post("/messages", json={"content": "Hello", **more}, headers=headers)


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=str)
async def test_a_caller_is_counted_refused_and_told_in_its_dialects_own_words(serve: Serve, dialect: Any) -> None:
    body = {**dialect.body, "max_tokens": 98} if "max_tokens" in dialect.body else dialect.body
    async with serve(PlayingProvider(), **OF_USER) as (_, client):
        acme = await make_tenant(client)
        answers = [await client.post(dialect.path, json=body, headers=acme.user.headers) for _ in range(5)]
        larger = {**body, "max_output_tokens" if dialect.stored else "max_tokens": 98}
        text = "x" * 1000
        if "messages" in body:
            larger |= {"messages": [{"role": "user", "content": text}]}
        else:
            larger |= {"content": text} if "content" in body else {"input": text}
        never = await client.post(dialect.path, json=larger, headers=acme.user.headers)
    served, refused = answers[:4], answers[4]
    assert [answer.status_code // 100 for answer in served] == [2] * 4
    assert [left(answer) for answer in served] == [150 - MAY - DID * n for n in range(4)]
    assert served[0].headers.get_list("ratelimit-policy", split_commas=True)[-1].strip() == (
        '"user-tokens";q=150;w=3600;qu="tokens"'
    )
    assert refused.status_code == 429
    assert 3500 < int(refused.headers["retry-after"]) <= 3600
    assert left(refused) == 150 - 4 * DID
    assert "retry-after" not in never.headers
    if dialect.path == "/messages":
        assert_kind(refused, 429, "tokens-used-up")
        assert "no more than 150 may be used" in str(assert_kind(never, 422, "more-than-token-limit")["detail"])
        return
    assert refused.headers["x-ratelimit-limit-tokens"] == "150"
    assert refused.headers["x-ratelimit-remaining-tokens"] == "90"
    assert never.status_code == 400
    if dialect.path == "/v1/messages":
        assert refused.json()["error"]["type"] == "rate_limit_error"
        assert never.json()["error"]["type"] == "invalid_request_error"
    else:
        error = refused.json()["error"]
        assert (error["type"], error["code"]) == ("tokens", "rate_limit_exceeded")
        assert never.json()["error"]["code"] == "more_than_token_limit"


async def test_each_key_has_its_own_and_who_logged_in_is_under_none(serve: Serve) -> None:
    limits = {**OF_USER, "rate_limit_user_tokens": "", "rate_limit_key_tokens": "120/hour"}
    async with serve(PlayingProvider(), **limits) as (_, client):
        acme = await make_tenant(client)
        one, other = [
            bearer((await make_key(client, acme.user, ["messages:read", "messages:write"]))["key"]) for _ in range(2)
        ]
        assert [(await hello(client, one)).status_code for _ in range(3)] == [201, 201, 429]
        assert (await hello(client, other)).status_code == 201
        assert "tokens" not in str((await hello(client, acme.user.headers)).headers)


async def test_who_fails_is_given_it_back_and_who_is_answered_again_takes_nothing(serve: Serve) -> None:
    async with serve(FailingProvider(ProviderUnavailable()), **OF_USER) as (app, client):
        acme = await make_tenant(client)
        failed = [await hello(client, acme.user.headers) for _ in range(3)]
        assert [answer.status_code for answer in failed] == [503] * 3
        message_id = failed[0].json()["message_id"]
        app.state.container.engine.llm._provider = PlayingProvider()
        retried = await client.post(f"/messages/{message_id}/retry", headers=acme.user.headers)
        assert (retried.status_code, left(retried)) == (200, 50)
        headers = {**acme.user.headers, "Idempotency-Key": "once"}
        once = await hello(client, headers)
        assert (once.status_code, left(once)) == (201, 50 - DID)
        for _ in range(5):
            again = await hello(client, headers)
            assert again.json()["id"] == once.json()["id"]
        assert left(await hello(client, acme.user.headers)) == 50 - 2 * DID


async def test_a_call_that_is_stopped_counts_what_it_wrote_or_all_where_nobody_saw(serve: Serve) -> None:
    held = HeldProvider()
    async with serve(held, **OF_USER) as (app, client):
        acme = await make_tenant(client)

        async def stop(*, streams: bool) -> None:
            sending = asyncio.create_task(hello(client, acme.user.headers, stream=streams))
            await held.wait_for_calls(held.calls + 1)
            held.say("word " * 8)
            (generation,) = app.state.container.engine._running.values()
            await client.post(f"/messages/{generation.id}/cancel", headers=acme.user.headers)
            await sending

        await stop(streams=True)
        held.release.set()
        # Two were read, and ten written, about.
        assert left(await hello(client, acme.user.headers)) == 150 - 12 - MAY
        held.release.clear()
        await stop(streams=False)
        refused = await hello(client, acme.user.headers)
        assert (refused.status_code, left(refused)) == (429, 150 - 12 - 3 - MAY)


async def test_a_budget_that_refuses_takes_no_tokens(serve: Serve) -> None:
    prices = {"playing-1": Price(input=1_000_000, output=1_000_000)}
    async with serve(PlayingProvider(), **OF_USER, llm_prices=prices) as (_, client):
        acme = await make_tenant(client)
        await client.put("/admin/budget", json={"limit_micro_usd": 1}, headers=acme.admin.headers)
        refused = [await hello(client, acme.user.headers) for _ in range(3)]
        assert [answer.status_code for answer in refused] == [402] * 3
        await client.put("/admin/budget", json={"limit_micro_usd": None}, headers=acme.admin.headers)
        assert left(await hello(client, acme.user.headers)) == 150 - MAY


async def test_embeddings_count_what_was_read(serve: Serve) -> None:
    async with serve(None, **OF_USER) as (app, client):
        _embed_with(app)
        acme = await make_tenant(client)

        async def embed(text: str) -> httpx.Response:
            body = {"model": "hash", "input": text}
            return await client.post("/v1/embeddings", json=body, headers=acme.user.headers)

        # 18 characters are five tokens, about; three words are three.
        answers = [await embed("one two three four") for _ in range(3)]
        assert [answer.headers["x-ratelimit-remaining-tokens"] for answer in answers] == ["145", "141", "137"]
        assert (await embed("x" * 700)).json()["error"]["code"] == "more_than_token_limit"
        long = await embed("x" * 590)
        assert (long.status_code, long.json()["error"]["type"]) == (429, "tokens")


def _embed_with(app: FastAPI) -> None:
    container = app.state.container
    app.state.container = replace(container, shared=replace(container.shared, embedders=Embedders(HashEmbedder(), [])))
