"""A mixed load from clients that behave: each message has a key, and what got no answer is sent again elsewhere."""

import asyncio
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from app.core.ids import new_id
from tests.helpers import Tenant

CLIENTS_PER_TENANT = 3
ANSWER_SECONDS = 30.0
PAUSE_SECONDS = 0.1
READS = ("/messages?limit=100", "/conversations", "/me")


@dataclass(slots=True)
class Tally:
    accepted: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Tenant and prompt of each message by its id."""
    statuses: Counter[int] = field(default_factory=Counter)
    failures: list[tuple[float, str]] = field(default_factory=list)
    """When a server answered 5xx, and where."""
    served: list[float] = field(default_factory=list)
    """When one answered otherwise."""
    broken: int = 0
    foreign: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    """Messages that were accepted and are not in the very next list of their author's."""


class Load:
    def __init__(self, urls: Sequence[str], tenants: Sequence[Tenant]) -> None:
        self._clients = [httpx.AsyncClient(base_url=url, timeout=ANSWER_SECONDS) for url in urls]
        self._next = itertools.cycle(self._clients)
        self._tenants = tenants
        self._over = asyncio.Event()
        self.tally = Tally()

    async def run(self) -> None:
        """Until `stop`."""
        clients = [self._use(tenant) for tenant in self._tenants for _ in range(CLIENTS_PER_TENANT)]
        try:
            await asyncio.gather(*clients)
        finally:
            await asyncio.gather(*(client.aclose() for client in self._clients))

    def stop(self) -> None:
        self._over.set()

    async def _use(self, tenant: Tenant) -> None:
        while not self._over.is_set():
            message_id = await self._send(tenant)
            for path in random.sample(READS, 2):
                await self._read(tenant, path, message_id)

    async def _send(self, tenant: Tenant) -> str:
        prompt = f"{tenant.id} {new_id()}"
        how: dict[str, Any] = random.choice([{}, {}, {"background": True}, {"stream": True}])
        headers = {**tenant.user.headers, "Idempotency-Key": new_id()}
        while True:
            # A stream that broke is a message that is there: the same key gives it.
            answer = await self._ask("POST", "/messages", headers, {"content": prompt, **how})
            message_id = None if answer is None else id_in(answer)
            if message_id is not None:
                self.tally.accepted[message_id] = (tenant.id, prompt)
                return message_id
            await asyncio.sleep(PAUSE_SECONDS)

    async def _read(self, tenant: Tenant, path: str, message_id: str) -> None:
        while (answer := await self._ask("GET", path, tenant.user.headers)) is None or answer.status_code >= 500:
            await asyncio.sleep(PAUSE_SECONDS)
        assert answer.status_code == 200, answer.text
        if path == "/me":
            return
        rows = answer.json()
        self.tally.foreign += [row["id"] for row in rows if row["tenant_id"] != tenant.id]
        if path.startswith("/messages") and len(rows) < 100 and message_id not in {row["id"] for row in rows}:
            self.tally.lost.append(message_id)

    async def _ask(
        self, method: str, path: str, headers: dict[str, str], body: dict[str, Any] | None = None
    ) -> httpx.Response | None:
        """None if the connection broke."""
        try:
            answer = await next(self._next).request(method, path, headers=headers, json=body)
        except httpx.TransportError:
            self.tally.broken += 1
            return None
        self.tally.statuses[answer.status_code] += 1
        if answer.status_code >= 500 and id_in(answer) is None:
            self.tally.failures.append((time.monotonic(), f"{method} {path} {answer.status_code} {answer.text[:200]}"))
        else:
            self.tally.served.append(time.monotonic())
        return answer


def id_in(answer: httpx.Response) -> str | None:
    """Of the message that an answer is about: as JSON, as a stream's first event, or as the problem that ended it."""
    if answer.headers.get("Content-Type", "").startswith("text/event-stream"):
        first = next((line for line in answer.text.splitlines() if line.startswith("data: ")), None)
        body = {} if first is None else json.loads(first.removeprefix("data: "))
    else:
        body = answer.json()
    if not isinstance(body, dict):
        return None
    found: str | None = body.get("message_id") or body.get("id")
    return found
