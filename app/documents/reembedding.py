"""Makes a tenant's vectors anew when the model changes; the old ones serve until all are there.

make     vectors of the new model, some chunks at a time, outside of any transaction; what has one is left alone
move     once no chunk lacks one, the tenant's searches go to the new ones, in one transaction
forget   the old ones go, a while later: a search that is under way has chosen between them already

An ingestion embeds by both models meanwhile. A tenant is moved from models that this process can embed questions by
(EMBEDDING_PREVIOUS), and no others: two processes of different settings would move it back and forth. What that costs
counts for the tenant; no budget holds it up, because it was not the tenant that changed the model.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy import Integer, Interval, String, Text, TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY

from app.core.errors import DatabaseUnavailable
from app.core.supervision import Turns
from app.db import rls
from app.db.execution import Connection, Record, Row
from app.db.session import Database, Session
from app.documents.embedding.embedders import Embedders
from app.documents.found import written
from app.documents.metering import NOBODY, Meter, Payer
from app.documents.shapes import Passage, Vector
from app.models.text_places import OF_CHUNK

LOOK_SECONDS = 60.0
AT_A_TIME = 32
# Longer than an embedder is waited for.
LEASE = timedelta(minutes=5)
# Longer than a search may take.
GRACE = timedelta(minutes=1)
FORGET_ROWS = 1000

_TENANT = (bindparam("tenant_id", type_=String), bindparam("model", type_=String))
DUE = text("SELECT tenant_id, embedding_model FROM tenants_to_reembed(:model)").bindparams(_TENANT[1])
# One process at a time. What it has made stays if it is killed, and the next one goes on after its lease.
HOLD = text("""
UPDATE document_totals SET reembedding_until = now() + :lease
WHERE document_totals.tenant_id = :tenant_id
  AND (document_totals.reembedding_until IS NULL OR document_totals.reembedding_until < now())
RETURNING document_totals.embedding_model
""").bindparams(_TENANT[0], bindparam("lease", type_=Interval(native=True)))
RENEW = text("""
UPDATE document_totals SET reembedding_until = now() + :lease WHERE document_totals.tenant_id = :tenant_id
""").bindparams(_TENANT[0], bindparam("lease", type_=Interval(native=True)))
RELEASE = text("""
UPDATE document_totals SET reembedding_until = NULL WHERE document_totals.tenant_id = :tenant_id
""").bindparams(_TENANT[0])
# Of what readers find; the rest is an ingestion's.
LACKING = """
SELECT document_chunks.id, document_chunks.document_id, document_chunks.heading, document_chunks.text
FROM document_chunks
  JOIN documents ON documents.tenant_id = :tenant_id AND documents.id = document_chunks.document_id
WHERE document_chunks.tenant_id = :tenant_id AND documents.current AND document_chunks.id > :after AND NOT EXISTS (
  SELECT FROM chunk_vectors WHERE chunk_vectors.tenant_id = :tenant_id AND chunk_vectors.model = :model
    AND chunk_vectors.chunk_id = document_chunks.id)
ORDER BY document_chunks.id LIMIT :most
"""
NEXT = text(LACKING).bindparams(*_TENANT, bindparam("after", type_=String), bindparam("most", type_=Integer))
STORE = text("""
INSERT INTO chunk_vectors (tenant_id, model, chunk_id, document_id, embedding)
SELECT :tenant_id, :model, document_chunks.id, document_chunks.document_id, v.embedding::halfvec
FROM unnest(:ids, :vectors) AS v (chunk_id, embedding)
  JOIN document_chunks ON document_chunks.tenant_id = :tenant_id AND document_chunks.id = v.chunk_id
ON CONFLICT ON CONSTRAINT pk_chunk_vectors DO NOTHING
""").bindparams(*_TENANT, bindparam("ids", type_=ARRAY(String)), bindparam("vectors", type_=ARRAY(Text)))
# Publishing locks the same row: no document is published between the look and the move.
LOCK = text("""
SELECT document_totals.tenant_id FROM document_totals WHERE document_totals.tenant_id = :tenant_id FOR NO KEY UPDATE
""").bindparams(_TENANT[0])
MOVE = text("""
UPDATE document_totals SET former_model = document_totals.embedding_model, embedding_model = :model, moved_at = now()
WHERE document_totals.tenant_id = :tenant_id AND document_totals.embedding_model <> :model
""").bindparams(*_TENANT)
MOVED_LONG_AGO = text("""
SELECT document_totals.former_model FROM document_totals
WHERE document_totals.tenant_id = :tenant_id AND document_totals.former_model IS NOT NULL
  AND document_totals.embedding_model = :model AND document_totals.moved_at < now() - :grace
""").bindparams(*_TENANT, bindparam("grace", type_=Interval(native=True)))
FORGET = text("""
DELETE FROM chunk_vectors WHERE chunk_vectors.tenant_id = :tenant_id AND chunk_vectors.model <> :model
  AND chunk_vectors.chunk_id IN (
    SELECT chunk_vectors.chunk_id FROM chunk_vectors
    WHERE chunk_vectors.tenant_id = :tenant_id AND chunk_vectors.model <> :model LIMIT :most)
