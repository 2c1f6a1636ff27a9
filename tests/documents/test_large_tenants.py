"""A tenant with indexes of its own finds what an exact search finds, and so does everybody else."""

import random
import re
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from sqlalchemy import URL, text
from structlog.testing import capture_logs

from app.core.principal import Principal
from app.db import rls
from app.documents import large
from app.documents import search as by_both
from app.documents.found import Narrowed, PassageRow, QuestionRow
from app.documents.indexes import DocumentIndexes
from app.documents.search import passages_for, read_question
from tests.documents.library import HashEmbedder, publish
from tests.helpers import Member, Tenant, join, make_tenant

EMBEDDER = HashEmbedder()
MODEL = EMBEDDER.model
WORDS = [f"word{n}" for n in range(400)]
DOCUMENTS, PASSAGES, CANDIDATES = 20, 8, 50
NOWHERE_ELSE = Narrowed()
# Rows of chunks that the connection has read, by any index of theirs.
FETCHED = text(r"""
SELECT sum(pg_stat_get_xact_tuples_fetched(relation.oid)) FROM pg_class AS relation
  LEFT JOIN pg_index ON pg_index.indexrelid = relation.oid
WHERE COALESCE(pg_index.indrelid, relation.oid) IN ('chunk_vectors'\:\:regclass, 'chunk_terms'\:\:regclass)
""")
# How often the connection has scanned each of a tenant's two indexes.
SCANNED = text("""
SELECT pg_stat_get_xact_numscans(oid) FROM pg_class WHERE relname ~ ('^(near|words)_' || :tenant_id) ORDER BY relname
""")
QUESTIONS = ["word7 word30 word200", "word399", "word1 word2", "word150 word151 word152 word153 word154", "unheard"]


def a_text(rng: random.Random) -> str:
    """Some words are frequent, as in any language."""
    weights = [1 / (n + 1) for n in range(len(WORDS))]
    return "\n\n".join(" ".join(rng.choices(WORDS, weights, k=150)) for _ in range(PASSAGES))


async def add(app: FastAPI, member: Member, content: str, **options: Any) -> str:
    return await publish(app.state.container.database, member, content, embedder=EMBEDDER, **options)


async def index(url: URL, least: int = 100, most: int = 100) -> list[str]:
    """What the command says."""
    said: list[str] = []
    await DocumentIndexes(url.render_as_string(hide_password=False), said.append).bring_up_to_date(least, most)
    return said


async def search(
    app: FastAPI,
    caller: Principal,
    query: str,
    narrowed: Narrowed = NOWHERE_ELSE,
    *,
    exact: bool = False,
    most: int = 10,
) -> list[PassageRow]:
    """As the service searches; `exact`: as if the tenant had no indexes."""
    (vector,) = (await EMBEDDER.embed([query], "query")).vectors
    async with app.state.container.database.session(rls.enter_tenant(caller.tenant_id)) as connection:
        asked: Any = await read_question(connection, caller.tenant_id, query)
        assert asked.indexed
        if exact:
            asked = SimpleNamespace(
                **{name: getattr(asked, name) for name in QuestionRow.columns()} | {"indexed": False}
            )
        before = (await connection.execute(SCANNED, {"tenant_id": caller.tenant_id})).scalars()
        rows = await passages_for(connection, caller, asked, vector, narrowed, most=most, floor=0.0)
        after = (await connection.execute(SCANNED, {"tenant_id": caller.tenant_id})).scalars()
    scans = [now - then for now, then in zip(after, before, strict=True)]
    assert (exact and scans == [0, 0]) or (not exact and (narrowed or scans == [1, 1]))
    return rows


def scores(rows: Sequence[PassageRow]) -> list[float]:
    return [round(row.score, 4) for row in rows]


def admin_of(tenant: Tenant) -> Principal:
    return Principal(tenant.admin.id, tenant.id, "admin", 0)


