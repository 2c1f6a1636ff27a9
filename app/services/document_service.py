"""A tenant's documents: their intake, their lists, their end. What becomes of one meanwhile is the ingestion's."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from sqlalchemy import Boolean, DateTime, String, Table, and_, bindparam, func, or_, select, text
from sqlalchemy.dialects.postgresql import JSONB

from app.core.errors import DocumentNotRead, DocumentQuotaUsedUp, NotFound, PermissionDenied
from app.core.ids import is_id, new_id
from app.db.execution import Connection, Record
from app.db.pagination import NewestFirst, Page, PageRequest, only, page_of, parameters
from app.db.sealing import seals
from app.db.session import TenantSession
from app.documents import totals
from app.documents.removal import remove_some, retire
from app.documents.totals import Quotas, TotalsRow
from app.messages.idempotency import IdempotencyKeys, IdempotentRequest
from app.models import Document, DocumentVisibility
from app.models.rows import DocumentRow
from app.models.text_places import OF_CONTENT, ORIGINAL
from app.services.audit_service import record_by

documents = cast("Table", Document.__table__)
COLUMNS = tuple(documents.c[name] for name in DocumentRow.columns())
# Row-level security holds it too.
_SHOWN = and_(
    documents.c.tenant_id == bindparam("tenant_id"),
    documents.c.deleting_at.is_(None),
    or_(
        documents.c.visibility == DocumentVisibility.TENANT.value,
        documents.c.user_id == bindparam("viewer_id"),
        bindparam("sees_private", type_=Boolean),
    ),
)
ONE = select(*COLUMNS).where(_SHOWN, documents.c.id == bindparam("id"))
CONDITIONS = {"collection": only(documents.c.collection, "collection"), "status": only(documents.c.status, "status")}
COLLECTIONS = (
    select(
        documents.c.collection.label("name"),
        func.count().label("documents"),
        func.sum(documents.c.chunks).label("chunks"),
        func.sum(documents.c.bytes).label("bytes"),
    )
    .where(_SHOWN)
    .group_by(documents.c.collection)
    .order_by(documents.c.collection)
)
# The newest of a name; one that failed is as good as none.
NEWEST = (
    select(*COLUMNS, documents.c.content_hash)
    .where(
        documents.c.tenant_id == bindparam("tenant_id"),
        documents.c.collection == bindparam("collection"),
        documents.c.name == bindparam("name"),
        documents.c.audience == bindparam("audience"),
        documents.c.deleting_at.is_(None),
        documents.c.status != "failed",
    )
    .order_by(documents.c.created_at.desc(), documents.c.id.desc())
    .limit(1)
)
# By the clock, not by the transaction's beginning: while the totals are locked, the later one is the newer one. It is
# so as well where the clock was put back, or is another server's since.
INSERT = text(f"""
INSERT INTO documents (id, tenant_id, user_id, name, collection, visibility, media_type, attributes, content_hash,
  bytes, updated_at, created_at)
VALUES (:id, :tenant_id, :user_id, :name, :collection, :visibility, :media_type, :attributes, :content_hash, :bytes,
  clock_timestamp(), GREATEST(clock_timestamp(), :newest_at + interval '1 microsecond'))
RETURNING {", ".join(DocumentRow.columns())}
""").bindparams(
    bindparam("attributes", type_=JSONB),
    bindparam("tenant_id", type_=String),
    bindparam("newest_at", type_=DateTime(timezone=True)),
)
INSERT_CONTENT = seals(
    text("""
