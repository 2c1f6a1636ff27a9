"""Documents whose rows do not go with one transaction, and runs that last longer than a lease."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import asyncpg
import httpx

from app.db import rls
from app.db.session import Database
from app.documents import claims, totals
from app.documents.claims import ClaimedRow
from app.documents.removal import BATCH_CHUNKS, Remover
from app.documents.shapes import Embedded, Kind, Passage, ReadText
from app.documents.store import Run
from tests.conftest import own_database
from tests.documents.library import HashEmbedder
from tests.documents.test_ingestion import LEASE, app, client, database, ingestion, stored, totals_are_right, upload
from tests.helpers import Member, Tenant, join, make_tenant
from tests.waiting import until, within_patience

database_url, settings, superuser = own_database()
__all__ = ["app", "client", "database"]
CHUNKS = 2 * BATCH_CHUNKS + 100


async def stored_large(
    client: httpx.AsyncClient, database: Database, member: Member, *, published: bool = False
) -> tuple[Run, ClaimedRow]:
    """A document in more chunks than go at once, as far as a run has brought it."""
    document = await upload(client, member, "word " * CHUNKS)
    claimed = await claims.claim(database, LEASE)
    assert claimed is not None
    assert claimed.id == document["id"]
    run, embedder = Run(member.tenant_id, claimed.id, claimed.attempts), HashEmbedder()
    text = "word " * CHUNKS
    passages = [Passage(n, 5 * n, 5 * n + 4, 1, "word") for n in range(CHUNKS)]
    async with database.session(rls.enter_tenant(member.tenant_id)) as connection:
        await totals.lock(connection, member.tenant_id)
        assert await run.store(connection, ReadText(text, "text/plain"), passages)
        await totals.add(connection, member.tenant_id, chunks=CHUNKS)
        waiting = await run.waiting(connection, embedder.model, CHUNKS if published else 32)
        vectors = (await embedder.embed([chunk.text for chunk in waiting], "passage")).vectors
        assert await run.embedded(connection, embedder.model, waiting, vectors)
        if published:
            assert await run.publish(connection, embedder.model)
    return run, claimed


async def nothing_is_left(database: Database, superuser: asyncpg.Connection, tenant: Tenant) -> None:
    await Remover(database).remove()
    assert set((await stored(superuser, tenant)).values()) == {0}
    await totals_are_right(superuser, tenant)


async def test_a_run_of_a_large_document_that_was_deleted_meanwhile_stores_nothing_more(
    client: httpx.AsyncClient, database: Database, superuser: asyncpg.Connection
) -> None:
    tenant = await make_tenant(client)
    run, claimed = await stored_large(client, database, tenant.user)
    answer = await client.delete(f"/documents/{claimed.id}", headers=tenant.user.headers)
    assert answer.status_code == 204
    assert (await stored(superuser, tenant))["document_chunks"] == CHUNKS - BATCH_CHUNKS
    embedder = HashEmbedder()

    await ingestion(database, embedder).work(claimed)
    async with database.session(rls.enter_tenant(tenant.id)) as connection:
        waiting = await run.waiting(connection, embedder.model, 1)
        assert waiting
        assert not await run.embedded(connection, embedder.model, waiting, [[1.0]])
        assert not await run.publish(connection, embedder.model)

    assert embedder.embedded == []
    assert (await client.get("/documents", headers=tenant.user.headers)).json() == []
    await nothing_is_left(database, superuser, tenant)


async def test_a_deleted_user_takes_a_large_document_along(
    client: httpx.AsyncClient, database: Database, superuser: asyncpg.Connection
) -> None:
    tenant = await make_tenant(client)
    leaving = await join(client, tenant.id)
    await stored_large(client, database, leaving, published=True)
    await totals_are_right(superuser, tenant)

    answer = await client.delete(f"/admin/users/{leaving.id}", headers=tenant.admin.headers)

    assert answer.status_code == 204, answer.text
    assert set((await stored(superuser, tenant)).values()) == {0}
    await totals_are_right(superuser, tenant)


async def test_the_lease_of_a_long_run_is_renewed_and_nobody_else_begins_it(
    client: httpx.AsyncClient, database: Database, superuser: asyncpg.Connection
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    class Slow(HashEmbedder):
        async def embed(self, texts: Sequence[str], kind: Kind) -> Embedded:
            begun.set()
            await go_on.wait()
            return await super().embed(texts, kind)

    tenant = await make_tenant(client)
    document = await upload(client, tenant.user)
    lease = timedelta(seconds=1)
    claimed = await claims.claim(database, lease)
    assert claimed is not None
    running = asyncio.create_task(ingestion(database, Slow(), lease=lease).work(claimed))
    await within_patience(begun.wait(), "the embedder to be asked")
    ends = await superuser.fetchval("SELECT lease_expires_at FROM documents WHERE id = $1", document["id"])

    past = "SELECT clock_timestamp() > $1"
    await until(lambda: superuser.fetchval(past, ends), "the first lease to be over")
    assert await claims.claim(database, lease) is None
    go_on.set()
    await within_patience(running, "the run to end")
    attempts = await superuser.fetchrow("SELECT status, attempts FROM documents WHERE id = $1", document["id"])
    assert tuple(attempts) == ("ready", 1)


async def test_the_later_upload_is_the_newer_one_also_where_the_clock_was_put_back(
    client: httpx.AsyncClient, database: Database, superuser: asyncpg.Connection
) -> None:
    tenant = await make_tenant(client)
    for status in ("ready", "queued"):
        document = await upload(client, tenant.user, f"Version {status}.", name="price.txt")
        if status == "ready":
            await ingestion(database).take_all()
        ahead = "UPDATE documents SET created_at = now() + interval '1 hour' WHERE id = $1"
        await superuser.execute(ahead, document["id"])
    newest = await upload(client, tenant.user, "The last version.", name="price.txt")

    await ingestion(database).take_all()
    await Remover(database).remove()

    (shown,) = (await client.get("/documents", headers=tenant.user.headers)).json()
    assert (shown["id"], shown["status"]) == (newest["id"], "ready")
    await totals_are_right(superuser, tenant)