@pytest.fixture(autouse=True)
def _few_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the tenants here are large."""
    monkeypatch.setattr(large, "CANDIDATES", CANDIDATES)


def short_sighted(monkeypatch: pytest.MonkeyPatch, *, ef: int, tuples: int) -> None:
    """Let an index of neighbours look at so many entries at a time, and end after so many."""
    asked = by_both.QUESTION.text
    for name, value in (("hnsw.ef_search", ef), ("hnsw.max_scan_tuples", tuples)):
        asked, found = re.subn(rf"'{name}', '\d+'", f"'{name}', '{value}'", asked)
        assert found == 1
    monkeypatch.setattr(by_both, "QUESTION", text(asked).bindparams(*by_both.QUESTION._bindparams.values()))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def crowd(app: FastAPI, client: httpx.AsyncClient, database_url: URL) -> AsyncIterator[Tenant]:
    """A tenant with indexes of its own."""
    tenant, rng = await make_tenant(client), random.Random(1)
    for n in range(DOCUMENTS):
        await add(app, tenant.user, a_text(rng), collection=f"c{n % 8}", attributes={"n": n})
    assert await index(database_url)
    yield tenant
    await DocumentIndexes(database_url.render_as_string(hide_password=False), [].append).forget(tenant.id)


async def names(superuser: asyncpg.Connection, tenant_id: str) -> list[str]:
    """The indexes that a tenant has."""
    rows = await superuser.fetch(
        "SELECT relname FROM pg_class WHERE relname ~ ('^(near|words)_' || $1::text) ORDER BY relname", tenant_id
    )
    return [row["relname"] for row in rows]


async def of_model(superuser: asyncpg.Connection) -> str:
    return str(await superuser.fetchval("SELECT left(md5($1), 8)", MODEL))


@pytest.mark.parametrize("query", QUESTIONS)
async def test_it_finds_what_an_exact_search_finds(app: FastAPI, crowd: Tenant, query: str) -> None:
    found = await search(app, admin_of(crowd), query)
    exact = await search(app, admin_of(crowd), query, exact=True)
    assert len(found) == 10
    assert scores(found) == scores(exact)


@pytest.mark.parametrize(
    "narrowed",
    [Narrowed(collection="c3"), Narrowed(attributes={"n": 5}), Narrowed(ids=[]), Narrowed(collection="nothing")],
    ids=str,
)
@pytest.mark.parametrize("few", [0, 5000])
async def test_a_narrowed_search_lacks_nothing(
    app: FastAPI, crowd: Tenant, monkeypatch: pytest.MonkeyPatch, narrowed: Narrowed, few: int
) -> None:
    """Whether what it is narrowed to is looked at first, or turns out to be too few of what is near."""
    monkeypatch.setattr(large, "FEW_CHUNKS", few)
    short_sighted(monkeypatch, ef=20, tuples=1)
    for query in QUESTIONS:
        found = await search(app, admin_of(crowd), query, narrowed)
        assert scores(found) == scores(await search(app, admin_of(crowd), query, narrowed, exact=True))


async def test_who_may_not_see_most_of_it_lacks_nothing(
    app: FastAPI,
    client: httpx.AsyncClient,
    crowd: Tenant,
    superuser: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Few of what is near may be seen: it is not what an index of neighbours ends with."""
    short_sighted(monkeypatch, ef=20, tuples=1)
    colleague = await join(client, crowd.id)
    caller = Principal(colleague.id, crowd.id, "user", 0)
    hidden = await superuser.fetch(
        "UPDATE documents SET visibility = 'private' WHERE id IN (SELECT id FROM documents WHERE tenant_id = $1"
        " ORDER BY id OFFSET 2) RETURNING id", crowd.id
    )  # fmt: skip
    for query in QUESTIONS:
        found = await search(app, caller, query)
        assert {row.document_id for row in found}.isdisjoint(row["id"] for row in hidden)
        assert scores(found) == scores(await search(app, caller, query, exact=True))
        everything = await search(app, admin_of(crowd), query)
        assert scores(everything) == scores(await search(app, admin_of(crowd), query, exact=True))
    await superuser.execute("UPDATE documents SET visibility = 'tenant' WHERE tenant_id = $1", crowd.id)


