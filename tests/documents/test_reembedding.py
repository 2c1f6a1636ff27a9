"""The model changes: the old vectors serve until all are there of the new one, and then they go."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from app.core.provider_errors import ProviderUnavailable
from app.documents import claims
from app.documents.embedding.embedders import Embedders
from app.documents.ingestion import MOST_FAILURES, Ingestion
from app.documents.reembedding import Reembedding
from app.documents.shapes import Embedded, Kind
from app.documents.totals import Quotas
from tests.documents.library import FREE, HashEmbedder, publish
from tests.helpers import Tenant
from tests.waiting import until

QUOTAS = Quotas(1000, 10**9, 10_000, 10_000)
CONTENTS = ["Tea is served in the garden.", "A machine goes back.", "lease " * 600]


class Change:
    """A tenant's documents, whose model changes. No other test has models of these names."""

    def __init__(self, app: FastAPI, client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant) -> None:
        self.app, self.client, self.superuser, self.acme = app, client, superuser, acme
        self.old, self.new = HashEmbedder(f"old {acme.id}", 32), HashEmbedder(f"new {acme.id}", 48)

    def to(self, new: HashEmbedder, *, grace: timedelta = timedelta(0)) -> Reembedding:
        return Reembedding(self.app.state.container.database, Embedders(new, [self.old]), FREE, grace=grace)

    async def add(self, content: str) -> str:
        return await publish(self.app.state.container.database, self.acme.user, content, embedder=self.old)

    async def counts(self) -> dict[str, int]:
        """How many vectors the tenant has of each model."""
        query = "SELECT model, count(*) FROM chunk_vectors WHERE tenant_id = $1 GROUP BY 1"
        rows = await self.superuser.fetch(query, self.acme.id)
        return {str(row[0]).split()[0]: int(row[1]) for row in rows}

    async def in_use(self) -> str:
        query = "SELECT embedding_model FROM document_totals WHERE tenant_id = $1"
        return str(await self.superuser.fetchval(query, self.acme.id)).split()[0]

    async def best(self, query: str, known: Embedders | None = None) -> str:
        """The best document, for a process that knows both models, or these."""
        usual = self.app.state.container
        self.app.state.container = replace(
            usual, shared=replace(usual.shared, embedders=known or Embedders(self.new, [self.old]))
        )
        answer = await self.client.post("/search", json={"query": query[:100]}, headers=self.acme.user.headers)
        self.app.state.container = usual
        assert answer.status_code == 200, answer.text
        return str(answer.json()[0]["document_id"])


@pytest.fixture
def change(app: FastAPI, client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant) -> Change:
    return Change(app, client, superuser, acme)


class Interrupted(HashEmbedder):
    """Something happens while it embeds."""

    def __init__(self, model: str, event: Callable[[], Awaitable[None]]) -> None:
        super().__init__(model, 48)
        self.event = event

    async def embed(self, texts: Sequence[str], kind: Kind) -> Embedded:
        await self.event()
        return await super().embed(texts, kind)


async def test_all_is_found_before_and_after(change: Change) -> None:
    ids = [await change.add(content) for content in CONTENTS]
    before = await change.counts()
    assert before.keys() == {"old"}
    assert before["old"] > 3
    assert [await change.best(content) for content in CONTENTS] == ids

    await change.to(change.new).take_all()

    assert await change.in_use() == "new"
    assert await change.counts() == {"new": before["old"]}
    assert [await change.best(content) for content in CONTENTS] == ids
    assert change.new.embedded[-1][0] == "query"


async def test_until_all_are_there_the_old_ones_serve(change: Change) -> None:
    ids = [await change.add(content) for content in [*CONTENTS, "word " * 9000]]
    tries = 0

    async def fail_at_the_second() -> None:
        nonlocal tries
        tries += 1
        if tries == 2:
            raise ProviderUnavailable

    breaks = Interrupted(change.new.model, fail_at_the_second)
    with pytest.raises(ProviderUnavailable):
        await change.to(breaks).take_all()

    begun = await change.counts()
    assert 0 < begun["new"] < begun["old"]
    assert await change.in_use() == "old"
    assert [await change.best(content) for content in CONTENTS] == ids[:-1]

    breaks.embedded.clear()
    await change.to(breaks).take_all()
    assert await change.in_use() == "new"
    assert len(breaks.embedded) == begun["old"] - begun["new"]


async def test_the_old_ones_stay_for_a_while_after_the_move(change: Change) -> None:
    await change.add(CONTENTS[0])
    patient = change.to(change.new, grace=timedelta(minutes=1))
    await patient.take_all()
    await patient.take_all()
    assert await change.counts() == {"old": 1, "new": 1}
    query = "UPDATE document_totals SET moved_at = moved_at - interval '61 seconds' WHERE tenant_id = $1"
    await change.superuser.execute(query, change.acme.id)
    await patient.take_all()
    assert await change.counts() == {"new": 1}


