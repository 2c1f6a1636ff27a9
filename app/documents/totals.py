"""What a tenant has stored, counted in the transaction that stores it: two at once take turns at the row.

Its lock comes first, before that of any document.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Float, String, bindparam, text

from app.db.execution import Connection, Record

_TENANT = bindparam("tenant_id", type_=String)
LOCK = text("""
INSERT INTO document_totals AS known (tenant_id) VALUES (:tenant_id)
ON CONFLICT ON CONSTRAINT pk_document_totals DO UPDATE SET documents = known.documents
WHERE known.tenant_id = :tenant_id
RETURNING documents, bytes, chunks, embedding_model, CASE
  WHEN ingestion_month = date_trunc('month', now() AT TIME ZONE 'UTC')::date THEN ingestion_seconds ELSE 0
END AS seconds
""").bindparams(_TENANT)
ADD = text("""
UPDATE document_totals SET documents = document_totals.documents + :documents, bytes = document_totals.bytes + :bytes,
  chunks = document_totals.chunks + :chunks, current_chunks = document_totals.current_chunks + :current_chunks
WHERE document_totals.tenant_id = :tenant_id
""").bindparams(_TENANT, bindparam("bytes", type_=BigInteger))
ADD_SECONDS = text("""
UPDATE document_totals SET ingestion_month = date_trunc('month', now() AT TIME ZONE 'UTC')::date,
  ingestion_seconds = :seconds + CASE
    WHEN document_totals.ingestion_month = date_trunc('month', now() AT TIME ZONE 'UTC')::date
    THEN document_totals.ingestion_seconds ELSE 0 END
WHERE document_totals.tenant_id = :tenant_id
""").bindparams(_TENANT, bindparam("seconds", type_=Float))


@dataclass(frozen=True, slots=True)
class Quotas:
    """Of a tenant; `seconds` of a calendar month."""

    documents: int
    bytes: int
    chunks: int
    seconds: float


class TotalsRow(Record):
    """Locked until the transaction ends. `seconds`: of this month."""

    __slots__ = ()

    documents: int
    bytes: int
    chunks: int
    embedding_model: str | None
    seconds: float


async def lock(connection: Connection, tenant_id: str) -> TotalsRow:
    return (await connection.execute(LOCK, {"tenant_id": tenant_id}, TotalsRow)).one()


async def add(connection: Connection, tenant_id: str, **counts: int) -> None:
    """Add (or take off) `documents`, `bytes`, `chunks`, `current_chunks`."""
    values: dict[str, Any] = {"documents": 0, "bytes": 0, "chunks": 0, "current_chunks": 0, **counts}
    await connection.execute(ADD, {"tenant_id": tenant_id, **values})


async def add_seconds(connection: Connection, tenant_id: str, seconds: float) -> None:
    await connection.execute(ADD_SECONDS, {"tenant_id": tenant_id, "seconds": seconds})