async def test_what_was_replaced_or_deleted_takes_nobodys_place(
    app: FastAPI,
    client: httpx.AsyncClient,
    database_url: URL,
    superuser: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its entries stay in the indexes until a vacuum, more than an index looks at unless it goes on."""

    async def fallen_back(_: large.Large) -> list[PassageRow]:
        pytest.fail("the index of neighbours ended before it had found enough")

    monkeypatch.setattr(large, "CANDIDATES", 100)
    monkeypatch.setattr(large.Large, "_of_each", fallen_back)
    short_sighted(monkeypatch, ef=20, tuples=4000)
    tenant, rng = await make_tenant(client), random.Random(2)
    texts = [a_text(rng) for _ in range(13)]
    for n, content in enumerate(texts):
        await add(app, tenant.user, content, name=f"{n}")
    await index(database_url)
    for n, content in enumerate(texts):
        await add(app, tenant.user, f"{content} renewed", name=f"{n}")
    await superuser.execute("DELETE FROM documents WHERE tenant_id = $1 AND name > '5'", tenant.id)
    for n in range(5):
        await add(app, tenant.user, a_text(rng), name=f"more {n}")

    for query in [*QUESTIONS, "renewed"]:
        found = await search(app, admin_of(tenant), query)
        assert scores(found) == scores(await search(app, admin_of(tenant), query, exact=True))
    await superuser.execute("DELETE FROM tenants WHERE id = $1", tenant.id)
    await index(database_url)


async def test_the_command_says_what_it_does_and_does_it_once(
    app: FastAPI, client: httpx.AsyncClient, crowd: Tenant, database_url: URL, superuser: asyncpg.Connection
) -> None:
    small = await make_tenant(client)
    for _ in range(3):
        await add(app, small.user, a_text(random.Random(3)))
    assert await index(database_url) == []
    assert await names(superuser, small.id) == []

    said = await index(database_url, least=20)
    assert [line.partition(" of ")[0].rstrip(",") for line in said] == [
        f"making words_{small.id}", f"making near_{small.id}_{await of_model(superuser)}"
    ]  # fmt: skip
    assert await index(database_url, least=20) == []
    # It has become smaller, and keeps them; then it is too small.
    assert await index(database_url, least=40) == []
    said = await index(database_url)
    assert len(said) == 2
    assert all(line.startswith("dropping ") and small.id in line for line in said)
    assert await names(superuser, small.id) == []
    assert len(await names(superuser, crowd.id)) == 2


async def test_where_too_many_would_have_indexes_the_largest_have(
    app: FastAPI, client: httpx.AsyncClient, crowd: Tenant, database_url: URL, superuser: asyncpg.Connection
) -> None:
    second = await make_tenant(client)
    await add(app, second.user, a_text(random.Random(4)))
    has = "UPDATE document_totals SET current_chunks = $2 WHERE tenant_id = $1"
    await superuser.execute(has, second.id, DOCUMENTS * PASSAGES + 100)

    said = await index(database_url, most=1)

    assert said == ["1 more tenants have 100 chunks: --most 2"]  # a little larger is not twice as large
    assert await names(superuser, second.id) == []
    await superuser.execute(
        "UPDATE document_totals SET current_chunks = 10 * current_chunks WHERE tenant_id = $1", second.id
    )
    await index(database_url, most=1)
    assert (await names(superuser, crowd.id), len(await names(superuser, second.id))) == ([], 2)
    await superuser.execute("DELETE FROM tenants WHERE id = $1", second.id)
    said = await index(database_url)
    assert sum(line.startswith("dropping ") and second.id in line for line in said) == 2
    assert (len(await names(superuser, crowd.id)), await names(superuser, second.id)) == (2, [])


async def test_an_index_that_was_not_finished_is_not_used_and_is_made_again(
    app: FastAPI, crowd: Tenant, database_url: URL, superuser: asyncpg.Connection
) -> None:
    *_, name = await names(superuser, crowd.id)
    await superuser.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = $1::text::regclass", f'"{name}"')
    async with app.state.container.database.session(rls.enter_tenant(crowd.id)) as connection:
        assert not (await read_question(connection, crowd.id, "word1")).indexed

    assert [line.partition(" ")[0] for line in await index(database_url)] == ["dropping", "making"]
    await search(app, admin_of(crowd), "word1")


async def test_the_command_gives_way_to_one_that_runs(database_url: URL, superuser: asyncpg.Connection) -> None:
    await superuser.execute("SELECT pg_advisory_lock(hashtextextended('index-documents', 0))")
    try:
        assert await index(database_url) == ["another one is at it"]
    finally:
        await superuser.execute("SELECT pg_advisory_unlock_all()")


async def test_the_model_in_use_has_the_index(
    app: FastAPI, crowd: Tenant, database_url: URL, superuser: asyncpg.Connection
) -> None:
    """After a change of the model searches are exact until the command has run."""
    await superuser.execute(
        "INSERT INTO chunk_vectors SELECT tenant_id, chunk_id, $2, document_id, embedding FROM chunk_vectors"
        " WHERE tenant_id = $1", crowd.id, "it's :new"
    )  # fmt: skip
    set_model = "UPDATE document_totals SET embedding_model = $2 WHERE tenant_id = $1"
    await superuser.execute(set_model, crowd.id, "it's :new")
    async with app.state.container.database.session(rls.enter_tenant(crowd.id)) as connection:
        assert not (await read_question(connection, crowd.id, "word1")).indexed

    assert [line.partition("_")[0] for line in await index(database_url)] == ["dropping near", "making near"]
    await search(app, admin_of(crowd), "word1")
    await superuser.execute(set_model, crowd.id, MODEL)
    await superuser.execute("DELETE FROM chunk_vectors WHERE tenant_id = $1 AND model <> $2", crowd.id, MODEL)
    await index(database_url)


async def test_who_is_gone_leaves_no_index(
    app: FastAPI, client: httpx.AsyncClient, crowd: Tenant, database_url: URL, superuser: asyncpg.Connection
) -> None:
    gone = await make_tenant(client)
    await add(app, gone.user, a_text(random.Random(5)))
    await index(database_url, least=5)
    assert len(await names(superuser, gone.id)) == 2
    erased = await client.delete(f"/tenants/{gone.id}", params={"name": gone.name}, headers=gone.admin.headers)
    assert erased.status_code == 204, erased.text

    said: list[str] = []
    await DocumentIndexes(database_url.render_as_string(hide_password=False), said.append).forget(gone.id)

    assert len(said) == 2
    assert (await names(superuser, gone.id), len(await names(superuser, crowd.id))) == ([], 2)


async def test_the_operator_hears_once_of_a_large_tenant_without_indexes(
    app: FastAPI, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = await make_tenant(client)
    await add(app, tenant.user, a_text(random.Random(6)))
    with capture_logs() as logs:
        for chunks in (PASSAGES + 1, PASSAGES, PASSAGES):
            monkeypatch.setattr(large, "FEW_CHUNKS", chunks)
            answer = await client.post("/search", json={"query": "word1"}, headers=tenant.user.headers)
            assert answer.status_code == 200
    said = [line for line in logs if line["event"] == "large_tenant_unindexed"]
    assert [(line["tenant_id"], line["chunks"], line["remedy"]) for line in said] == [
        (tenant.id, PASSAGES, "index-documents")
    ]


async def test_it_reads_few_of_its_chunks(app: FastAPI, crowd: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the planner believes: these tables were never analysed."""
    monkeypatch.setattr(large, "CANDIDATES", 10)
    (vector,) = (await EMBEDDER.embed(["word399"], "query")).vectors
    async with app.state.container.database.session(rls.enter_tenant(crowd.id)) as connection:
        asked = await read_question(connection, crowd.id, "word399")
        before = (await connection.execute(FETCHED)).scalar_one()
        rows = await passages_for(connection, admin_of(crowd), asked, vector, NOWHERE_ELSE, most=2, floor=0.0)
        read = (await connection.execute(FETCHED)).scalar_one() - before
    assert len(rows) == 2
    # Ten by each half, the other half of each, and what has the word.
    assert 20 <= read <= 60 < 2 * DOCUMENTS * PASSAGES