async def test_a_document_that_comes_meanwhile_is_found_before_and_after(change: Change) -> None:
    await change.add(CONTENTS[0])
    arrived: list[str] = []

    async def another_is_published_by_the_old_model() -> None:
        if not arrived:
            arrived.append(await change.add(CONTENTS[1]))
            assert await change.best(CONTENTS[1]) == arrived[0]

    await change.to(Interrupted(change.new.model, another_is_published_by_the_old_model)).take_all()

    assert await change.in_use() == "new"
    assert await change.best(CONTENTS[1]) == arrived[0]


async def test_a_document_that_goes_meanwhile_stops_nothing(change: Change) -> None:
    stays, goes = await change.add(CONTENTS[0]), await change.add(CONTENTS[1])

    async def one_is_deleted() -> None:
        await change.superuser.execute("DELETE FROM documents WHERE id = $1", goes)

    await change.to(Interrupted(change.new.model, one_is_deleted)).take_all()

    assert await change.in_use() == "new"
    query = "SELECT DISTINCT document_id FROM chunk_vectors WHERE tenant_id = $1"
    assert [row[0] for row in await change.superuser.fetch(query, change.acme.id)] == [stays]


async def test_what_another_process_is_at_is_left_to_it(change: Change) -> None:
    await change.add(CONTENTS[0])
    held = "UPDATE document_totals SET reembedding_until = now() + $2 * interval '1 minute' WHERE tenant_id = $1"
    await change.superuser.execute(held, change.acme.id, 1)
    await change.to(change.new).take_all()
    assert await change.in_use() == "old"
    await change.superuser.execute(held, change.acme.id, -1)
    await change.to(change.new).take_all()
    assert await change.in_use() == "new"


async def test_no_tenant_is_moved_from_a_model_that_the_settings_do_not_name(change: Change) -> None:
    await change.add(CONTENTS[0])
    await Reembedding(change.app.state.container.database, Embedders(change.new), FREE).take_all()
    assert await change.in_use() == "old"
    assert await change.counts() == {"old": 1}


def taking_in(change: Change, *embedders: HashEmbedder) -> Ingestion:
    """Of a process whose settings name these models, its own first."""
    known = Embedders(embedders[0], embedders[1:])
    return Ingestion(change.app.state.container.database, known, QUOTAS, FREE, first_pause=0)


async def upload(change: Change, content: str) -> Any:
    """A document that waits, claimed."""
    return await turn_of(change, await post(change, change.acme, content))


async def post(change: Change, tenant: Tenant, content: str) -> str:
    answer = await change.client.post(
        "/documents", json={"name": f"{content}.txt", "text": content}, headers=tenant.user.headers
    )
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


async def turn_of(change: Change, document_id: str) -> Any:
    return await until(lambda: of(change, document_id), "its turn")


async def of(change: Change, document_id: str) -> Any:
    database = change.app.state.container.database
    claimed = await claims.claim(database, timedelta(minutes=10))
    if claimed is not None and claimed.id != document_id:
        await claims.give_back(database, claimed, 0, pause=3600)
        return None
    return claimed


async def state(change: Change, claimed: Any) -> tuple[str, int, int]:
    query = "SELECT status, failures, attempts FROM documents WHERE id = $1"
    row = await change.superuser.fetchrow(query, claimed.id)
    return row["status"], row["failures"], row["attempts"]


async def test_a_process_of_the_settings_before_publishes_nothing_for_a_tenant_that_has_moved(change: Change) -> None:
    await change.add(CONTENTS[0])
    await change.to(change.new).take_all()
    claimed = await upload(change, "Coffee is sold in the hall.")

    await taking_in(change, change.old).work(claimed)
    assert (await state(change, claimed))[:2] == ("processing", 1)
    claimed = await turn_of(change, claimed.id)
    await taking_in(change, change.new, change.old).work(claimed)

    assert (await state(change, claimed))[0] == "ready"
    assert await change.best("Coffee is sold in the hall.") == claimed.id


async def test_a_tenant_that_moves_while_a_document_is_embedded_has_it_embedded_for_the_new_model(
    change: Change,
) -> None:
    await change.add(CONTENTS[0])
    claimed = await upload(change, "Coffee is sold in the hall.")

    async def move() -> None:
        await change.to(change.new).take_all()

    await taking_in(change, Interrupted(change.old.model, move)).work(claimed)
    assert await change.in_use() == "new"
    assert (await state(change, claimed))[:2] == ("processing", 0)
    claimed = await turn_of(change, claimed.id)
    await taking_in(change, change.new, change.old).work(claimed)

    assert (await state(change, claimed))[0] == "ready"
    assert await change.best("Coffee is sold in the hall.") == claimed.id


async def test_what_nobody_knows_the_model_for_is_found_by_its_words_in_the_end(change: Change, rival: Tenant) -> None:
    await change.add(CONTENTS[0])
    claimed = await upload(change, "Coffee is sold in the hall.")
    await post(change, rival, "Its turn comes between.")
    await taking_in(change, change.new).work(claimed)
    while (await state(change, claimed))[0] == "processing":
        claimed = await turn_of(change, claimed.id)
        await taking_in(change, change.new).work(claimed)

    assert await state(change, claimed) == ("ready", 0, MOST_FAILURES + 1)
    assert await change.in_use() == "old"
    assert await change.best("Where is coffee sold?", Embedders(change.new)) == claimed.id
