"""Several models behind one service: who may use which, what each is charged, and what storing knows of it."""

import json
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx
import pytest

from app.core.settings.models import ModelEntry
from tests.api.problems import assert_problem
from tests.committed.conftest import Serve, rows_of
from tests.helpers import Tenant, make_tenant
from tests.llm.loopback import Answer, Loopback, completion, loopback, problem
from tests.sessions import actions_of

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
PRICE = {"input": 1_000_000, "output": 2_000_000}


async def answering(body: dict[str, Any]) -> Answer:
    return problem(500) if body["model"] == "broken" else completion(f"by {body['model']}")


def models(server: Loopback) -> dict[str, ModelEntry]:
    place = {"provider": "openai", "base_url": server.base_url, "api_key": "none"}
    dear = {**PRICE, "tiers": [{"above": 2, "input": 10_000_000, "output": 20_000_000}]}
    found = {
        "fast": {**place, "model": "tiny", "price": PRICE, "max_output_tokens": 7, "description": "Quick."},
        "smart": {**place, "model": "large", "price": dear, "capabilities": ["seed"], "context_tokens": 5000},
        "lab/new": {**place, "model": "broken", "price": PRICE, "fallbacks": ["smart"]},
    }
    return {name: ModelEntry.model_validate(entry) for name, entry in found.items()}


@asynccontextmanager
async def several(serve: Serve, **changes: Any) -> Any:
    async with (
        loopback(answering) as server,
        serve(None, llm_models=models(server), llm_max_retries=0, **changes) as (
            app,
            client,
        ),
    ):
        yield app, client, server


async def ask(client: httpx.AsyncClient, who: dict[str, str], name: str = "", **options: Any) -> httpx.Response:
    body = {"model": name, "messages": [{"role": "user", "content": "Hi"}], "store": True, **options}
    return await client.post("/v1/chat/completions", json=body, headers=who)


def told(answer: httpx.Response) -> str:
    """Who answered, or why nobody did."""
    said = answer.json()
    return said["model"] if answer.status_code == 200 else said["error"]["code"]


async def allow(client: httpx.AsyncClient, tenant: Tenant, **changes: Any) -> None:
    answer = await client.patch(f"/tenants/{tenant.id}", json=changes, headers=tenant.admin.headers)
    assert answer.status_code == 200, answer.text


async def offered(client: httpx.AsyncClient, headers: dict[str, str]) -> tuple[list[str], list[str]]:
    """The names, and which of them is the default."""
    answer = await client.get("/models", headers=headers)
    assert answer.status_code == 200, answer.text
    return [model["id"] for model in answer.json()], [model["id"] for model in answer.json() if model["default"]]


async def test_what_a_caller_may_use_is_listed_with_what_it_can_and_costs(serve: Serve) -> None:
    async with several(serve) as (_, client, _server):
        acme = await make_tenant(client)
        listed = (await client.get("/models", headers=acme.user.headers)).json()
        shown = await client.get("/models/smart", headers=acme.user.headers)
        slashed = await client.get("/models/lab/new", headers=acme.user.headers)
        none = await client.get("/models/none", headers=acme.user.headers)
    assert [(model["id"], model["default"]) for model in listed] == [
        ("fast", True),
        ("smart", False),
        ("lab/new", False),
    ]
    assert shown.json() == listed[1]
    assert shown.json() == {
        "id": "smart",
        "description": "",
        "default": False,
        "context_tokens": 5000,
        "max_output_tokens": 4096,
        "capabilities": ["seed"],
        "price": {
            **PRICE,
            "cached": None,
            "written": None,
            "tiers": [{"above": 2, "input": 10_000_000, "output": 20_000_000, "cached": None, "written": None}],
        },
    }
    assert slashed.json()["id"] == "lab/new"
    assert_problem(none, 404)
    assert "tiny" not in json.dumps(listed)


async def test_a_message_is_answered_by_its_model_and_charged_by_the_tier_that_it_reached(
    serve: Serve, superuser: asyncpg.Connection
) -> None:
    async with several(serve) as (_, client, server):
        acme = await make_tenant(client)
        for name in ("fast", "smart", "lab/new", ""):
            answer = await ask(client, acme.user.headers, name)
            assert answer.status_code == 200, answer.text
        usage = (await client.get("/usage?group_by=model", headers=acme.admin.headers)).json()
    rows = await rows_of(superuser, acme)
    assert [(row["asked_model"], row["model"], row["response"]) for row in rows] == [
        ("fast", "fast", "by tiny"),
        ("smart", "smart", "by large"),
        ("lab/new", "smart", "by large"),
        (None, "fast", "by tiny"),
    ]
    # Of the loopback's 3 tokens in and 5 out, the third of the input reaches the tier.
    assert [row["cost_micro_usd"] for row in rows] == [13, 130, 130, 13]
    prices = [json.loads(row["price"]) for row in rows]
    assert prices[1] == {
        "model": "large",
        "source": "LLM_MODELS",
        "above": 2,
        "input": 10_000_000,
        "output": 20_000_000,
    }
    assert prices[0] == {"model": "tiny", "source": "LLM_MODELS", **PRICE}
    assert [(line["key"], line["messages"]) for line in usage] == [("fast", 2), ("smart", 2)]
    assert [body["max_tokens"] for _, body in server.requests if body["model"] == "tiny"] == [7, 7]


