"""Seals what was stored before texts were, tenant by tenant, some rows a transaction, beside a service that serves.

Both forms are read meanwhile. It may be killed, and repeated: what is sealed by then is not touched again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from sqlalchemy import DateTime, LargeBinary, String, Text, TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.types import TypeEngine

from app.core.credentials.text_key import MARK, MARK_BYTES, TextKey, is_sealed
from app.core.errors import AppError
from app.db import rls
from app.db.batches import BEGINNING
from app.db.execution import Connection, Row
from app.db.provision import owner_connection
from app.db.session import Database
from app.db.texts import Texts, seal
from app.documents import totals
from app.models.text_places import TABLES
from app.residency.listing import TENANTS_A_PAGE, TENANTS_AFTER

# By how long their texts may be: a transaction holds so many rows in memory.
ROWS = {"conversations": 100, "messages": 100, "message_contents": 10, "document_contents": 1, "document_chunks": 200}
_TYPES: dict[str, TypeEngine[Any]] = {"text": Text(), "json": JSONB(none_as_null=True), "bytes": LargeBinary()}
_MARK = f"E'{MARK.encode('unicode_escape').decode()}'"
_MARK_BYTES = f"decode('{MARK_BYTES.hex()}', 'hex')"
_SEALED = {
    "text": f"({{0}} IS NULL OR {{0}} = '' OR starts_with({{0}}, {_MARK}))",
    "json": f"({{0}} IS NULL OR (jsonb_typeof({{0}}) = 'string' AND starts_with({{0}} #>> '{{{{}}}}', {_MARK})))",
    "bytes": f"({{0}} IS NULL OR {{0}} = '' OR substring({{0}} FOR {len(MARK_BYTES)}) = {_MARK_BYTES})",
}
# What passages are to readers is counted off by their words while they are there.
COUNT_OFF = text("""
INSERT INTO term_frequencies AS known (tenant_id, term, chunks)
SELECT :tenant_id, terms.place, -count(*)
FROM document_chunks
  JOIN documents ON documents.tenant_id = :tenant_id AND documents.id = document_chunks.document_id
  CROSS JOIN LATERAL (SELECT DISTINCT place FROM text_terms(document_chunks.heading || ' ' || document_chunks.text))
    AS terms
WHERE document_chunks.tenant_id = :tenant_id AND document_chunks.id = ANY (:ids) AND documents.current
GROUP BY terms.place ORDER BY terms.place
ON CONFLICT ON CONSTRAINT pk_term_frequencies DO UPDATE SET chunks = known.chunks + excluded.chunks
WHERE known.tenant_id = :tenant_id
""").bindparams(bindparam("tenant_id", type_=String), bindparam("ids", type_=ARRAY(String)))
FORGET_TERMS = text("""
DELETE FROM chunk_terms WHERE chunk_terms.tenant_id = :tenant_id AND chunk_terms.chunk_id = ANY (:ids)
""").bindparams(bindparam("ids", type_=ARRAY(String)))
FORGET_FREQUENCIES = text("""
DELETE FROM term_frequencies WHERE term_frequencies.tenant_id = :tenant_id AND term_frequencies.chunks <= 0
""")
# Who knows a file would know it by a plain digest.
HASHES = text("""
SELECT documents.id, documents.content_hash FROM documents
WHERE documents.tenant_id = :tenant_id AND documents.id = ANY (:ids) FOR UPDATE
""").bindparams(bindparam("ids", type_=ARRAY(String)))
REHASH = text("""
UPDATE documents SET content_hash = :content_hash WHERE documents.tenant_id = :tenant_id AND documents.id = :id
""")
logger = structlog.get_logger()


@dataclass(slots=True)
class Done:
    """`left`: ids of tenants of which texts may be left: they are moving, or their key is away."""

    tenants: int = 0
    rows: int = 0
    left: list[str] = field(default_factory=list)


async def seal_all(database: Database, texts: Texts, owner_url: str) -> Done:
    """Of all tenants of a database; raises `PermissionDenied` for the runtime's login."""
    done, after = Done(), ""
    while True:
        async with owner_connection(owner_url) as owner:
            found = (await owner.execute(TENANTS_AFTER, {"after": after, "most": TENANTS_A_PAGE})).scalars().all()
        for tenant_id in found:
            try:
                done.rows += await seal_tenant(database, texts, tenant_id)
                done.tenants += 1
            except AppError as error:
                logger.warning("texts_left_in_plain", tenant_id=tenant_id, reason=type(error).__name__)
                done.left.append(tenant_id)
        if len(found) < TENANTS_A_PAGE:
            return done
        after = found[-1]


