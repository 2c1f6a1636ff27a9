"""Clients that send a request, whole or in part, and hang up at a random moment."""

import asyncio
import json
import random
from collections import Counter
from typing import Any

import asyncpg

from soak.client import Answer, Exchange, drive
from soak.report import Failed, Progress
from soak.seed import dsn, identifier, mark
from soak.service import Service

CONCURRENCY = 32
LATEST_SECONDS = 0.03
CALM_SECONDS = 30.0
# Of the service's processes: what a request that was cut off must not leave behind.
LEFT = """
SELECT (SELECT count(*) FROM messages WHERE status = 'pending') AS pending,
       (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'
         AND now() - state_change > interval '1 second') AS idle_in_transaction
"""


class HangingUp:
    """Requests of many tenants; each is counted once it was cut off, and must not have been answered with a 5xx."""

    def __init__(self, service: Service, total: int, seed: int) -> None:
        self._service, self._dice, self._left = service, random.Random(seed), total
        self._progress = Progress("hung up", total)
        self.statuses: Counter[int] = Counter()
        self.cut = 0
        self.seconds = 0.0

    async def run(self) -> None:
        await drive(self._service.ports, CONCURRENCY, self._next, self._look)
        self.seconds = self._progress.seconds()
        await self._wait_for_calm()

    def _next(self) -> Exchange | None:
        if self._left <= 0:
            return None
        self._left -= 1
        request = self._request()
        if self._dice.random() < 0.15:
            request = request[: self._dice.randrange(1, len(request))]
        return Exchange(request, impatient=0.001 + self._dice.random() * LATEST_SECONDS, last=True)

    def _look(self, exchange: Exchange, answer: Answer) -> None:
        self.statuses[answer.status] += 1
        if answer.status >= 500:
            raise Failed(f"request: {exchange.request!r}\nanswer: {answer.head + answer.body!r}")
        if answer.status == 0:
            self.cut += 1
            self._progress.step()
        else:  # it was answered in time: it does not count
            self._left += 1

    def _request(self) -> bytes:
        tenant = self._dice.randint(1, self._service.tenants)
        own = mark(tenant).decode()
        method, path, body = self._dice.choice([
            ("GET", "/messages?limit=100", None),
            ("GET", f"/messages?q={own}", None),
            ("GET", f"/messages/{identifier('message', tenant)}/stream", None),
            ("GET", "/usage?group_by=user", None),
            ("PATCH", f"/conversations/{identifier('conversation', tenant)}", {"title": f"{own} title"}),
            ("PUT", f"/admin/users/{identifier('user', tenant)}/budget", {"limit_micro_usd": 10**12}),
            ("POST", "/conversations", {"title": f"{own} title"}),
            ("POST", "/messages", {"content": f"{own} question"}),
            ("POST", "/messages", {"content": f"{own} question", "stream": True}),
            ("POST", "/messages", {"content": f"{own} question", "background": True}),
        ])  # fmt: skip
        return _bytes(method, path, self._service.tokens[tenant][0], body)

    async def _wait_for_calm(self) -> None:
        """What was accepted ends, and nothing holds a transaction open."""
        connection = await asyncpg.connect(dsn(self._service.url))
        deadline = asyncio.get_running_loop().time() + CALM_SECONDS
        try:
            while any((left := dict(await connection.fetchrow(LEFT))).values()):
                if asyncio.get_running_loop().time() > deadline:
                    raise Failed(f"{CALM_SECONDS:.0f} s after the last client hung up: {left}")
                await asyncio.sleep(0.2)
        finally:
            await connection.close()


def _bytes(method: str, path: str, token: str, body: dict[str, Any] | None) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: soak\r\nAuthorization: Bearer {token}\r\n"
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    return head.encode() + b"\r\n" + content