INSERT INTO document_contents (tenant_id, document_id, original) VALUES (:tenant_id, :id, :original)
"""),
    original=ORIGINAL,
)
CONTENT = text("""
SELECT document_contents.text FROM document_contents
WHERE document_contents.tenant_id = :tenant_id AND document_contents.document_id = :id
""")


@dataclass(frozen=True, slots=True)
class NewDocument:
    name: str
    content: bytes
    media_type: str
    collection: str
    visibility: DocumentVisibility
    attributes: dict[str, Any]


class ContentRow(Record):
    __slots__ = ()
    text_places = OF_CONTENT
    if_unreadable = "raise"

    text: str | None


class KnownRow(DocumentRow):
    __slots__ = ()

    content_hash: str


class CollectionRow(Record):
    """Of the documents that the caller sees."""

    __slots__ = ()

    name: str
    documents: int
    chunks: int
    bytes: int


class DocumentService:
    """Documents of the caller's tenant: all may read them but the private ones of others; admins may read all."""

    def __init__(self, db: TenantSession, keys: IdempotencyKeys, quotas: Quotas, ring: Callable[[], None]) -> None:
        """`ring`: says that a document waits."""
        self._db = db
        self._keys = keys
        self._quotas = quotas
        self._ring = ring
        self._tenant_id = db.principal.tenant_id

    async def add(self, new: NewDocument, key: str | None = None) -> tuple[DocumentRow, bool]:
        """The document and whether it is new: the same content under the same name is the one that is there.

        Raises:
            DocumentQuotaUsedUp, IdempotencyKeyReused
            NotFound: what the key made is gone.
        """
        caller = self._db.principal
        content_hash = await asyncio.to_thread(lambda: hashlib.sha256(new.content).hexdigest())
        identity = {"name": new.name, "collection": new.collection, "visibility": new.visibility.value}
        canonical = {**identity, "attributes": new.attributes, "content": content_hash}
        request = IdempotentRequest.of(key, "POST /documents", canonical)
        values = {
            **identity,
            "id": new_id(),
            "tenant_id": self._tenant_id,
            "user_id": caller.user_id,
            "audience": caller.user_id if new.visibility == DocumentVisibility.PRIVATE else "",
            "media_type": new.media_type,
            "attributes": new.attributes,
            "content_hash": content_hash,
            "bytes": len(new.content),
            "original": new.content,
        }
        async with self._db.begin() as connection:
            if made_before := await self._keys.claim(connection, caller, request, str(values["id"])):
                return await self._find(connection, made_before), False
            standing = await totals.lock(connection, self._tenant_id)
            if connection.texts is not None and connection.texts.seals:
                values["content_hash"] = await connection.texts.digest(connection, self._tenant_id, content_hash)
            newest = (await connection.execute(NEWEST, values, KnownRow)).one_or_none()
            if newest is not None and newest.content_hash in (content_hash, values["content_hash"]):
                return newest, False
            self._require_room(standing, len(new.content))
            values["newest_at"] = newest and newest.created_at
            made = (await connection.execute(INSERT, values, DocumentRow)).one()
            await connection.execute(INSERT_CONTENT, values)
            await totals.add(connection, self._tenant_id, documents=1, bytes=len(new.content))
            await record_by(self._db, connection, "document.created", made.id, **identity)
        self._ring()
        return made, True

    def _require_room(self, standing: TotalsRow, size: int) -> None:
        quotas = self._quotas
        for used_up, what in (
            (standing.documents >= quotas.documents, "documents"),
            (standing.bytes + size > quotas.bytes, "bytes of documents"),
            (standing.chunks >= quotas.chunks, "passages of documents"),
            (standing.seconds >= quotas.seconds, "seconds of reading documents, of this month,"),
        ):
            if used_up:
                raise DocumentQuotaUsedUp(what)

    async def list(self, page: PageRequest, collection: str | None, status: str | None) -> Page[DocumentRow]:
        named = {"collection": collection, "status": status}
        narrowed = {name: value for name, value in named.items() if value is not None}
        values = {**self._viewer(), **narrowed, **parameters(page)}
        async with self._db.begin() as connection:
            statement = listing(frozenset(narrowed)).page(page)
            rows = (await connection.execute(statement, values, DocumentRow)).all()
        return page_of(rows, page)

    async def get(self, document_id: str) -> DocumentRow:
        """Raises `NotFound`."""
        async with self._db.begin() as connection:
            return await self._find(connection, document_id)

    async def content(self, document_id: str) -> str:
        """The text that was read in it; raises `NotFound`, `DocumentNotRead`, `TextUnreadable`."""
        async with self._db.begin() as connection:
            found = await self._find(connection, document_id)
            values = {"tenant_id": self._tenant_id, "id": found.id}
            content = (await connection.execute(CONTENT, values, ContentRow)).one_or_none()
        if content is None or content.text is None:
            raise DocumentNotRead
        return content.text

    async def delete(self, document_id: str) -> None:
        """From now on nobody finds it; of a large one, rows follow in the background. For its uploader and admins.

        Raises:
            NotFound, PermissionDenied
        """
        caller = self._db.principal
        async with self._db.begin_long() as connection:
            await totals.lock(connection, self._tenant_id)
            found = await self._find(connection, document_id)
            if found.user_id != caller.user_id and not caller.is_admin:
                raise PermissionDenied
            if not await retire(connection, self._tenant_id, found.id):
                raise NotFound
            await record_by(self._db, connection, "document.deleted", found.id, name=found.name)
            await remove_some(connection, self._tenant_id, found.id)

    async def collections(self) -> Sequence[CollectionRow]:
        async with self._db.begin() as connection:
            return (await connection.execute(COLLECTIONS, self._viewer(), CollectionRow)).all()

    async def _find(self, connection: Connection, document_id: str) -> DocumentRow:
        if not is_id(document_id):
            raise NotFound
        values = {**self._viewer(), "id": document_id}
        found = (await connection.execute(ONE, values, DocumentRow)).one_or_none()
        if found is None:
            raise NotFound
        return found

    def _viewer(self) -> dict[str, Any]:
        caller = self._db.principal
        return {"tenant_id": self._tenant_id, "viewer_id": caller.user_id, "sees_private": caller.is_admin}


@cache
def listing(filters: frozenset[str]) -> NewestFirst:
    narrowed = (CONDITIONS[name] for name in sorted(filters))
    return NewestFirst(select(*COLUMNS).where(_SHOWN, *narrowed), documents)
