"""Why an answer ended, and what is charged for it, on every path that a run can take."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import asyncpg
import pytest

from app.core.completion import Completion, FinishReason
from app.core.errors import EmptyAnswer, ProviderError, ProviderRejected, ProviderTimeout
from app.core.items import Message
from app.core.settings.llm import Price
from app.llm.base import Call, event_of
from tests.api.problems import assert_problem
from tests.committed.conftest import Serve, rows_of
from tests.committed.providers import HeldProvider
from tests.committed.sse import rest, sending
from tests.helpers import make_tenant

# A prompt of "Hello" and at most 100 tokens of answer.
PAID = {"llm_prices": {"held-1": Price(input=1_000_000, output=1_000_000)}, "llm_max_output_tokens": 100}
CLAIM = 128 + 16 + 5 + 100
PROMPT = 2
"""Tokens of "Hello", as far as we know."""
MODES: list[dict[str, Any]] = [{"stream": False}, {"stream": True}]


class Ends:
    """Says `pieces` and then ends as `end` says, with its answer in it."""

    name = "held"
    models = ("held-1",)

    def __init__(self, end: Completion | ProviderError, *pieces: str) -> None:
        self.end, self.pieces = end, pieces
        self.turns: list[Sequence[Message]] = []

    async def complete(self, call: Call) -> Completion:
        self.turns.append(call.items)
        for piece in self.pieces if call.on_event else ():
            call.on_event(event_of(piece))  # type: ignore[misc]
        if isinstance(self.end, ProviderError):
            raise self.end
        return self.end

    async def close(self) -> None: ...


def counted(text: str, reason: FinishReason | None, **changes: Any) -> Completion:
    return Completion(text, "held-1", **{"input_tokens": 7, "output_tokens": 11, "finish_reason": reason, **changes})


def with_answer(error: ProviderError, answer: Completion) -> ProviderError:
    error.answer = answer
    return error


@pytest.mark.parametrize("mode", MODES, ids=["whole", "streamed"])
@pytest.mark.parametrize("reason", [FinishReason.STOP, FinishReason.LENGTH, FinishReason.TOOL_CALLS, None])
async def test_why_an_answer_ended_is_stored_and_shown(
    listen: Serve, superuser: asyncpg.Connection, mode: dict[str, Any], reason: FinishReason | None
) -> None:
    async with listen(Ends(counted("Cut o", reason), "Cut o")) as (_, client):
        acme = await make_tenant(client)
        if mode["stream"]:
            async with sending(client, acme.user.headers) as events:
                shown = (await rest(events))[-1].data
        else:
            shown = (await client.post("/messages", json={"content": "Hello"}, headers=acme.user.headers)).json()
        listed = (await client.get("/messages", headers=acme.user.headers)).json()
        export = (await client.get(f"/tenants/{acme.id}/export", headers=acme.admin.headers)).text
    (row,) = await rows_of(superuser, acme)
    assert row["status"] == "completed"
    assert row["finish_reason"] == shown["finish_reason"] == listed[0]["finish_reason"] == reason
    assert f'"finish_reason":{json.dumps(reason)}' in export


@pytest.mark.parametrize("mode", MODES, ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("make", "reason", "code"),
    [
        (EmptyAnswer, FinishReason.LENGTH, "empty_answer"),
        (ProviderRejected, FinishReason.CONTENT_FILTER, "provider_rejected"),
        (ProviderError, FinishReason.ERROR, "provider_error"),
    ],
)
async def test_what_a_failure_was_billed_is_charged_and_never_above_what_was_set_aside(
    listen: Serve,
    superuser: asyncpg.Connection,
    mode: dict[str, Any],
    make: Callable[[], ProviderError],
    reason: FinishReason,
    code: str,
) -> None:
    text = "" if code == "empty_answer" else "Half an"
    for count, cost in ((11, 18), (10**6, CLAIM)):
        error = with_answer(make(), counted(text, reason, output_tokens=count))
        async with listen(Ends(error, *filter(None, [text])), **PAID) as (_, client):
            acme = await make_tenant(client)
            answer = await client.post("/messages", json={"content": "Hello", **mode}, headers=acme.user.headers)
        assert answer.status_code == (200 if mode["stream"] else 502)
        (row,) = await rows_of(superuser, acme)
        assert (row["status"], row["error_code"], row["finish_reason"]) == ("failed", code, reason)
        assert (row["response"], row["input_tokens"], row["output_tokens"]) == (text, 7, count)
        assert row["cost_micro_usd"] == cost


@pytest.mark.parametrize(
    ("pieces", "cost"),
    [(["x" * 40], PROMPT + 10), (["x" * 4000], CLAIM), ([""] * 30, PROMPT + 30), (["", "x" * 40], PROMPT + 11)],
    ids=["a text", "a long text", "thoughts", "both"],
)
async def test_what_came_before_a_timeout_is_charged(
    listen: Serve, superuser: asyncpg.Connection, pieces: list[str], cost: int
) -> None:
    async with listen(Ends(ProviderTimeout(), *pieces), **PAID) as (_, client):
        acme = await make_tenant(client)
        await client.post("/messages", json={"content": "Hello", "stream": True}, headers=acme.user.headers)
    (row,) = await rows_of(superuser, acme)
    assert (row["status"], row["error_code"]) == ("failed", "provider_timeout")
    assert (row["response"], row["cost_micro_usd"]) == ("".join(pieces), cost)


async def test_thoughts_that_nobody_counted_are_counted_by_their_events(
    listen: Serve, superuser: asyncpg.Connection
) -> None:
    end = counted("Hi", FinishReason.STOP, input_tokens=None, output_tokens=None)
    async with listen(Ends(end, *[""] * 30, "Hi"), **PAID) as (_, client):
        acme = await make_tenant(client)
        await client.post("/messages", json={"content": "Hello", "stream": True}, headers=acme.user.headers)
    (row,) = await rows_of(superuser, acme)
    assert (row["status"], row["output_tokens"], row["cost_micro_usd"]) == ("completed", None, PROMPT + 1 + 30)


@pytest.mark.parametrize(("accepted", "cost"), [(True, CLAIM), (False, None)])
async def test_a_call_that_the_provider_was_at_work_on_costs_what_was_set_aside(
    listen: Serve, superuser: asyncpg.Connection, accepted: bool, cost: int | None
) -> None:
    error = ProviderTimeout()
    error.accepted = accepted
    async with listen(Ends(error), **PAID) as (_, client):
        acme = await make_tenant(client)
        assert_problem(await client.post("/messages", json={"content": "Hello"}, headers=acme.user.headers), 504)
    (row,) = await rows_of(superuser, acme)
    assert (row["status"], row["cost_micro_usd"]) == ("failed", cost)


@pytest.mark.parametrize(("mode", "cost"), [({}, CLAIM), ({"background": True}, PROMPT)], ids=["whole", "read along"])
async def test_a_cancelled_call_whose_text_nobody_saw_costs_what_was_set_aside(
    listen: Serve, superuser: asyncpg.Connection, mode: dict[str, Any], cost: int
) -> None:
    provider = HeldProvider()
    async with listen(provider, **PAID) as (_, client):
        acme = await make_tenant(client)
        body = {"content": "Hello", **mode}
        sending_it = asyncio.create_task(client.post("/messages", json=body, headers=acme.user.headers))
        await provider.wait_for_calls(1)
        (row,) = await rows_of(superuser, acme)
        await client.post(f"/messages/{row['id']}/cancel", headers=acme.user.headers)
        await sending_it
    (row,) = await rows_of(superuser, acme)
    assert (row["status"], row["cost_micro_usd"]) == ("cancelled", cost)


@pytest.mark.parametrize("stored", ["", " \n"])
async def test_an_empty_answer_is_not_sent_along(listen: Serve, superuser: asyncpg.Connection, stored: str) -> None:
    """Providers refuse it, and with it whatever follows in the conversation."""
    provider = Ends(counted("Fine.", FinishReason.STOP))
    async with listen(provider) as (_, client):
        acme = await make_tenant(client)
        headers = acme.user.headers
        conversation = (await client.post("/conversations", json={}, headers=headers)).json()["id"]
        for content in ("one", "two", "three"):
            body = {"content": content, "conversation_id": conversation}
            sent = (await client.post("/messages", json=body, headers=headers)).json()
            if content == "two":
                await superuser.execute("UPDATE messages SET response = $1 WHERE id = $2", stored, sent["id"])
    assert [turn.content for turn in provider.turns[-1]] == ["one", "Fine.", "three"]


async def test_what_its_author_does_not_see_does_not_go_into_the_context(listen: Serve) -> None:
    provider = Ends(counted("Fine.", FinishReason.STOP))
    async with listen(provider) as (_, client):
        acme = await make_tenant(client)
        mine = {"json": {}, "headers": acme.user.headers}
        conversation = (await client.post("/conversations", **mine)).json()["id"]

        async def say(content: str, headers: dict[str, str]) -> list[str]:
            body = {"content": content, "conversation_id": conversation}
            answer = await client.post("/messages", json=body, headers=headers)
            assert answer.status_code in (201, 502)
            return [turn.content for turn in provider.turns[-1] if turn.role == "user"]

        await say("mine", acme.user.headers)
        assert await say("an admin's", acme.admin.headers) == ["mine", "an admin's"]
        assert await say("more", acme.user.headers) == ["mine", "an admin's", "more"]
        body = {"message_visibility": "own"}
        await client.patch(f"/tenants/{acme.id}", json=body, headers=acme.admin.headers)
        assert await say("still mine", acme.user.headers) == ["mine", "more", "still mine"]
        assert await say("an admin's too", acme.admin.headers) == [
            "mine",
            "an admin's",
            "more",
            "still mine",
            "an admin's too",
        ]
        # An admin runs it again for the user, who reads the answer.
        provider.end = ProviderError()
        assert (await say("last", acme.user.headers))[-1] == "last"
        provider.end = counted("Fine.", FinishReason.STOP)
        (failed,) = (await client.get("/messages?status=failed", headers=acme.user.headers)).json()
        await client.post(f"/messages/{failed['id']}/retry", json={}, headers=acme.admin.headers)
        assert [turn.content for turn in provider.turns[-1] if turn.role == "user"] == [
            "mine",
            "more",
            "still mine",
            "last",
        ]
