"""The lowest floor: bare Starlette and raw asyncpg with one statement a request, no row-level security, no log.

What a request would cost if nothing were guarded: no transaction of its own, no look at the session, and a message is
stored once, with its answer.
"""

import json
import os
from typing import Any

import aiohttp
import asyncpg
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.core.ids import new_id
from app.messages.columns import COLUMNS
from benchmarks.floor import ME, TOKENS, answer, health, lifespan

PROVIDER_URL = os.environ.get("PROVIDER_URL")
LIST = f"SELECT {COLUMNS} FROM messages WHERE tenant_id = $1 ORDER BY created_at DESC, id DESC LIMIT $2"
STORE = (
    "INSERT INTO messages (id, content, response, user_id, tenant_id, status, model, input_tokens, output_tokens) "
    f"VALUES ($1, $2, $3, $4, $5, 'completed', $6, $7, $8) RETURNING {COLUMNS}"
)


async def me(request: Request) -> Response:
    pool, caller = _of(request)
    return answer(dict(await pool.fetchrow(ME, caller.tenant_id, caller.user_id)))


async def messages(request: Request) -> Response:
    pool, caller = _of(request)
    rows = await pool.fetch(LIST, caller.tenant_id, int(request.query_params["limit"]))
    return answer([dict(row) for row in rows])


async def send(request: Request) -> Response:
    pool, caller = _of(request)
    content = json.loads(await request.body())["content"]
    text, model, *tokens = await _answered(request, content)
    row = await pool.fetchrow(STORE, new_id(), content, text, caller.user_id, caller.tenant_id, model, *tokens)
    return answer(dict(row), 201)


async def _answered(request: Request, content: str) -> tuple[str, str, int, int]:
    """Text, model and tokens: by the provider at `PROVIDER_URL`, or made up."""
    if not PROVIDER_URL:
        text = f"[mock] No language model is configured, so here is your prompt again: {content}"
        return text, "mock-echo", len(content.split()), len(text.split())
    if not hasattr(request.app.state, "session"):
        request.app.state.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    body = {"model": "bench-1", "max_tokens": 4096, "messages": [{"role": "user", "content": content}]}
    async with request.app.state.session.post(PROVIDER_URL, json=body) as response:
        answer = await response.json()
    text, usage = answer["choices"][0]["message"]["content"], answer["usage"]
    return text, answer["model"], usage["prompt_tokens"], usage["completion_tokens"]


def _of(request: Request) -> tuple[asyncpg.Pool, Any]:
    return request.app.state.pool, TOKENS.verify(request.headers["authorization"][7:])


app = Starlette(
    routes=[
        Route("/health", health),
        Route("/me", me),
        Route("/messages", messages, methods=["GET"]),
        Route("/messages", send, methods=["POST"]),
    ],
    lifespan=lifespan,
)
