"""How documents go: from one moment on nobody finds them, and their rows follow some a transaction.

retire   in the transaction that decides: no longer current, their words and their share of the totals taken off
remove   chunks with their vectors and weights, a batch a transaction, then the document: any process goes on with it
"""

import asyncio

import structlog
from sqlalchemy import Integer, String, bindparam, text

from app.core.supervision import Turns
from app.db import rls
from app.db.execution import Connection, Record
from app.db.session import Database
from app.documents import totals
from app.documents.terms import count_terms

BATCH_CHUNKS = 500
MOST_DOCUMENTS = 100
LOOK_SECONDS = 5.0
_ONE = "documents.tenant_id = :tenant_id AND documents.id = :document_id"
_TO_REMOVE = "(documents.deleting_at IS NOT NULL OR (documents.status = 'failed' AND documents.chunks > 0))"
_OF = (bindparam("tenant_id", type_=String), bindparam("document_id", type_=String))
HOLD = text(f"""
SELECT documents.current, documents.status, documents.bytes, documents.chunks FROM documents
WHERE {_ONE} AND documents.deleting_at IS NULL FOR UPDATE
""").bindparams(*_OF)
RETIRE = text(f"""
UPDATE documents SET current = false, deleting_at = now(), taken = false, lease_expires_at = NULL, updated_at = now()
WHERE {_ONE}
""").bindparams(*_OF)
# Another one is at it already.
HOLD_TO_REMOVE = text(f"""
SELECT documents.deleting_at IS NOT NULL AS goes FROM documents WHERE {_ONE} AND {_TO_REMOVE} FOR UPDATE SKIP LOCKED
""").bindparams(*_OF)
DELETE_CHUNKS = text("""
WITH gone AS (
  DELETE FROM document_chunks
  WHERE document_chunks.tenant_id = :tenant_id AND document_chunks.document_id = :document_id AND document_chunks.n IN (
      SELECT document_chunks.n FROM document_chunks
      WHERE document_chunks.tenant_id = :tenant_id AND document_chunks.document_id = :document_id
      ORDER BY document_chunks.n LIMIT :rows)
  RETURNING document_chunks.n
)
SELECT count(*) FROM gone
""").bindparams(*_OF, bindparam("rows", type_=Integer))
DELETE = text(f"DELETE FROM documents WHERE {_ONE}").bindparams(*_OF)
EMPTIED = text(f"UPDATE documents SET chunks = 0, updated_at = now() WHERE {_ONE}").bindparams(*_OF)
# Across tenants, by a SECURITY DEFINER function.
DUE = text("SELECT tenant_id, id FROM documents_to_remove(:most)").bindparams(bindparam("most", type_=Integer))
logger = structlog.get_logger()


class HeldRow(Record):
    __slots__ = ()

    current: bool
    status: str
    bytes: int
    chunks: int


class DueRow(Record):
    __slots__ = ()

    tenant_id: str
    id: str


async def retire(connection: Connection, tenant_id: str, document_id: str) -> bool:
    """Let nobody find a document any more; False: it is not there. The caller has locked the tenant's totals."""
    values = {"tenant_id": tenant_id, "document_id": document_id}
    held = (await connection.execute(HOLD, values, HeldRow)).one_or_none()
    if held is None:
        return False
    if held.current:
        await count_terms(connection, tenant_id, document_id, held.chunks, -1)
    await connection.execute(RETIRE, values)
    await totals.add(
        connection,
        tenant_id,
        documents=-1,
        bytes=-held.bytes,
        # Those of a failed one were taken off as it failed.
        chunks=0 if held.status == "failed" else -held.chunks,
        current_chunks=-held.chunks if held.current else 0,
    )
    return True


async def remove_some(connection: Connection, tenant_id: str, document_id: str, rows: int = BATCH_CHUNKS) -> bool:
    """Delete so many chunks of a retired or failed document; whether nothing is left to do."""
    values = {"tenant_id": tenant_id, "document_id": document_id}
    goes = (await connection.execute(HOLD_TO_REMOVE, values)).one_or_none()
    if goes is None:
        return True
    if (await connection.execute(DELETE_CHUNKS, {**values, "rows": rows})).scalar_one() >= rows:
        return False
    await connection.execute(DELETE if goes.goes else EMPTIED, values)
    return True


class Remover:
    """Goes on with what was retired, and what failed halfway."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.turns = Turns("document_removal")

    async def run(self) -> None:
        """Remove until cancelled."""
        while True:
            await self.turns.take(self.remove())
            await asyncio.sleep(LOOK_SECONDS)

    async def remove(self) -> int:
        """Remove all that is due now, a batch of each in turn; how many documents are done with."""
        done, failure = 0, None
        while True:
            async with self._database.background(rls.ENTER_NO_TENANT) as connection:
                due = (await connection.execute(DUE, {"most": MOST_DOCUMENTS}, DueRow)).all()
            before = done
            for document in due:
                try:
                    async with self._database.background(rls.enter_tenant(document.tenant_id)) as connection:
                        done += await remove_some(connection, document.tenant_id, document.id)
                except Exception as error:  # noqa: BLE001 - it keeps none of the others, and is raised in the end
                    failure = error
            if failure is not None:
                raise failure
            if len(due) < MOST_DOCUMENTS and done - before == len(due):
                return done
