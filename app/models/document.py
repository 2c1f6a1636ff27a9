from datetime import date, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Computed,
    Date,
    DateTime,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, TimestampMixin
from app.db.vectors import HalfVector, SparseVector

# Lexemes are hashed into so many places. Few collide: 18 of the 6,635 of a collection of 1,400 abstracts.
TERM_PLACES = 2**20


class DocumentStatus(StrEnum):
    """`queued` until a worker takes it, `processing` while it does, then one of the others for good."""

    QUEUED = "queued"
    PROCESSING = "processing"
    READY = "ready"
    FAILED = "failed"


class DocumentVisibility(StrEnum):
    TENANT = "tenant"
    PRIVATE = "private"
    """Its uploader's, and admins'."""


def _of(parent: str, column: str) -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["tenant_id", column], [f"{parent}.tenant_id", f"{parent}.id"], ondelete="CASCADE")


class Document(TimestampMixin, Base):
    """What a tenant knows: a file or a text, cut into chunks that are found by meaning and by words.

    `current`: readers find it. A ready document of the same name, collection and audience took its place if it is not.
    `taken`: a process works on it, and renews `lease_expires_at`; else that says until when nobody tries again.
    `attempts` tells its runs apart; `failures` counts those that brought nothing. `deleting_at`: nobody finds it any
    more, and its rows are on their way out.
    """

    __tablename__ = "documents"
    __table_args__ = (
        _of("users", "user_id"),
        UniqueConstraint("tenant_id", "id"),
        CheckConstraint("status IN ('queued', 'processing', 'ready', 'failed')", name="status"),
        CheckConstraint("visibility IN ('tenant', 'private')", name="visibility"),
        Index("ix_documents_tenant_id_created_at_id", "tenant_id", text("created_at DESC"), text("id DESC")),
        Index(
            "ix_documents_tenant_id_user_id_created_at_id",
            "tenant_id",
            "user_id",
            text("created_at DESC"),
            text("id DESC"),
        ),
        Index(
            "ix_documents_tenant_id_collection_created_at_id",
            "tenant_id",
            "collection",
            text("created_at DESC"),
            text("id DESC"),
        ),
        # The versions of a name.
        Index(
            "ix_documents_tenant_id_collection_name",
            "tenant_id",
            "collection",
            "name",
            text("created_at DESC"),
            text("id DESC"),
            postgresql_where=text("deleting_at IS NULL"),
        ),
        # What waits, and what a dead process left.
        Index(
            "ix_documents_unfinished",
            "tenant_id",
            "updated_at",
            "id",
            postgresql_where=text("status IN ('queued', 'processing') AND deleting_at IS NULL"),
        ),
        Index(
            "ix_documents_to_remove",
            "deleting_at",
            "id",
            postgresql_where=text("deleting_at IS NOT NULL OR (status = 'failed' AND chunks > 0)"),
        ),
        Index("ix_documents_private", "tenant_id", "user_id", postgresql_where=text("visibility = 'private'")),
        # Never two, for any reader.
        Index(
            "uq_documents_current",
            "tenant_id",
            "collection",
            "name",
            "audience",
            unique=True,
            postgresql_where=text("current"),
        ),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(36), ForeignKey("tenants.id", ondelete="CASCADE"))
    user_id: Mapped[str] = mapped_column(String(36))
    name: Mapped[str] = mapped_column(String(255))
    collection: Mapped[str] = mapped_column(String(100), server_default="default")
    visibility: Mapped[str] = mapped_column(String(10), server_default="tenant")
    # Whose document of this name it is; "": the tenant's. Spelled as PostgreSQL does: Alembic compares.
    audience: Mapped[str] = mapped_column(
        String(36),
        Computed(
            "CASE WHEN ((visibility)::text = 'private'::text) THEN user_id ELSE ''::character varying END",
            persisted=True,
        ),
    )
    media_type: Mapped[str] = mapped_column(String(100))
    attributes: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    content_hash: Mapped[str] = mapped_column(String(64))
    bytes: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[str] = mapped_column(String(20), server_default=DocumentStatus.QUEUED.value)
    error_code: Mapped[str | None] = mapped_column(String(50))
    progress: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    pages: Mapped[int | None] = mapped_column(Integer)
    characters: Mapped[int | None] = mapped_column(Integer)
    chunks: Mapped[int] = mapped_column(Integer, server_default="0")
    tokens: Mapped[int] = mapped_column(Integer, server_default="0")
    current: Mapped[bool] = mapped_column(Boolean, server_default="false")
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    failures: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    taken: Mapped[bool] = mapped_column(Boolean, server_default="false")
    lease_expires_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    deleting_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class DocumentContent(Base):
    """The file until it is read, and the text that was read in it."""

    __tablename__ = "document_contents"
    __table_args__ = (_of("documents", "document_id"),)

    tenant_id: Mapped[str] = mapped_column(String(36), ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True)
    document_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    original: Mapped[bytes | None] = mapped_column(LargeBinary)
    text: Mapped[str | None] = mapped_column(Text)


