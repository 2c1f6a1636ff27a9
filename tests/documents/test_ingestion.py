"""Documents are taken in, in steps, by whichever process; none is lost, doubled, or in another's way."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from app.core.errors import ProviderUnavailable
from app.core.ids import new_id
from app.core.provider_errors import ProviderRejected
from app.db import rls
from app.db.session import Database
from app.documents import claims
from app.documents.embedding.embedders import Embedders
from app.documents.ingestion import MOST_FAILURES, Ingestion
from app.documents.metering import Meter
from app.documents.removal import Remover
from app.documents.shapes import Embedded, Kind
from app.documents.totals import Quotas
from tests.conftest import own_database
from tests.documents.library import FREE, HashEmbedder
from tests.helpers import Member, Tenant, make_tenant
from tests.waiting import patience, until

database_url, settings, superuser = own_database()
LEASE = timedelta(minutes=10)
ROOT = Path(__file__).resolve().parents[2]
QUOTAS = Quotas(1000, 10**9, 10_000, 10_000)
TEXT = "\n\n".join(f"Paragraph {n} is about machine number {n}. " + "It runs and it rests. " * 40 for n in range(12))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def app(settings: Any) -> AsyncIterator[FastAPI]:
    from app.application import create_app, lifespan

    app = create_app(settings)
    async with lifespan(app):
        yield app


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    from tests.conftest import client_of

    async with client_of(app) as client:
        yield client


@pytest.fixture
def database(app: FastAPI) -> Database:
    found: Database = app.state.container.database
    return found


def ingestion(
    database: Database, embedder: Any = None, quotas: Quotas = QUOTAS, meter: Meter = FREE, **options: Any
) -> Ingestion:
    return Ingestion(database, Embedders(embedder or HashEmbedder()), quotas, meter, **{"lease": LEASE, **options})


async def upload(client: httpx.AsyncClient, member: Member, text: str = TEXT, **fields: Any) -> dict[str, Any]:
    body = {"name": new_id(), "text": text, **fields}
    answer = await client.post("/documents", json=body, headers=member.headers)
    assert answer.status_code == 202, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def shown(client: httpx.AsyncClient, member: Member, document: dict[str, Any]) -> dict[str, Any]:
    answer = await client.get(f"/documents/{document['id']}", headers=member.headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def stored(superuser: asyncpg.Connection, tenant: Tenant) -> dict[str, int]:
    tables = ("documents", "document_contents", "document_chunks", "chunk_vectors", "chunk_terms")
    return {
        table: await superuser.fetchval(f"SELECT count(*) FROM {table} WHERE tenant_id = $1", tenant.id)
        for table in tables
    }


async def totals_are_right(superuser: asyncpg.Connection, tenant: Tenant) -> None:
    """The totals, and the frequencies of words, are what counting all would give."""
    known = await superuser.fetchrow("SELECT * FROM document_totals WHERE tenant_id = $1", tenant.id)
    counted = await superuser.fetchrow(
        "SELECT count(*) AS documents, COALESCE(sum(bytes), 0) AS bytes,"
        " COALESCE(sum(chunks) FILTER (WHERE status <> 'failed'), 0) AS chunks,"
        " COALESCE(sum(chunks) FILTER (WHERE current), 0) AS current_chunks"
        " FROM documents WHERE tenant_id = $1 AND deleting_at IS NULL",
        tenant.id,
    )
    assert {name: known[name] for name in counted.keys()} == dict(counted)  # noqa: SIM118 - of a record
    wrong = await superuser.fetch(
        "SELECT term, f.chunks, t.chunks FROM (SELECT * FROM term_frequencies WHERE tenant_id = $1 AND chunks <> 0) f"
        " FULL JOIN (SELECT terms.place AS term, count(DISTINCT c.id) AS chunks FROM document_chunks c"
        "   JOIN documents d ON d.id = c.document_id AND d.current"
        "   CROSS JOIN LATERAL text_terms(c.heading || ' ' || c.text) AS terms"
        "   WHERE c.tenant_id = $1 GROUP BY 1) t USING (term) WHERE f.chunks IS DISTINCT FROM t.chunks",
        tenant.id,
    )
    assert wrong == []


async def test_a_document_becomes_ready_with_its_chunks(
    client: httpx.AsyncClient, database: Database, superuser: asyncpg.Connection
) -> None:
    tenant = await make_tenant(client)
    document = await upload(client, tenant.user)
    assert (document["status"], document["progress"]) == ("queued", 0)

    await ingestion(database).take_all()

    ready = await shown(client, tenant.user, document)
    assert (ready["status"], ready["progress"], ready["error_code"]) == ("ready", 100, None)
    assert ready["characters"] == len(TEXT)
    assert ready["chunks"] > 3
    assert ready["tokens"] > 1000
    found = await stored(superuser, tenant)
    assert found["chunk_vectors"] == found["chunk_terms"] == found["document_chunks"] == ready["chunks"]
    await totals_are_right(superuser, tenant)
    content = await client.get(f"/documents/{document['id']}/content", headers=tenant.user.headers)
    assert content.text == TEXT


async def test_tenants_take_turns_whatever_they_have_waiting(client: httpx.AsyncClient, database: Database) -> None:
    busy, small = await make_tenant(client), await make_tenant(client)
    for _ in range(5):
        await upload(client, busy.user, "Many of them.")
    await upload(client, small.user, "The only one.")

    turns = []
    while claimed := await claims.claim(database, LEASE):
        turns.append(claimed.tenant_id)

    assert small.id in turns[:2]
    assert Counter(turns) == {busy.id: 5, small.id: 1}


async def test_two_processes_never_hold_the_same_document(client: httpx.AsyncClient, database: Database) -> None:
    tenants = [await make_tenant(client) for _ in range(3)]
    for tenant in tenants:
        for _ in range(4):
            await upload(client, tenant.user, "Claimed once.")

    async def claim_all() -> list[str]:
        tries = [await claims.claim(database, LEASE) for _ in range(40)]
        return [claimed.id for claimed in tries if claimed]

    claimed = [document for found in await asyncio.gather(*(claim_all() for _ in range(4))) for document in found]
    assert len(claimed) == len(set(claimed)) == 12


async def test_a_long_document_goes_back_into_its_line_and_embeds_no_chunk_twice(
    client: httpx.AsyncClient, database: Database, superuser: asyncpg.Connection
) -> None:
    tenant = await make_tenant(client)
    document = await upload(client, tenant.user, TEXT * 12)
    embedder = HashEmbedder()
    progress = []

    async def note() -> None:
        progress.append((await shown(client, tenant.user, document))["progress"])

    sliced = ingestion(database, embedder, slice_seconds=0)
    while claimed := await claims.claim(database, LEASE):
        await sliced.work(claimed)
        await note()

    ready = await shown(client, tenant.user, document)
    assert ready["status"] == "ready"
    assert len(progress) > 2
    assert progress == sorted(progress)
    assert len(embedder.embedded) == ready["chunks"] == (await stored(superuser, tenant))["chunk_vectors"]
    await totals_are_right(superuser, tenant)


async def test_what_a_killed_process_left_another_goes_on_with(
    client: httpx.AsyncClient, app: FastAPI, database: Database, superuser: asyncpg.Connection
) -> None:
    tenant = await make_tenant(client)
    document = await upload(client, tenant.user, TEXT * 12)
    url = app.state.settings.database_url
    dying = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.documents.dying", str(url), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert dying.stdout is not None
    async with patience("the process to embed"):
        while line := await dying.stdout.readline():
            if line == b"hangs\n":
                break
        assert line
    dying.kill()
    await dying.wait()
    half = await shown(client, tenant.user, document)
    assert half["status"] == "processing"
    assert 0 < half["progress"] < 100

    embedder = HashEmbedder()
    claimed = await until(lambda: claims.claim(database, LEASE), "its lease to be over")
    assert (claimed.id, claimed.attempts, claimed.failures) == (document["id"], 2, 1)
    await ingestion(database, embedder).work(claimed)

    ready = await shown(client, tenant.user, document)
    assert ready["status"] == "ready"
    assert 0 < len(embedder.embedded) < ready["chunks"] == (await stored(superuser, tenant))["chunk_vectors"]
    await totals_are_right(superuser, tenant)


async def test_the_next_version_takes_the_place_of_the_one_before_and_its_rows_go(
    client: httpx.AsyncClient, database: Database, superuser: asyncpg.Connection
) -> None:
    tenant = await make_tenant(client)
    for version in range(3):
        await upload(client, tenant.user, f"{TEXT} Version {version}.", name="handbook.txt")
        await ingestion(database).take_all()
        await totals_are_right(superuser, tenant)
        listed = (await client.get("/documents", headers=tenant.user.headers)).json()
        assert len(listed) == 1

    await Remover(database).remove()
    found = await stored(superuser, tenant)
    assert found["documents"] == found["document_contents"] == 1
    assert found["chunk_vectors"] == found["document_chunks"] == listed[0]["chunks"]
    await totals_are_right(superuser, tenant)


async def test_readers_find_one_version_at_every_moment(
    client: httpx.AsyncClient, database: Database, superuser: asyncpg.Connection
) -> None:
    tenant = await make_tenant(client)
    await upload(client, tenant.user, "Version 0.", name="prices.txt")
    await ingestion(database).take_all()
    seen: Counter[int] = Counter()
    done = asyncio.Event()

    async def read() -> None:
        while not done.is_set():
            async with database.session(rls.enter_tenant(tenant.id)) as connection:
                from sqlalchemy import text

                counted = text("SELECT count(*) FROM documents WHERE documents.tenant_id = :t AND documents.current")
                seen[(await connection.execute(counted, {"t": tenant.id})).scalar_one()] += 1

    readers = [asyncio.create_task(read()) for _ in range(2)]
    for version in range(1, 6):
        await upload(client, tenant.user, f"Version {version}.", name="prices.txt")
        await ingestion(database).take_all()
    done.set()
    await asyncio.gather(*readers)
    assert set(seen) == {1}


async def test_an_older_version_that_ends_later_does_not_come_back(
    client: httpx.AsyncClient, database: Database, superuser: asyncpg.Connection
) -> None:
    tenant = await make_tenant(client)
    older = await upload(client, tenant.user, "The old price.", name="price.txt")
    slow = await claims.claim(database, LEASE)
    assert slow is not None
    newer = await upload(client, tenant.user, "The new price.", name="price.txt")
    working = ingestion(database)
    await working.take_all()
    await working.work(slow)

    assert (await shown(client, tenant.user, newer))["status"] == "ready"
    assert (await client.get(f"/documents/{older['id']}", headers=tenant.user.headers)).status_code == 404
    await totals_are_right(superuser, tenant)


class Failing(HashEmbedder):
    """Fails so many times, and then embeds."""

    def __init__(self, error: Exception, times: int) -> None:
        super().__init__()
        self.error, self.times = error, times

    async def embed(self, texts: Sequence[str], kind: Kind) -> Embedded:
        if self.times:
            self.times -= 1
            raise self.error
        return await super().embed(texts, kind)


async def test_an_embedder_that_is_away_for_a_while_is_asked_again(
    client: httpx.AsyncClient, database: Database
) -> None:
    tenant = await make_tenant(client)
    document = await upload(client, tenant.user)
    retried = ingestion(database, Failing(ProviderUnavailable(), MOST_FAILURES), first_pause=0)

    assert await retried.take_all() == MOST_FAILURES + 1
    assert (await shown(client, tenant.user, document))["status"] == "ready"


@pytest.mark.parametrize(
    ("error", "runs"), [(ProviderUnavailable(), MOST_FAILURES + 1), (ProviderRejected(), 1)], ids=["away", "refusing"]
)
async def test_a_document_that_cannot_be_embedded_fails_and_leaves_nothing(
    client: httpx.AsyncClient, database: Database, superuser: asyncpg.Connection, error: Exception, runs: int
) -> None:
    tenant = await make_tenant(client)
    document = await upload(client, tenant.user)

    assert await ingestion(database, Failing(error, 100), first_pause=0).take_all() == runs

    failed = await shown(client, tenant.user, document)
    assert (failed["status"], failed["error_code"]) == ("failed", "embedder_unavailable")
    assert "embedding model" in failed["error"]
    found = await stored(superuser, tenant)
    assert found["document_chunks"] == found["chunk_vectors"] == found["chunk_terms"] == 0
    await totals_are_right(superuser, tenant)


async def test_a_pause_is_kept(client: httpx.AsyncClient, database: Database) -> None:
    tenant = await make_tenant(client)
    await upload(client, tenant.user)
    assert await ingestion(database, Failing(ProviderUnavailable(), 1)).take_all() == 1
    assert await claims.claim(database, LEASE) is None


async def test_who_was_deleted_meanwhile_is_not_published(
    client: httpx.AsyncClient, database: Database, superuser: asyncpg.Connection
) -> None:
    tenant = await make_tenant(client)
    document = await upload(client, tenant.user)

    class Deleting(HashEmbedder):
        async def embed(self, texts: Sequence[str], kind: Kind) -> Embedded:
            answer = await client.delete(f"/documents/{document['id']}", headers=tenant.user.headers)
            assert answer.status_code == 204
            return await super().embed(texts, kind)

    assert await ingestion(database, Deleting()).take_all() == 1
    assert set((await stored(superuser, tenant)).values()) == {0}
    await totals_are_right(superuser, tenant)


async def test_more_chunks_than_the_quota_fail_before_they_are_stored(
    client: httpx.AsyncClient, database: Database, superuser: asyncpg.Connection
) -> None:
    tenant = await make_tenant(client)
    document = await upload(client, tenant.user)
    await ingestion(database, quotas=Quotas(10, 10**9, 2, 1000)).take_all()

    failed = await shown(client, tenant.user, document)
    assert (failed["status"], failed["error_code"]) == ("failed", "quota")
    assert (await stored(superuser, tenant))["document_chunks"] == 0
    await totals_are_right(superuser, tenant)


async def test_the_seconds_of_a_month_are_counted_and_bound(
    client: httpx.AsyncClient, database: Database, superuser: asyncpg.Connection
) -> None:
    tenant = await make_tenant(client)
    await upload(client, tenant.user)
    await ingestion(database).take_all()
    used = "SELECT ingestion_seconds FROM document_totals WHERE tenant_id = $1"
    assert await superuser.fetchval(used, tenant.id) > 0

    document = await upload(client, tenant.user, "Too late.")
    await ingestion(database, quotas=Quotas(10, 10**9, 1000, 0.0)).take_all()
    assert (await shown(client, tenant.user, document))["error_code"] == "quota"

    month_before = "UPDATE document_totals SET ingestion_month = '2020-01-01' WHERE tenant_id = $1"
    await superuser.execute(month_before, tenant.id)
    await upload(client, tenant.user, "Another month.")
    await ingestion(database).take_all()
    assert await superuser.fetchval(used, tenant.id) < 60
