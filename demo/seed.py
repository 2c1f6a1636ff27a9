"""Filling a database with the firm: through the interface, and what lies in the past through the owner's login.

Users, keys, documents, invites and budgets are made as anybody makes them, so that whatever the service notes and
counts of them is there. Messages of two months ago nobody can send: their rows are written, by the triggers that count
them, before any budget is set; and what was made today is dated back.
"""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
from fastapi import FastAPI

from demo import dated, firm, history, talk
from demo.firm import ADMIN, KEYS, NAME, PEOPLE, UNFINISHED

FILES = Path(__file__).parent / "documents"
PRIVATE = {"salaries.md"}
UPLOADERS = ("jonas", "priya")
READING_SECONDS = 120.0
# What a tenant spends of its month when all is there, about.
SHARE_SPENT = 0.7
DEFAULT_LIMIT = 20_000_000

INSERT_CONVERSATIONS = """
INSERT INTO conversations (id, tenant_id, user_id, title, system_prompt, created_at, updated_at)
SELECT id, $1, user_id, title, system_prompt, created_at, created_at
FROM jsonb_to_recordset($2::jsonb) AS c (id text, user_id text, title text, system_prompt text, created_at timestamptz)
"""
_TYPES = {
    "id": "text", "content": "text", "response": "text", "user_id": "text", "conversation_id": "text",
    "api_key_line": "text", "status": "text", "error_code": "text", "finish_reason": "text", "model": "text",
    "input_tokens": "int", "output_tokens": "int", "cached_tokens": "int", "reasoning_tokens": "int",
    "cost_micro_usd": "bigint", "price": "jsonb", "cached": "bool", "attempts": "int", "documents": "jsonb",
    "citations": "jsonb", "api": "text", "asked_model": "text", "stored": "bool", "has_contents": "bool",
    "created_at": "timestamptz", "updated_at": "timestamptz",
}  # fmt: skip
_COLUMNS = ", ".join(_TYPES)
_RECORD = ", ".join(f"{name} {kind}" for name, kind in _TYPES.items())
INSERT_MESSAGES = f"""
INSERT INTO messages (tenant_id, claimed_at, {_COLUMNS})
SELECT $1, created_at, {_COLUMNS} FROM jsonb_to_recordset($2::jsonb) AS m ({_RECORD})
"""
INSERT_CONTENTS = """
INSERT INTO message_contents (tenant_id, message_id, request, output)
SELECT $1, id, request, output
FROM jsonb_to_recordset($2::jsonb) AS m (id text, has_contents bool, request jsonb, output jsonb) WHERE has_contents
"""
DATE_KEY = "UPDATE api_keys SET created_at = $2, updated_at = $2, last_used_at = $3 WHERE id = $1"
SPENT = """
SELECT COALESCE(sum(cost_micro_usd), 0)::bigint FROM messages
WHERE tenant_id = $1 AND created_at >= date_trunc('month', now(), 'UTC') AND ($2::text IS NULL OR user_id = $2)
"""
Tell = Callable[[str], None]


class Refused(Exception):
    """The firm cannot be put here; says why."""


async def is_there(owner: asyncpg.Connection, *, beside_others: bool = False) -> bool:
    """Whether the firm lives in this database; raises `Refused` where it may not be put there."""
    if not await owner.fetchval("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"):
        raise Refused("The past is written by a login that row-level security does not hold: MIGRATION_DATABASE_URL")
    names = {row["name"] for row in await owner.fetch("SELECT name FROM tenants")}
    if NAME not in names and names - {UNFINISHED} and not beside_others:
        raise Refused("Other tenants live in this database. To put the firm beside them: make demo BESIDE_OTHERS=1")
    return NAME in names