class DocumentChunk(Base):
    """A passage: the characters from `start` to before `end` of the document's text.

    `heading`: the path of headings above it; with the text, it is what is embedded and whose words are counted.
    """

    __tablename__ = "document_chunks"
    __table_args__ = (
        _of("documents", "document_id"),
        UniqueConstraint("tenant_id", "id"),
        UniqueConstraint("tenant_id", "document_id", "n"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(36), ForeignKey("tenants.id", ondelete="CASCADE"))
    document_id: Mapped[str] = mapped_column(String(36))
    n: Mapped[int] = mapped_column(Integer)
    page: Mapped[int | None] = mapped_column(Integer)
    heading: Mapped[str] = mapped_column(Text, server_default="")
    start: Mapped[int] = mapped_column(Integer)
    end: Mapped[int] = mapped_column(Integer)
    tokens: Mapped[int] = mapped_column(Integer)
    text: Mapped[str] = mapped_column(Text)


class ChunkVector(Base):
    """What a chunk means to a model. In a table of their own, narrow, because an exact search reads all of a tenant."""

    __tablename__ = "chunk_vectors"
    __table_args__ = (
        _of("documents", "document_id"),
        _of("document_chunks", "chunk_id"),
        Index("ix_chunk_vectors_tenant_id_document_id", "tenant_id", "document_id"),
    )

    tenant_id: Mapped[str] = mapped_column(String(36), ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True)
    chunk_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    model: Mapped[str] = mapped_column(String(255), primary_key=True)
    document_id: Mapped[str] = mapped_column(String(36))
    embedding: Mapped[str] = mapped_column(HalfVector())


class ChunkTerms(Base):
    """The words of a chunk, weighted by how often it has them: the half of BM25 that does not depend on the others."""

    __tablename__ = "chunk_terms"
    __table_args__ = (
        _of("documents", "document_id"),
        _of("document_chunks", "chunk_id"),
        Index("ix_chunk_terms_tenant_id_document_id", "tenant_id", "document_id"),
    )

    tenant_id: Mapped[str] = mapped_column(String(36), ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True)
    chunk_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    document_id: Mapped[str] = mapped_column(String(36))
    terms: Mapped[str] = mapped_column(SparseVector(TERM_PLACES))


class TermFrequency(Base):
    """In how many chunks of a tenant's current documents a term stands: the other half of BM25."""

    __tablename__ = "term_frequencies"

    tenant_id: Mapped[str] = mapped_column(String(36), ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True)
    term: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    chunks: Mapped[int] = mapped_column(Integer)


class DocumentTotals(Base):
    """What a tenant has stored, for its quotas, and which model its vectors in use are of.

    What is being removed counts no longer. `ingestion_seconds` are those of `ingestion_month`, which its first day
    names; `served_at` is when a process last began one of its documents.
    A row of a tenant's first document on; who changes the tenant's documents locks it.
    """

    __tablename__ = "document_totals"

    tenant_id: Mapped[str] = mapped_column(String(36), ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True)
    documents: Mapped[int] = mapped_column(Integer, server_default="0")
    bytes: Mapped[int] = mapped_column(BigInteger, server_default="0")
    chunks: Mapped[int] = mapped_column(Integer, server_default="0")
    current_chunks: Mapped[int] = mapped_column(Integer, server_default="0")
    ingestion_seconds: Mapped[float] = mapped_column(Float, server_default="0")
    ingestion_month: Mapped[date | None] = mapped_column(Date)
    served_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    embedding_model: Mapped[str | None] = mapped_column(String(255))
    # The model before, until its vectors are gone; since when the present one is in use; and until when a process makes
    # the next one's.
    former_model: Mapped[str | None] = mapped_column(String(255))
    moved_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    reembedding_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
