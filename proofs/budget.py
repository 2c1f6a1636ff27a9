"""A budget of one dollar, hundreds of calls at once in every dialect, and the provider's own bill.

Some clients hang up in the middle, some calls bring tools, some break off, some fall back to another provider. Whatever
becomes of them: both providers' bills together stay within the dollar, and no message is left without an end.
"""

import asyncio
import json
import random
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from sqlalchemy import URL

from app.db.embedded import EmbeddedPostgres
from app.db.provision import migrate
from compat.service import make_key
from proofs.upstream import INPUT_PRICE, OUTPUT_PRICE, WORDS, Upstream
from soak.service import POSTGRES_OPTIONS, serving

BUDGET = 1_000_000
PROCESSES = 2
PATIENCE_SECONDS = 180
MOST_ROUNDS = 60
OVER = {"402", "429"}
"""Over budget, in either interface's words."""
PATHS = ("/messages", "/v1/chat/completions", "/v1/responses", "/v1/messages")
MODEL = "fake-1"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


async def run(times: int, seed: int) -> str:
    """Raise `AssertionError` where the bill is above the budget, or a message did not end."""
    first, second = Upstream(seed), Upstream(seed + 1)
    async with first.serving() as first_url, second.serving() as second_url:
        with tempfile.TemporaryDirectory(prefix="llm-saas-proof-") as directory:
            async with EmbeddedPostgres(Path(directory), options=POSTGRES_OPTIONS) as postgres:
                await migrate(postgres.url)
                settings = _settings(first_url, second_url)
                async with serving(postgres.url, Path(directory), PROCESSES, settings) as ports:
                    said = await _flood(ports, times, random.Random(seed))
                    states, spent = await _ended(postgres.url)
    bill = first.micro_usd + second.micro_usd
    lines = [
        f"{times} calls at once, again and again, over {', '.join(PATHS)}: {dict(said.most_common())}",
        f"providers: {first.calls} + {second.calls} calls, {dict(first.kinds + second.kinds)}",
        f"their bill: ${bill / 1e6:.6f} of ${BUDGET / 1e6:.2f}; ours: ${spent / 1e6:.6f}; messages: {states}",
    ]
    assert bill <= BUDGET, "\n".join(lines)
    assert bill > BUDGET / 2, "too little was spent to show anything:\n" + "\n".join(lines)
    assert spent <= BUDGET, "\n".join(lines)
    return "\n".join(lines)


def _settings(first: str, second: str) -> dict[str, str]:
    models = {
        MODEL: {
            "provider": "openai",
            "model": MODEL,
            "base_url": first,
            "api_key": "sk-first",
            "fallbacks": ["fake-2"],
        },
        "fake-2": {"provider": "openai", "model": MODEL, "base_url": second, "api_key": "sk-second"},
    }
    price = {"input": INPUT_PRICE * 1_000, "output": OUTPUT_PRICE * 1_000}
    return {
        "SECRET_KEY": "proof-run-" * 4,
        "BCRYPT_ROUNDS": "4",
        "RATE_LIMIT_ENABLED": "false",
        "LOG_LEVEL": "ERROR",
        "LLM_MODELS": json.dumps(models),
        "LLM_PRICES": json.dumps(dict.fromkeys(models, price)),
        "LLM_MAX_OUTPUT_TOKENS": str(WORDS),
        "LLM_MAX_RETRIES": "0",
        "LLM_MAX_RUNNING_PER_TENANT": "1000",
    }


async def _flood(ports: tuple[int, ...], times: int, dice: random.Random) -> Counter[str]:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=PATIENCE_SECONDS, limits=limits) as client:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports[0]}", timeout=60) as maker:
            headers = {"Authorization": f"Bearer {await make_key(maker, BUDGET)}"}
        said: Counter[str] = Counter()
        # What a call does not cost of what was set aside is there for others: until nothing is left.
        for _ in range(MOST_ROUNDS):
            round_said = Counter(
                await asyncio.gather(
                    *(
                        _send(client, f"http://127.0.0.1:{ports[n % len(ports)]}", PATHS[n % len(PATHS)], headers, dice)
                        for n in range(times)
                    )
                )
            )
            said += round_said
            if round_said.keys() <= OVER:
                break
        return said


async def _send(client: httpx.AsyncClient, url: str, path: str, headers: dict[str, str], dice: random.Random) -> str:
    """What became of one call, as its client saw it."""
    body = _body(path, tools=dice.random() < 0.3)
    streams, leaves = dice.random() < 0.6, dice.random() < 0.25
    if not streams:
        answer = await client.post(url + path, json=body, headers=headers)
        return str(answer.status_code)
    async with client.stream("POST", url + path, json=body | {"stream": True}, headers=headers) as stream:
        if stream.status_code >= 400:
            return str(stream.status_code)
        pieces = 0
        async for _ in stream.aiter_lines():
            pieces += 1
            if leaves and pieces > 20:
                return "left"
    return "streamed"


def _body(path: str, *, tools: bool) -> dict[str, Any]:
    prompt = "What is an event loop?"
    named = {"name": "get_weather", "description": "The weather."}
    function = {"type": "function", **named, "parameters": CITY}
    messages = [{"role": "user", "content": prompt}]
    match path:
        case "/messages":
            body, offered = {"content": prompt, "model": MODEL}, {**named, "parameters": CITY}
        case "/v1/chat/completions":
            body, offered = (
                {"model": MODEL, "messages": messages},
                {"type": "function", "function": {**named, "parameters": CITY}},
            )
        case "/v1/responses":
            body, offered = {"model": MODEL, "input": prompt}, function
        case _:
            body, offered = {"model": MODEL, "messages": messages, "max_tokens": WORDS}, {**named, "input_schema": CITY}
    return body | {"tools": [offered]} if tools else body


async def _ended(url: URL) -> tuple[dict[str, int], int]:
    """How many messages ended how, once all have, and what they cost together."""
    connection = await asyncpg.connect(url.set(drivername="postgresql").render_as_string(hide_password=False))
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await connection.fetchval("SELECT count(*) FROM messages WHERE status = 'pending'"):
                await asyncio.sleep(0.2)
        rows = await connection.fetch("SELECT status, count(*) AS number FROM messages GROUP BY status")
        spent = await connection.fetchval("SELECT coalesce(sum(cost_micro_usd), 0)::bigint FROM messages")
        idle = await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'")
        assert not idle, f"{idle} connections stand in a transaction"
        return {row["status"]: row["number"] for row in rows}, spent
    finally:
        await connection.close()