async def seal_tenant(database: Database, texts: Texts, tenant_id: str) -> int:
    """How many rows were; raises `AppError` where it cannot be done now."""
    count = 0
    for table in TABLES:
        position = BEGINNING
        while True:
            async with database.background(rls.enter_tenant(tenant_id)) as connection:
                rows = await _seal_some(connection, texts, tenant_id, table, position)
            count += len(rows)
            if len(rows) < ROWS[table]:
                break
            position = {name: getattr(rows[-1], name) for name in ("created_at", "id")}
    async with database.background(rls.enter_tenant(tenant_id)) as connection:
        await totals.lock(connection, tenant_id)
        await connection.execute(FORGET_FREQUENCIES, {"tenant_id": tenant_id})
    return count


async def _seal_some(
    connection: Connection, texts: Texts, tenant_id: str, table: str, position: Mapping[str, Any]
) -> Sequence[Row]:
    """Seal the next rows after `position`; which."""
    if table == "document_chunks":  # as whoever publishes or deletes does, before any document
        await totals.lock(connection, tenant_id)
    rows = (await connection.execute(FIND[table], {"tenant_id": tenant_id, **position})).all()
    if not rows:
        return rows
    key = await texts.key_to_seal(connection, tenant_id)
    if table == "document_chunks":
        of = {"tenant_id": tenant_id, "ids": [row.id for row in rows]}
        await connection.execute(COUNT_OFF, of)
        await connection.execute(FORGET_TERMS, of)
    if table == "document_contents":
        await connection.execute_many(REHASH, await _digests(connection, key, tenant_id, [row.id for row in rows]))
    await connection.execute_many(STORE[table], [_sealed(key, table, tenant_id, row) for row in rows])
    return rows


async def _digests(connection: Connection, key: TextKey, tenant_id: str, ids: list[str]) -> list[dict[str, str]]:
    """As they are of documents that are sealed when they come."""
    found = await connection.execute(HASHES, {"tenant_id": tenant_id, "ids": ids})
    return [{"tenant_id": tenant_id, "id": row.id, "content_hash": key.digest(row.content_hash)} for row in found.all()]


def _sealed(key: TextKey, table: str, tenant_id: str, row: Row) -> dict[str, Any]:
    values: dict[str, Any] = {"tenant_id": tenant_id, "id": row.id}
    of_row = key.of_row(table, row.id)
    for place in TABLES[table][1]:
        value = getattr(row, place.column)
        values[place.column] = value if is_sealed(value) else seal(of_row, place, value)
    return values


def _find(table: str) -> TextClause:
    """The rows that have a text in plain, along an index of the table."""
    told_by, places = TABLES[table]
    row = f"{table}.{told_by}"
    timed = table in ("messages", "conversations")
    at = f"{table}.created_at" if timed else "CAST(:created_at AS timestamptz)"
    after = f"({at}, {row}) > (:created_at, :id)" if timed else f"{row} > :id"
    columns = ", ".join(f"{table}.{place.column}" for place in places)
    plain = " OR ".join(f"NOT {_SEALED[place.kind].format(f'{table}.{place.column}')}" for place in places)
    return text(f"""
SELECT {row} AS id, {at} AS created_at, {columns} FROM {table}
WHERE {table}.tenant_id = :tenant_id AND {after} AND ({plain})
ORDER BY {f"{at}, " if timed else ""}{row} LIMIT {ROWS[table]} FOR UPDATE
""").bindparams(bindparam("created_at", type_=DateTime(timezone=True)), bindparam("id", type_=String))


def _store(table: str) -> TextClause:
    told_by, places = TABLES[table]
    changes = ", ".join(f"{place.column} = :{place.column}" for place in places)
    sql = f"UPDATE {table} SET {changes} WHERE {table}.tenant_id = :tenant_id AND {table}.{told_by} = :id"
    return text(sql).bindparams(*(bindparam(place.column, type_=_TYPES[place.kind]) for place in places))


FIND = {table: _find(table) for table in TABLES}
STORE = {table: _store(table) for table in TABLES}
