"""A thousand clients that hang up, cancel, resume and are wrong at random; then what is left is counted."""

import asyncio
import contextlib
import json
import random

import asyncpg

from app.core.ids import new_id
from app.db import rls
from app.llm.mock import MockProvider
from tests.committed.conftest import Serve, all_given_back
from tests.helpers import Tenant, make_tenant
from tests.waiting import until

STORM, AT_ONCE = 1000, 100
CONTENT = "A prompt of some words that the mock says again piece by piece"


def request(method: str, path: str, token: str, body: object = None, **headers: str) -> bytes:
    content = json.dumps(body).encode() if body is not None else b""
    lines = [f"{method} {path} HTTP/1.1", "Host: storm", f"Authorization: Bearer {token}"]
    lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


class Client:
    """One client of the storm; `dice` decides what it does and when it leaves. `accepted`: the ids that it was told."""

    def __init__(self, port: int, tenants: list[Tenant], dice: random.Random, accepted: set[str]) -> None:
        self.port, self.dice, self.accepted = port, dice, accepted
        tenant = dice.choice(tenants)
        self.token = dice.choice([tenant.admin, tenant.user]).token

    async def run(self) -> None:
        mode = self.dice.choice([{}, {"stream": True}, {"background": True}])
        headers = {"Idempotency_Key": new_id()} if self.dice.random() < 0.3 else {}
        received = await self.send_and_leave(
            request("POST", "/messages", self.token, {"content": CONTENT, **mode}, **headers)
        )
        message_id = received.partition(b'"id":"')[2][:36].decode()
        if len(message_id) != 36:
            return
        self.accepted.add(message_id)
        follow = request(
            "GET", f"/messages/{message_id}/stream", self.token, Last_Event_ID=f"1-{self.dice.randrange(99)}"
        )
        verbs = [request("POST", f"/messages/{message_id}/{verb}", self.token) for verb in ("cancel", "retry")]
        delete = request("DELETE", f"/messages/{message_id}", self.token)
        for _ in range(self.dice.randrange(3)):
            await self.send_and_leave(self.dice.choice([follow, *verbs, delete]))

    async def send_and_leave(self, data: bytes) -> bytes:
        """Send all or some of a request, read for a while (some clients: at least the first bytes), hang up hard."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        received = b""
        whole, patient = self.dice.random() > 0.1, self.dice.random() < 0.3
        writer.write(data if whole else data[: self.dice.randrange(len(data))])
        with contextlib.suppress(TimeoutError, ConnectionError):
            if whole and patient:
                received = await reader.read(4096)
            async with asyncio.timeout(self.dice.random() * 0.3):
                while part := await reader.read(4096):
                    received += part
        writer.transport.abort()
        return received


async def test_a_storm_leaves_no_row_pending_no_connection_and_no_task(
    listen: Serve, superuser: asyncpg.Connection
) -> None:
    async with listen(MockProvider(latency=2, fail_every=7), llm_max_running_per_tenant=10_000) as (app, client):
        tenants = [await make_tenant(client) for _ in range(5)]
        ids = [tenant.id for tenant in tenants]
        for tenant in tenants:
            budget = {"limit_micro_usd": 10**9}
            await client.put("/admin/budget", json=budget, headers=tenant.admin.headers)
        port = client.base_url.port
        assert port
        tasks_before = len(asyncio.all_tasks())
        dice = random.Random(20261124)
        gate = asyncio.Semaphore(AT_ONCE)
        accepted: set[str] = set()

        async def one(seed: int) -> None:
            async with gate:
                await Client(port, tenants, random.Random(seed), accepted).run()

        await asyncio.gather(*(one(dice.randrange(2**32)) for _ in range(STORM)))
        container = app.state.container
        await until(lambda: not container.engine._running, "the runs to end")
        await until(lambda: len(asyncio.all_tasks()) <= tasks_before, "the tasks to end")

        await all_given_back(app)
        database = container.database
        async with database.session(rls.ENTER_NO_TENANT), database.background(rls.ENTER_NO_TENANT):
            pass  # both places behind the gate are free
        assert not container.engine._tenants
        assert not container.signals._readers
        assert not container.signals._open_streams
        assert (await client.get("/health/ready")).status_code == 200

    count = "SELECT status, count(*) FROM messages WHERE tenant_id = ANY($1) GROUP BY 1"
    statuses = dict(await superuser.fetch(count, ids))
    assert statuses
    assert statuses.keys() <= {"completed", "failed", "cancelled"}
    kept = (
        "SELECT id FROM messages WHERE tenant_id = ANY($1) UNION SELECT id FROM deleted_usage WHERE tenant_id = ANY($1)"
    )
    assert accepted
    assert accepted <= {row["id"] for row in await superuser.fetch(kept, ids)}
    assert await superuser.fetchval("SELECT count(*) FROM message_deltas WHERE tenant_id = ANY($1)", ids) == 0
    for row in await superuser.fetch("SELECT * FROM budgets WHERE tenant_id = ANY($1)", ids):
        spent = await superuser.fetchval(
            "SELECT sum(cost_micro_usd)::bigint FROM (SELECT tenant_id, cost_micro_usd FROM messages UNION ALL "
            "SELECT tenant_id, cost_micro_usd FROM deleted_usage) AS costs WHERE tenant_id = $1",
            row["tenant_id"],
        )
        assert (row["reserved_micro_usd"], row["spent_micro_usd"]) == (0, spent)