async def seed(app: FastAPI, owner: asyncpg.Connection, password: str, tell: Tell) -> None:
    """Put the firm there. `app` runs, over the database of `owner`, and nobody else writes the firm."""
    left = await owner.fetchval("UPDATE tenants SET erasing_at = now() WHERE name = $1 RETURNING id", UNFINISHED)
    if left is not None:
        tell("Taking away what a run before this one left ...")
        await app.state.container.eraser.erase(left)
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as client:
        await _Founding(app, client, owner, password, tell).run()


class _Founding:
    def __init__(
        self, app: FastAPI, client: httpx2.AsyncClient, owner: asyncpg.Connection, password: str, tell: Tell
    ) -> None:
        self._operator = app.state.settings.operator_token.get_secret_value()
        self._client, self._owner, self._password, self._tell = client, owner, password, tell
        self._now = datetime.now(UTC)
        self._tenant_id = ""
        self._users: dict[str, str] = {}
        self._tokens: dict[str, str] = {}
        self._lines: dict[str, str] = {}

    async def run(self) -> None:
        self._tell("People and keys ...")
        await self._people()
        await self._keys()
        citations = await self._documents()
        self._tell("Two months of messages ...")
        told = history.two_months(self._authors(), self._now, citations)
        await self._write(told)
        self._tell("Budgets, invites and what was noted ...")
        await self._budgets()
        await self._settled()
        async with self._owner.transaction():
            await dated.date_back(self._owner, self._tenant_id, self._users, self._now)
            await self._owner.execute("UPDATE tenants SET name = $2 WHERE id = $1", self._tenant_id, NAME)
        for person in self._tokens:
            await self._say("POST", "/logout", None, person)

    async def _people(self) -> None:
        body = {"name": UNFINISHED, "admin": {"email": ADMIN.email, "password": self._password}}
        made = await self._say("POST", "/create-tenant", body, token=self._operator)
        self._tenant_id, self._users[ADMIN.name] = made["id"], made["admin"]["id"]
        await self._log_in(ADMIN.name)
        others = [person for person in PEOPLE if person is not ADMIN]
        bodies = [{"email": each.email, "password": self._password, "role": each.role} for each in others]
        created = await asyncio.gather(*(self._say("POST", "/admin/users", body) for body in bodies))
        self._users |= {person.name: user["id"] for person, user in zip(others, created, strict=True)}
        owners = {key.owner for key in KEYS} | set(UPLOADERS)
        await asyncio.gather(*(self._log_in(name) for name in sorted(owners - {ADMIN.name})))

    async def _log_in(self, name: str) -> None:
        email = next(person.email for person in PEOPLE if person.name == name)
        answer = await self._say("POST", "/login", {"email": email, "password": self._password}, token="")
        self._tokens[name] = answer["access_token"]

    async def _keys(self) -> None:
        for key in KEYS:
            body: dict[str, Any] = {"name": key.name, "scopes": key.scopes}
            if key.expires:
                body["expires_at"] = (self._now + timedelta(days=key.expires)).isoformat()
            if key.models:
                body["allowed_models"] = list(key.models)
            made = await self._say("POST", "/api-keys", body, key.owner)
            self._lines[key.name] = made["id"]
            used = self._now - timedelta(minutes=key.used) if key.used else None
            await self._owner.execute(DATE_KEY, made["id"], self._ago(key.made), used)
        overlap = {"overlap_seconds": 7 * 24 * 3600}
        await self._say("POST", f"/api-keys/{self._lines['order widget']}/rotate", overlap, "aiko")

    async def _documents(self) -> list[list[dict[str, Any]]]:
        """Uploaded and read; what the questions about them cite. Nothing where the service has no embedder."""
        for number, path in enumerate(sorted(FILES.iterdir())):
            private = path.name in PRIVATE
            form = {"collection": "office" if private else "riders", "visibility": "private" if private else "tenant"}
            uploader = ADMIN.name if private else UPLOADERS[number % len(UPLOADERS)]
            headers = {"Authorization": f"Bearer {self._tokens[uploader]}"}
            files = {"file": (path.name, path.read_bytes())}
            answer = await self._client.post("/documents", data=form, files=files, headers=headers)
            if answer.status_code == 501:
                self._tell("No documents: the service has no embedder")
                return []
            answer.raise_for_status()
        self._tell("Documents are being read ...")
        async with asyncio.timeout(READING_SECONDS):
            while any(each["status"] in ("queued", "processing") for each in await self._say("GET", "/documents")):
                await asyncio.sleep(0.1)
        questions = [question for question, _ in talk.ASKS_DOCUMENTS]
        found = [await self._say("POST", "/search", {"query": question, "top_k": 2}, "jonas") for question in questions]
        return [history.cited(passages) for passages in found]

    def _authors(self) -> list[history.Author]:
        authors = [
            history.Author(
                self._users[person.name], person.weight, person.topics, person.models, self._ago(person.joined),
                self._ago(person.leaves),
            )
            for person in PEOPLE
        ]  # fmt: skip
        apis = {"order widget": "chat", "nightly import": "responses"}
        return authors + [
            history.Author(
                self._users[key.owner], key.weight, ("customers", "languages"), key.models, self._ago(key.made),
                self._now, self._lines[key.name], apis[key.name],
            )
            for key in KEYS
            if key.models
        ]  # fmt: skip

    def _ago(self, days: float) -> datetime:
        return self._now - timedelta(days=days)

    async def _write(self, told: history.History) -> None:
        conversations, messages = (json.dumps(rows, default=str) for rows in (told.conversations, told.ordered()))
        async with self._owner.transaction():
            await self._owner.execute(INSERT_CONVERSATIONS, self._tenant_id, conversations)
            await self._owner.execute(INSERT_MESSAGES, self._tenant_id, messages)
            await self._owner.execute(INSERT_CONTENTS, self._tenant_id, messages)

    async def _budgets(self) -> None:
        """After the messages: what was spent before there was a budget is in it from its first moment on."""
        await self._budget("/admin/budget", await self._spent(None), SHARE_SPENT)
        await self._budget("/admin/budget", DEFAULT_LIMIT // 10, 1.0, "day")
        priya, jonas = self._users["priya"], self._users["jonas"]
        await self._budget(f"/admin/users/{priya}/budget", await self._spent(priya), 0.92)
        await self._budget(f"/admin/users/{jonas}/budget", DEFAULT_LIMIT // 4, 1.0, "week")
        await self._budget(f"/admin/api-keys/{self._lines['order widget']}/budget", DEFAULT_LIMIT // 40, 1.0)

    async def _budget(self, path: str, spent: int, share: float, period: str = "month") -> None:
        limit = _rounded(spent / share) or DEFAULT_LIMIT
        await self._say("PUT", path, {"limit_micro_usd": limit, "period": period})

    async def _spent(self, user_id: str | None) -> int:
        spent: int = await self._owner.fetchval(SPENT, self._tenant_id, user_id)
        return spent

    async def _settled(self) -> None:
        for email, hours in firm.INVITED:
            await self._say("POST", "/admin/invites", {"email": email, "expires_in_hours": hours})
        await self._say("PATCH", f"/tenants/{self._tenant_id}", {"registration": "invite"})
        for person in PEOPLE:
            if person.leaves:
                await self._say("PATCH", f"/admin/users/{self._users[person.name]}", {"disabled": True})
        failed = await self._say("GET", f"/messages?status=failed&user_id={self._users['aiko']}&limit=1")
        for message in failed:
            await self._say("DELETE", f"/messages/{message['id']}")

    async def _say(
        self, method: str, path: str, body: Any = None, who: str = ADMIN.name, token: str | None = None
    ) -> Any:
        bearer = self._tokens[who] if token is None else token
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        answer = await self._client.request(method, path, json=body, headers=headers)
        if answer.is_error:
            raise Refused(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else None


def _rounded(micro_usd: float) -> int:
    """To two digits."""
    unit = 10 ** max(len(str(int(micro_usd))) - 2, 0)
    return round(micro_usd / unit) * unit