async def test_what_a_model_cannot_do_is_refused_before_anything_is_stored_or_spent(
    serve: Serve, superuser: asyncpg.Connection
) -> None:
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    form = {"type": "json_schema", "json_schema": {"name": "it", "schema": {"type": "object"}}}
    pixel = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    said: list[dict[str, Any]] = [{"role": "user", "content": "word " * 8000}]
    async with several(serve) as (_, client, server):
        acme = await make_tenant(client)
        for options in (
            {"tools": [tool]},
            {"response_format": form},
            {"reasoning_effort": "high"},
            {"messages": [{"role": "user", "content": [pixel]}]},
            {"messages": said},
        ):
            refused = await ask(client, acme.user.headers, "smart", **options)
            assert (refused.status_code, told(refused)) == (400, "unsupported_value"), refused.text
        for name in ("none", "f\u0430st", "FAST", "broken"):
            refused = await ask(client, acme.user.headers, name)
            assert (refused.status_code, told(refused)) == (404, "model_not_found"), refused.text
    assert await rows_of(superuser, acme) == []
    assert server.requests == []


async def test_a_tenant_says_which_models_its_users_may_ask_for_at_the_next_request(
    serve: Serve, superuser: asyncpg.Connection
) -> None:
    async with several(serve) as (_, client, _server), several(serve) as (_, other, _other_server):
        acme = await make_tenant(client)

        async def asked(name: str) -> str:
            # At a process that has not heard of the change.
            return told(await ask(other, acme.user.headers, name))

        refusal = "model_not_found"
        assert await asked("") == await asked("fast") == "fast"
        await allow(client, acme, allowed_models=["smart"])
        assert await offered(client, acme.user.headers) == (["smart"], ["smart"])
        assert [await asked(""), await asked("fast"), await asked("smart")] == ["smart", refusal, "smart"]
        await allow(client, acme, allowed_models=["smart", "fast", "lab/new"], default_model="smart")
        assert [await asked("fast"), await asked("")] == ["fast", "smart"]
        await allow(client, acme, allowed_models=[])
        assert await offered(client, acme.user.headers) == ([], [])
        assert [await asked(""), await asked("smart")] == [refusal, refusal]
        await allow(client, acme, allowed_models=None, default_model=None)
        assert [await asked("lab/new"), await asked("")] == ["lab/new", "fast"]
        # Nobody answers in the place of another whom the tenant does not allow.
        await allow(client, acme, allowed_models=["lab/new"])
        assert await asked("lab/new") == "provider_error"
    assert (await actions_of(superuser, acme.id)).count("tenant.changed") == 5


async def test_a_key_asks_for_the_models_that_it_was_made_for(serve: Serve) -> None:
    async with several(serve) as (_, client, _server):
        acme = await make_tenant(client)
        made = await client.post(
            "/api-keys",
            json={
                "name": "k",
                "scopes": ["messages:read", "messages:write"],
                "allowed_models": ["smart", "lab/new", "smart"],
            },
            headers=acme.user.headers,
        )
        assert made.json()["allowed_models"] == ["lab/new", "smart"]
        unknown = {"name": "k", "scopes": ["messages:read"], "allowed_models": ["none"]}
        assert_problem(await client.post("/api-keys", json=unknown, headers=acme.user.headers), 422)
        key = {"Authorization": f"Bearer {made.json()['key']}"}
        assert await offered(client, key) == (["smart", "lab/new"], ["smart"])
        assert [told(await ask(client, key, name)) for name in ("", "smart", "fast")] == [
            "smart", "smart", "model_not_found",
        ]  # fmt: skip
        await allow(client, acme, allowed_models=["fast"])
        assert await offered(client, key) == ([], [])
        assert_problem(await client.post("/messages", json={"content": "Hi"}, headers=key), 404)


async def test_a_message_is_retried_by_the_model_that_it_asked_for(serve: Serve, superuser: asyncpg.Connection) -> None:
    async with several(serve) as (_, client, server):
        acme = await make_tenant(client)
        await allow(client, acme, allowed_models=["lab/new", "fast"], default_model="lab/new")
        failed = await client.post("/messages", json={"content": "Hi"}, headers=acme.user.headers)
        message = assert_problem(failed, 502)["message_id"]
        await allow(client, acme, allowed_models=["lab/new", "smart"], default_model="smart")
        again = await client.post(f"/messages/{message}/retry", headers=acme.user.headers)
        assert (again.status_code, again.json()["model"]) == (200, "smart")
    (row,) = await rows_of(superuser, acme)
    assert (row["asked_model"], row["attempts"]) == ("lab/new", 2)
    assert [body["model"] for _, body in server.requests] == ["broken", "broken", "large"]


async def test_allowing_models_costs_no_trip(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    trips = 0
    fetch = asyncpg.Connection.fetch

    async def counted(self: Any, *args: Any, **options: Any) -> Any:
        nonlocal trips
        trips += 1
        return await fetch(self, *args, **options)

    async with several(serve) as (_, client, _server):
        acme, plain = await make_tenant(client), await make_tenant(client)
        await allow(client, acme, allowed_models=["smart"])
        monkeypatch.setattr(asyncpg.Connection, "fetch", counted)
        found = []
        for tenant in (plain, plain, acme, acme):
            before = trips
            answer = await client.post("/messages", json={"content": "Hi"}, headers=tenant.user.headers)
            assert answer.status_code == 201
            found.append(trips - before)
    assert found[1] == found[3]
