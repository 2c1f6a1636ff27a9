"""What `POST /search` finds, for whom, and where."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.api.statuses import STATUSES
from app.core.errors import DocumentsOff
from app.documents import search
from app.documents.embedding.embedders import Embedders
from app.documents.shapes import Heading
from tests.api.problems import assert_problem
from tests.documents.library import HashEmbedder, publish
from tests.helpers import Member, Tenant, join

LEASE = "A machine goes back at the end of its lease."
TEA = "Tea is served in the garden at five."
EMBEDDER = HashEmbedder()


@contextmanager
def embedding(app: FastAPI, embedders: Embedders | None) -> Iterator[None]:
    """The service with these embedders."""
    usual = app.state.container
    app.state.container = replace(usual, shared=replace(usual.shared, embedders=embedders))
    yield
    app.state.container = usual


async def add(app: FastAPI, member: Member, content: str, **options: Any) -> str:
    return await publish(app.state.container.database, member, content, embedder=EMBEDDER, **options)


async def found(client: httpx.AsyncClient, member: Member, query: str, **narrowed: Any) -> list[dict[str, Any]]:
    answer = await client.post("/search", json={"query": query, **narrowed}, headers=member.headers)
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()
    return rows


async def documents(client: httpx.AsyncClient, member: Member, query: str, **narrowed: Any) -> list[str]:
    return [row["document_id"] for row in await found(client, member, query, **narrowed)]


async def test_a_passage_comes_with_its_place(app: FastAPI, client: httpx.AsyncClient, acme: Tenant) -> None:
    content = f"Intro\n\nMachines\n\n{LEASE}"
    start = content.index("Machines")
    headings = [Heading(0, 1, "Intro"), Heading(start, 1, "Machines")]
    document = await add(app, acme.user, content, name="handbook.md", headings=headings, pages=[0, start])
    await add(app, acme.user, TEA)

    best, *_ = await found(client, acme.user, "When does a machine go back?")

    assert (best["document_id"], best["name"], best["collection"]) == (document, "handbook.md", "default")
    assert (best["heading"], best["page"]) == ("Machines", 2)
    assert best["text"] == content[best["start"] : best["end"]]
    assert LEASE in best["text"]
    assert 0 < best["score"] <= 1.9


async def test_the_best_come_first_and_no_more_than_were_asked_for(
    app: FastAPI, client: httpx.AsyncClient, acme: Tenant
) -> None:
    about_tea, about_both = await add(app, acme.user, TEA), await add(app, acme.user, f"{TEA} {LEASE}")
    await add(app, acme.user, LEASE)

    rows = await found(client, acme.user, TEA)
    assert [row["document_id"] for row in rows[:2]] == [about_tea, about_both]
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    assert await documents(client, acme.user, TEA, top_k=1) == [about_tea]


async def test_a_tenant_finds_its_own_documents_alone(
    app: FastAPI, client: httpx.AsyncClient, acme: Tenant, rival: Tenant
) -> None:
    theirs = await add(app, rival.user, LEASE)
    assert await found(client, acme.admin, LEASE) == []
    own = await add(app, acme.user, LEASE)
    assert await documents(client, acme.admin, LEASE) == [own]
    assert await documents(client, acme.admin, LEASE, ids=[theirs]) == []


async def test_a_private_document_is_found_by_its_uploader_and_admins(
    app: FastAPI, client: httpx.AsyncClient, acme: Tenant
) -> None:
    private = await add(app, acme.user, LEASE, visibility="private")
    colleague = await join(client, acme.id)

    assert await documents(client, acme.user, LEASE) == [private]
    assert await documents(client, acme.admin, LEASE) == [private]
    assert await documents(client, colleague, LEASE) == []
    assert await documents(client, colleague, LEASE, ids=[private]) == []


async def test_an_admins_key_without_the_scope_finds_what_a_user_finds(
    app: FastAPI, client: httpx.AsyncClient, acme: Tenant
) -> None:
    await add(app, acme.user, LEASE, visibility="private")
    body = {"name": "reader", "scopes": ["messages:read"]}
    key = (await client.post("/api-keys", json=body, headers=acme.admin.headers)).json()["key"]

    answer = await client.post("/search", json={"query": LEASE}, headers={"Authorization": f"Bearer {key}"})

    assert (answer.status_code, answer.json()) == (200, [])


async def test_row_level_security_alone_hides_a_private_document(
    app: FastAPI, client: httpx.AsyncClient, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = await add(app, acme.user, LEASE, visibility="private")
    colleague = await join(client, acme.id)
    condition = "(documents.visibility = 'tenant' OR documents.user_id = :viewer_id OR :sees_private)"
    assert condition in search.SEARCH.text
    cut = text(search.SEARCH.text.replace(condition, "(:viewer_id <> '' OR :sees_private)"))
    monkeypatch.setattr(search, "SEARCH", cut.bindparams(*search.SEARCH._bindparams.values()))

    assert await documents(client, acme.user, LEASE) == [private]
    assert await documents(client, colleague, LEASE) == []


@pytest.mark.parametrize(
    ("narrowed", "finds"),
    [
        ({"collection": "manuals"}, {"manual"}),
        ({"collection": "nothing"}, set()),
        ({"filter": {"language": "en"}}, {"manual", "memo"}),
        ({"filter": {"language": "en", "year": 2026}}, {"memo"}),
        ({"filter": {"year": "2026"}}, set()),
        ({"filter": {}}, {"manual", "memo", "bare"}),
        ({"collection": "manuals", "filter": {"year": 2026}}, set()),
        ({"ids": []}, set()),
        ({"collection": None, "ids": None, "filter": None, "top_k": None}, {"manual", "memo", "bare"}),
    ],
)
async def test_a_search_is_narrowed(
    app: FastAPI, client: httpx.AsyncClient, acme: Tenant, narrowed: dict[str, Any], finds: set[str]
) -> None:
    manual = await add(app, acme.user, LEASE, collection="manuals", attributes={"language": "en", "year": 2020})
    memo = await add(app, acme.user, LEASE, attributes={"language": "en", "year": 2026})
    bare = await add(app, acme.user, LEASE)
    names = {manual: "manual", memo: "memo", bare: "bare"}

    assert {names[each] for each in await documents(client, acme.user, LEASE, **narrowed)} == finds
    assert await documents(client, acme.user, LEASE, ids=[memo]) == [memo]


@pytest.mark.parametrize("until", ["store", "embed"])
async def test_what_is_not_ready_is_not_found(
    app: FastAPI, client: httpx.AsyncClient, acme: Tenant, until: str
) -> None:
    ready = await add(app, acme.user, TEA)
    await add(app, acme.user, LEASE, until=until)
    assert await documents(client, acme.user, LEASE) == [ready]


async def test_a_new_version_takes_the_place_of_the_old(app: FastAPI, client: httpx.AsyncClient, acme: Tenant) -> None:
    await add(app, acme.user, LEASE, name="handbook")
    new = await add(app, acme.user, f"{LEASE} And not before.", name="handbook")
    assert await documents(client, acme.user, LEASE) == [new]


async def test_a_deleted_document_is_not_found(
    app: FastAPI, client: httpx.AsyncClient, acme: Tenant, superuser: asyncpg.Connection
) -> None:
    gone, stays = await add(app, acme.user, LEASE), await add(app, acme.user, TEA)
    await superuser.execute("DELETE FROM documents WHERE id = $1", gone)
    assert await documents(client, acme.user, LEASE) == [stays]


async def test_without_documents_nothing_is_found(client: httpx.AsyncClient, acme: Tenant) -> None:
    assert await found(client, acme.user, LEASE) == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"query": ""},
        {"query": "x" * 2001},
        {"query": "a\0b"},
        {"query": "x", "top_k": 0},
        {"query": "x", "top_k": 101},
        {"query": "x", "ids": ["x"] * 101},
        {"query": "x", "filter": {"a\0b": "c"}},
        {"query": "x", "filter": {"a": "b\0c"}},
        {"query": "x", "filter": {"a": 10**400}},
        {"query": "x", "filter": {"a": {"b": "c"}}},
        {"query": "x", "filter": {str(n): n for n in range(17)}},
        {"query": "x", "tenant_id": "y"},
    ],
)
async def test_what_is_no_search_is_refused(client: httpx.AsyncClient, acme: Tenant, body: dict[str, Any]) -> None:
    assert_problem(await client.post("/search", json=body, headers=acme.user.headers), 422)


@pytest.mark.parametrize("query", ["' OR 1=1 --", "(((", "%_\\", "🫖" * 100, " ", "the of and", "{1:1}/2"])
async def test_any_text_is_a_question(app: FastAPI, client: httpx.AsyncClient, acme: Tenant, query: str) -> None:
    await add(app, acme.user, TEA)
    assert len(await found(client, acme.user, query)) <= 1


async def test_a_service_without_an_embedder_says_so(app: FastAPI, client: httpx.AsyncClient, acme: Tenant) -> None:
    with embedding(app, None):
        answer = await client.post("/search", json={"query": LEASE}, headers=acme.user.headers)
    assert "keeps no documents" in str(assert_problem(answer, STATUSES[DocumentsOff])["detail"])


async def test_a_question_is_embedded_as_the_vectors_in_use_were(
    app: FastAPI, client: httpx.AsyncClient, acme: Tenant
) -> None:
    lease, _ = await add(app, acme.user, LEASE), await add(app, acme.user, TEA)
    older = HashEmbedder()
    with embedding(app, Embedders(HashEmbedder("newer", 32), [older])):
        assert (await documents(client, acme.user, LEASE))[0] == lease
    assert older.embedded == [("query", LEASE)]


async def test_where_the_vectors_model_is_gone_words_alone_decide(
    app: FastAPI, client: httpx.AsyncClient, acme: Tenant
) -> None:
    lease, tea = await add(app, acme.user, LEASE), await add(app, acme.user, TEA)
    with embedding(app, Embedders(HashEmbedder("newer", 32))):
        rows = await found(client, acme.user, LEASE)
    assert [(row["document_id"], row["score"] > 0.3) for row in rows] == [(lease, True), (tea, False)]