RETURNING 1
""").bindparams(*_TENANT, bindparam("most", type_=Integer))
FORGOTTEN = text("""
UPDATE document_totals SET former_model = NULL
WHERE document_totals.tenant_id = :tenant_id AND document_totals.embedding_model = :model
""").bindparams(*_TENANT)
logger = structlog.get_logger()


class DueRow(Record):
    __slots__ = ()

    tenant_id: str
    embedding_model: str


class LackingChunk(Record):
    __slots__ = ()
    text_places = OF_CHUNK
    if_unreadable = "raise"

    id: str
    document_id: str
    heading: str
    text: str


class Reembedding:
    """`grace`: how long the old vectors stay after a move."""

    def __init__(self, database: Database, embedders: Embedders, meter: Meter, *, grace: timedelta = GRACE) -> None:
        self._database = database
        self._meter = meter
        self._embedders = embedders
        self._model = embedders.current.model
        self._grace = grace
        self.turns = Turns("reembedding")

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.turns.take(self.take_all())
            await asyncio.sleep(LOOK_SECONDS)

    async def take_all(self) -> None:
        """Bring every tenant as far as it can come now."""
        async with self._database.background(rls.ENTER_NO_TENANT) as connection:
            due = (await connection.execute(DUE, {"model": self._model}, DueRow)).all()
        unknown, failure = Counter[str](), None
        for tenant in due:
            if self._embedders.of(tenant.embedding_model) is None:
                unknown[tenant.embedding_model] += 1
                continue
            try:
                await self._tenant(tenant.tenant_id)
            except DatabaseUnavailable:
                raise
            except Exception as error:  # noqa: BLE001 - raised again below, once the others had their turn
                logger.warning("tenant_not_reembedded", tenant_id=tenant.tenant_id, error=type(error).__name__)
                failure = error
        for model, tenants in unknown.items():
            logger.warning("vectors_of_unknown_model", model=model, tenants=tenants, remedy="EMBEDDING_PREVIOUS")
        if failure is not None:
            raise failure

    async def _tenant(self, tenant_id: str) -> None:
        held = await self._execute(tenant_id, HOLD, {"lease": LEASE})
        if not held:
            return
        try:
            while held[0][0] != self._model and not await self._move(tenant_id):
                await self._make(tenant_id)
            await self._forget(tenant_id)
        finally:
            await self._execute(tenant_id, RELEASE, {})

    async def _make(self, tenant_id: str) -> None:
        """The vectors of all chunks that lack one."""
        after, payer = "", Payer(tenant_id, NOBODY, lambda: self._in(tenant_id), bounded=False)
        while chunks := await self._next(tenant_id, after):
            texts = [Passage(0, 0, 0, 0, chunk.text, None, chunk.heading).embedded for chunk in chunks]
            embedded = await self._meter.embed(self._embedders.current, texts, "passage", payer)
            async with self._in(tenant_id) as connection:
                await self._store(connection, tenant_id, [chunk.id for chunk in chunks], embedded.vectors)
                await embedded.settle(connection)
            after = chunks[-1].id

    async def _next(self, tenant_id: str, after: str) -> list[LackingChunk]:
        async with self._in(tenant_id) as connection:
            await connection.execute(RENEW, {"tenant_id": tenant_id, "lease": LEASE})
            values = {"tenant_id": tenant_id, "model": self._model, "after": after, "most": AT_A_TIME}
            return (await connection.execute(NEXT, values, LackingChunk)).all()

    async def _store(
        self, connection: Connection, tenant_id: str, ids: Sequence[str], vectors: Sequence[Vector]
    ) -> None:
        values = {"ids": list(ids), "vectors": [written(vector) for vector in vectors]}
        await connection.execute(STORE, {"tenant_id": tenant_id, "model": self._model, **values})

    async def _move(self, tenant_id: str) -> bool:
        """Whether the tenant's searches are on the new vectors; False: a chunk lacks one."""
        values = {"tenant_id": tenant_id, "model": self._model}
        async with self._in(tenant_id) as connection:
            await connection.execute(LOCK, values)
            if (await connection.execute(NEXT, {**values, "after": "", "most": 1}, LackingChunk)).all():
                return False
            await connection.execute(MOVE, values)
        logger.info("tenant_reembedded", tenant_id=tenant_id, model=self._model)
        return True

    async def _forget(self, tenant_id: str) -> None:
        if not await self._execute(tenant_id, MOVED_LONG_AGO, {"model": self._model, "grace": self._grace}):
            return
        values = {"model": self._model, "most": FORGET_ROWS}
        while await self._execute(tenant_id, FORGET, values):
            pass
        await self._execute(tenant_id, FORGOTTEN, values)

    def _in(self, tenant_id: str) -> Session:
        return self._database.background(rls.enter_tenant(tenant_id))

    async def _execute(self, tenant_id: str, statement: TextClause, values: Mapping[str, Any]) -> list[Row]:
        async with self._in(tenant_id) as connection:
            return (await connection.execute(statement, {"tenant_id": tenant_id, **values})).all()
