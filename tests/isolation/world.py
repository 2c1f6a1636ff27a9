"""Two tenants for a whole module: acme, who asks, and a rival whose every word and id is unmistakable."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from app.verification.operation import Operation
from tests.helpers import Tenant, make_tenant
from tests.isolation.callers import CALLERS, Headers
from tests.isolation.resources import MAKERS, Service

MARK = "rival-7d1f0c"
"""Stands in everything that the rival writes."""
TENANT_TABLES = """
SELECT table_name FROM information_schema.columns WHERE column_name = 'tenant_id' AND table_schema = 'public'
"""


@dataclass
class World:
    service: Service
    acme: Tenant
    rival: Tenant
    own: dict[str, str] = field(default_factory=dict)
    theirs: dict[str, str] = field(default_factory=dict)
    callers: dict[str, Headers] = field(default_factory=dict)
    marks: set[str] = field(default_factory=set)
    _everything: str = ""

    async def prepare(self) -> None:
        for kind in MAKERS:
            self.own[kind] = await self.service.make(kind, self.acme)
            for _ in range(2):  # so that every list of theirs has a second page
                self.theirs[kind] = await self.service.make(kind, self.rival, MARK)
        # Whom and what a list can be narrowed to has rows that a leak would show.
        self.theirs["user"] = self.rival.user.id
        sent = {"content": MARK, "conversation_id": self.theirs["conversation"]}
        answer = await self.service.client.post("/messages", json=sent, headers=self.rival.user.headers)
        assert answer.status_code == 201, answer.text
        self.callers = {kind: await make(self.service, self.acme) for kind, make in CALLERS.items()}
        self.marks = {MARK, *await self._ids_of_the_rival()}

    async def _ids_of_the_rival(self) -> set[str]:
        rows = [json.loads(row) for _, row in await self.stored(self.rival)]
        return {
            value for row in rows for name, value in row.items() if value and (name == "id" or name.endswith("_id"))
        }

    async def stored(self, tenant: Tenant) -> list[tuple[str, str]]:
        """All that the database holds of a tenant: (table, row)."""
        if not self._everything:
            tables = [row[0] for row in await self.service.superuser.fetch(TENANT_TABLES)]
            columns = {"tenants": "id", **dict.fromkeys(tables, "tenant_id")}
            self._everything = " UNION ALL ".join(
                f"SELECT '{table}', to_jsonb(t)::text FROM {table} t WHERE {column} = $1"
                for table, column in columns.items()
            )
        return sorted(map(tuple, await self.service.superuser.fetch(self._everything, tenant.id)))

    @asynccontextmanager
    async def untouched_rival(self) -> AsyncIterator[None]:
        """Whatever happens in the block, nothing of the rival's may change by it."""
        before = await self.stored(self.rival)
        yield
        assert await self.stored(self.rival) == before, "another tenant's rows have changed"

    async def call(
        self,
        operation: Operation,
        headers: Headers,
        *,
        target: str | None = None,
        body: dict[str, Any] | None = None,
        query: dict[str, str] | None = None,
        tenant: Tenant | None = None,
    ) -> httpx.Response:
        """Call an operation as its row says, on a thing of the tenant's own unless told otherwise.

        No byte of the rival's may stand in the answer, whatever was sent.
        """
        if target is None and operation.target:
            target = self.own[operation.target] if tenant is None else await self.fresh(operation.target, tenant)
        content = await self.body_of(operation, tenant) if body is None else body
        answer = await self.service.client.request(
            operation.method,
            operation.path_to(target or ""),
            params={**await self._filled_query(operation, tenant), **(query or {})},
            headers=headers,
            **({} if content is None else {"data" if operation.form else "json": content}),
        )
        self.assert_nothing_of_the_rival(answer)
        return answer

    async def call_as(self, kind: str, operation: Operation, *, succeeds: bool) -> httpx.Response:
        """Call as a kind of caller; what is changed or ended by it is made for this one call."""
        if not succeeds or operation.method == "get":
            return await self.call(operation, self.callers[kind])
        if not operation.ends:
            return await self.call(operation, self.callers[kind], tenant=self.acme)
        tenant = await make_tenant(self.service.client)
        return await self.call(operation, await CALLERS[kind](self.service, tenant), tenant=tenant)

    async def body_of(self, operation: Operation, tenant: Tenant | None = None) -> dict[str, Any] | None:
        """The row's body, filled in with the tenant's things, and with what is new where it must be."""
        tenant = tenant or self.acme
        kinds: list[str] = []
        operation.filled(kinds.append)
        values = {kind: await self.fresh(kind, tenant) for kind in kinds}
        return operation.filled(values.__getitem__)

    async def _filled_query(self, operation: Operation, tenant: Tenant | None) -> dict[str, str]:
        return {name: await self.fresh(kind.strip("<>"), tenant or self.acme) for name, kind in operation.query.items()}

    async def fresh(self, kind: str, tenant: Tenant) -> str:
        return await self.service.make(kind, tenant)

    def assert_nothing_of_the_rival(self, answer: httpx.Response) -> None:
        sent_back = f"{answer.headers} {answer.text}".lower()
        found = {mark for mark in self.marks if mark in sent_back}
        assert not found, f"{answer.request.method} {answer.request.url} answered with another tenant's {found}"


async def make_world(service: Service) -> World:
    acme, rival = await make_tenant(service.client), await make_tenant(service.client)
    await service.superuser.execute("UPDATE tenants SET name = $2 || name WHERE id = $1", rival.id, MARK)
    await service.superuser.execute("UPDATE users SET email = $2 || email WHERE tenant_id = $1", rival.id, MARK)
    admin, user = (replace(member, email=MARK + member.email) for member in (rival.admin, rival.user))
    world = World(service, acme, replace(rival, name=MARK + rival.name, admin=admin, user=user))
    await world.prepare()
    return world
