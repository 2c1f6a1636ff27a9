"""The words' half of a score is BM25, as a few lines of Python count it."""

import math
from collections import Counter

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from app.core.principal import Principal
from app.db import rls
from app.documents.found import Narrowed
from app.documents.search import MOST_WORD_WEIGHT, WORD_WEIGHT, passages_for, read_question
from tests.documents.library import HashEmbedder, publish
from tests.helpers import Tenant, make_tenant

# Words that are their own stems, and none that PostgreSQL takes for a stop word.
TEXTS = ["lamp lamp lamp tea", "tea dog", "dog dog lamp cat " + "bird " * 200, "cat", "fish"]


def bm25(question: str, content: str) -> float:
    """With the parameters of docs/adr/0039."""
    counts, length = Counter(content.split()), len(content.split())
    total = 0.0
    for word in set(question.split()):
        having = sum(word in other.split() for other in TEXTS)
        n = counts[word]
        total += idf(having) * n * 2.6 / (n + 1.6 * (0.25 + 0.75 * length / 120))
    return total


def idf(having: int) -> float:
    return math.log(1 + (len(TEXTS) - having + 0.5) / (having + 0.5)) if having else 0.0


async def by_words(app: FastAPI, tenant: Tenant, question: str) -> dict[str, float]:
    """The scores of the documents by words alone."""
    caller = Principal(tenant.admin.id, tenant.id, "admin", 0)
    async with app.state.container.database.session(rls.enter_tenant(tenant.id)) as connection:
        asked = await read_question(connection, tenant.id, question)
        rows = await passages_for(connection, caller, asked, None, Narrowed(), most=10, floor=0.0)
    return {row.document_id: row.score for row in rows}


@pytest.mark.parametrize("question", ["lamp", "tea dog", "lamp tea dog cat bird", "dog dog dog unheard", "unheard", ""])
async def test_words_score_as_bm25(app: FastAPI, client: httpx.AsyncClient, question: str) -> None:
    tenant = await make_tenant(client)
    database, embedder = app.state.container.database, HashEmbedder()
    ids = [await publish(database, tenant.user, content, embedder=embedder) for content in TEXTS]

    found = await by_words(app, tenant, question)

    known = {word for word in question.split() if any(word in each.split() for each in TEXTS)}
    most = 2.6 * sum(idf(sum(word in each.split() for each in TEXTS)) for word in known)
    weight = min(WORD_WEIGHT * len(known), MOST_WORD_WEIGHT) / most if known else 0
    expected = {each: weight * bm25(question, content) for each, content in zip(ids, TEXTS, strict=True)}
    assert found == {each: pytest.approx(score, rel=1e-4, abs=1e-6) for each, score in expected.items()}


async def test_frequencies_follow_what_readers_find(
    app: FastAPI, client: httpx.AsyncClient, superuser: asyncpg.Connection
) -> None:
    database, embedder = app.state.container.database, HashEmbedder()
    changed, fresh = await make_tenant(client), await make_tenant(client)
    for content in ("lamp tea", "lamp dog", "cat bird lamp"):
        await publish(database, changed.user, content, embedder=embedder, name="one")
    await publish(database, changed.user, "dog", embedder=embedder, until="embed")
    await publish(database, fresh.user, "cat bird lamp", embedder=embedder, name="one")

    counted = [
        await superuser.fetch(
            "SELECT term, chunks FROM term_frequencies WHERE tenant_id = $1 AND chunks <> 0 ORDER BY term", tenant.id
        )
        for tenant in (changed, fresh)
    ]
    assert counted[0] == counted[1]
    assert len(counted[0]) == 3
