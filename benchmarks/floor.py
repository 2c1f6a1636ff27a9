"""The floor: bare Starlette and raw asyncpg doing the same work, with nothing that helps a developer.

The same token check, the same guarded transaction, the same statements, the same JSON.
"""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import asyncpg
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.core.credentials.keys import KeyRing, shared_key
from app.core.ids import new_id
from app.core.principal import Principal
from app.core.security import TokenService

TOKENS = TokenService(KeyRing(shared_key(os.environ["SECRET_KEY"], "HS256")), 60)
MESSAGE = (
    "id, content, response, user_id, tenant_id, status, error_code, model, input_tokens, output_tokens, "
    "created_at, updated_at"
)
ENTER = "SELECT enter_tenant($1, $2, $3, $4)"
ME = "SELECT id, email, role, tenant_id, created_at FROM users WHERE tenant_id = $1 AND id = $2"
LIST = f"SELECT {MESSAGE} FROM messages WHERE tenant_id = $1 ORDER BY created_at DESC, id DESC LIMIT $2"
RESERVE = (
    "INSERT INTO messages (id, content, user_id, tenant_id, lease_expires_at) "
    "VALUES ($1, $2, $3, $4, now() + interval '2 minutes')"
)
SETTLE = (
    "UPDATE messages SET status = 'completed', response = $3, model = $4, input_tokens = $5, output_tokens = $6, "
    f"lease_expires_at = NULL, updated_at = now() WHERE tenant_id = $1 AND id = $2 AND status = 'pending' "
    f"RETURNING {MESSAGE}"
)


def answer(content: Any, status: int = 200) -> Response:
    body = json.dumps(content, default=datetime.isoformat, ensure_ascii=False).encode()
    return Response(body, status, media_type="application/json")


@asynccontextmanager
async def guarded(request: Request) -> AsyncIterator[tuple[asyncpg.Connection, Principal]]:
    caller = TOKENS.verify(request.headers["authorization"][7:])
    async with request.app.state.pool.acquire() as connection, connection.transaction():
        await connection.execute(ENTER, caller.tenant_id, caller.user_id, caller.role, caller.token_version)
        yield connection, caller


async def health(_: Request) -> Response:
    return answer({"status": "ok"})


async def me(request: Request) -> Response:
    async with guarded(request) as (connection, caller):
        row = await connection.fetchrow(ME, caller.tenant_id, caller.user_id)
    return answer(dict(row))


async def messages(request: Request) -> Response:
    async with guarded(request) as (connection, caller):
        rows = await connection.fetch(LIST, caller.tenant_id, int(request.query_params["limit"]))
    return answer([dict(row) for row in rows])


async def send(request: Request) -> Response:
    content = json.loads(await request.body())["content"]
    message_id = new_id()
    async with guarded(request) as (connection, caller):
        await connection.execute(RESERVE, message_id, content, caller.user_id, caller.tenant_id)
    text = f"[mock] No language model is configured, so here is your prompt again: {content}"
    async with guarded(request) as (connection, caller):
        tokens = len(content.split()), len(text.split())
        row = await connection.fetchrow(SETTLE, caller.tenant_id, message_id, text, "mock-echo", *tokens)
    return answer(dict(row), 201)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    url = os.environ["DATABASE_URL"].replace("+asyncpg", "")
    # No reset query: a transaction's settings end with it, for the service as for the floor.
    async with asyncpg.create_pool(url, min_size=10, max_size=10, reset=_nothing) as pool:
        app.state.pool = pool
        yield


async def _nothing(_: asyncpg.Connection) -> None:
    pass


app = Starlette(
    routes=[
        Route("/health", health),
        Route("/me", me),
        Route("/messages", messages, methods=["GET"]),
        Route("/messages", send, methods=["POST"]),
    ],
    lifespan=lifespan,
)
