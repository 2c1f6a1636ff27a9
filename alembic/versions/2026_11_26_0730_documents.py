"""Documents of a tenant, in chunks that are found by meaning and by words.

Revision ID: 0029
Revises: 0028
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from alembic import op
from app.db.migration import (
    grant_to_runtime,
    hand_to_definer,
    isolate,
    owner,
    owner_keys,
    quoted_schema,
    tenant_key,
    timestamps,
)
from app.db.vectors import HalfVector, SparseVector

revision: str = "0029"
down_revision: str | None = "0028"
branch_labels = None
depends_on = None

# Only a superuser may add it to a database; many who host PostgreSQL let their customers.
EXTENSION = """
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'vector') THEN
    CREATE EXTENSION vector;
  END IF;
EXCEPTION WHEN insufficient_privilege OR undefined_file OR feature_not_supported THEN
  RAISE EXCEPTION 'documents need the extension pgvector in this database'
    USING HINT = 'Install pgvector on the server, and let a superuser run: CREATE EXTENSION vector;';
END $$
"""
TABLES = (
    "documents",
    "document_contents",
    "document_chunks",
    "chunk_vectors",
    "chunk_terms",
    "term_frequencies",
    "document_totals",
)
# Whose they are beside the tenant's: a private document is its uploader's and admins'. Work without a caller sees all.
READER = """
CREATE POLICY reader ON documents AS RESTRICTIVE TO llm_saas_app USING (
  CASE WHEN visibility = 'tenant' THEN true ELSE
    (SELECT current_setting('app.user_id', true)) IN ('', user_id) OR (SELECT EXISTS (
      SELECT FROM users u WHERE u.tenant_id = app_tenant() AND u.id = current_setting('app.user_id', true)
        AND u.role = 'admin')) END)
"""
# What is a document's, as the document. The subquery is one of documents, whose own policy narrows it; it is read where
# somebody has hidden something from the caller, once in a statement.
OF_A_READERS_DOCUMENT = """
CREATE POLICY reader ON {table} AS RESTRICTIVE TO llm_saas_app USING (
  (SELECT sees_all_documents()) OR document_id IN (SELECT d.id FROM documents d WHERE d.tenant_id = app_tenant()))
"""
SEES_ALL = """
CREATE FUNCTION sees_all_documents() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
  SELECT current_setting('app.user_id', true) = ''
    OR NOT EXISTS (
      SELECT FROM {schema}.documents d WHERE d.tenant_id = {schema}.app_tenant() AND d.visibility = 'private'
        AND d.user_id <> current_setting('app.user_id', true))
    OR EXISTS (
      SELECT FROM {schema}.users u WHERE u.tenant_id = {schema}.app_tenant()
        AND u.id = current_setting('app.user_id', true) AND u.role = 'admin')
$$
"""
UNFINISHED = "status IN ('queued', 'processing') AND deleting_at IS NULL"
TO_REMOVE = "deleting_at IS NOT NULL OR (status = 'failed' AND chunks > 0)"
# Tenants take turns, whatever they have waiting: next is who was served the longest ago. Within one, what was looked at
# the longest ago. Tenants are found by leaps along the index. Who holds a tenant's totals is storing or publishing: its
# turn comes with the next claim. A lease that ran out while a document was `taken` says that its process died.
CLAIM = """
CREATE FUNCTION claim_document(hold interval)
RETURNS TABLE (tenant_id text, id text, attempts integer, failures integer)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
  turn record;
BEGIN
  FOR turn IN
    WITH RECURSIVE waiting (tenant_id) AS (
      (SELECT d.tenant_id FROM {schema}.documents d WHERE {unfinished} ORDER BY d.tenant_id LIMIT 1)
      UNION ALL
      SELECT (SELECT d.tenant_id FROM {schema}.documents d WHERE {unfinished} AND d.tenant_id > waiting.tenant_id
              ORDER BY d.tenant_id LIMIT 1)
      FROM waiting WHERE waiting.tenant_id IS NOT NULL
    )
    SELECT waiting.tenant_id FROM waiting
      JOIN {schema}.document_totals totals ON totals.tenant_id = waiting.tenant_id
      JOIN {schema}.tenants ON tenants.id = waiting.tenant_id
    WHERE tenants.erasing_at IS NULL ORDER BY totals.served_at NULLS FIRST, waiting.tenant_id
  LOOP
    PERFORM FROM {schema}.document_totals totals WHERE totals.tenant_id = turn.tenant_id FOR UPDATE SKIP LOCKED;
    CONTINUE WHEN NOT FOUND;
    RETURN QUERY
      UPDATE {schema}.documents d SET status = 'processing', taken = true, attempts = d.attempts + 1,
        failures = d.failures + d.taken::integer, lease_expires_at = clock_timestamp() + $1
      WHERE d.id = (
        SELECT w.id FROM {schema}.documents w
        WHERE w.tenant_id = turn.tenant_id AND {unfinished}
          AND (w.lease_expires_at IS NULL OR w.lease_expires_at < clock_timestamp())
        ORDER BY w.updated_at, w.id LIMIT 1 FOR UPDATE SKIP LOCKED
      )
      RETURNING d.tenant_id::text, d.id::text, d.attempts, d.failures::integer;
    IF FOUND THEN
      UPDATE {schema}.document_totals totals SET served_at = clock_timestamp()
      WHERE totals.tenant_id = turn.tenant_id;
      RETURN;
    END IF;
  END LOOP;
END $$
"""
REMOVABLE = """
CREATE FUNCTION documents_to_remove(most integer) RETURNS TABLE (tenant_id text, id text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
  SELECT d.tenant_id::text, d.id::text FROM {schema}.documents d
    JOIN {schema}.tenants ON tenants.id = d.tenant_id AND tenants.erasing_at IS NULL
  WHERE {to_remove} ORDER BY d.deleting_at, d.id LIMIT $1
$$
"""
DEFINER = """
GRANT SELECT (tenant_id, id, user_id, visibility, status, chunks, attempts, taken, failures, lease_expires_at,
  deleting_at, updated_at) ON documents TO llm_saas_definer;
GRANT UPDATE (status, taken, attempts, failures, lease_expires_at) ON documents TO llm_saas_definer;
GRANT SELECT (tenant_id, served_at), UPDATE (served_at) ON document_totals TO llm_saas_definer;
CREATE POLICY definer_read ON documents FOR SELECT TO llm_saas_definer USING (true);
CREATE POLICY claim ON documents FOR UPDATE TO llm_saas_definer USING (status IN ('queued', 'processing'));
CREATE POLICY claim ON document_totals TO llm_saas_definer USING (true)
"""
FUNCTIONS = ("sees_all_documents()", "claim_document(interval)", "documents_to_remove(integer)")
TERM_PLACES = 2**20
# The words of a text, by their places in a sparse vector, and how often they stand there. Of md5, whose value is the
# same in every version of PostgreSQL. Stems, without the words that say nothing: with them BM25 falls behind.
TEXT_TERMS = """
CREATE FUNCTION text_terms(content text) RETURNS TABLE (place int, n int)
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT 1 + ('x' || substr(md5(word.lexeme), 1, 5))::bit(20)::int, sum(cardinality(word.positions))::int
  FROM unnest(to_tsvector('pg_catalog.english'::regconfig, content)) AS word GROUP BY 1
$$
"""


def id_column(name: str = "id", **options: bool) -> sa.Column[str]:
    return sa.Column(name, sa.String(36), nullable=False, **options)


def of_document(table: str) -> list[sa.ForeignKeyConstraint]:
    return [
        tenant_key(table),
        sa.ForeignKeyConstraint(
            ["tenant_id", "document_id"],
            ["documents.tenant_id", "documents.id"],
            ondelete="CASCADE",
            name=f"fk_{table}_tenant_id_document_id",
        ),
    ]


def of_chunk(table: str) -> list[sa.ForeignKeyConstraint]:
    return [
        *of_document(table),
        sa.ForeignKeyConstraint(
            ["tenant_id", "chunk_id"],
            ["document_chunks.tenant_id", "document_chunks.id"],
            ondelete="CASCADE",
            name=f"fk_{table}_tenant_id_chunk_id",
        ),
    ]


def count(name: str, kind: sa.types.TypeEngine[int] | None = None) -> sa.Column[int]:
    return sa.Column(name, kind or sa.Integer(), server_default="0", nullable=False)


def create_documents() -> None:
    op.create_table(
        "documents",
        id_column(),
        *owner(),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("collection", sa.String(100), server_default="default", nullable=False),
        sa.Column("visibility", sa.String(10), server_default="tenant", nullable=False),
        sa.Column(
            "audience",
            sa.String(36),
            sa.Computed("CASE WHEN visibility = 'private' THEN user_id ELSE '' END", persisted=True),
        ),
        sa.Column("media_type", sa.String(100), nullable=False),
        sa.Column("attributes", JSONB(), server_default="{}", nullable=False),
        sa.Column("content_hash", sa.String(64), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(20), server_default="queued", nullable=False),
        sa.Column("error_code", sa.String(50)),
        count("progress", sa.SmallInteger()),
        sa.Column("pages", sa.Integer()),
        sa.Column("characters", sa.Integer()),
        count("chunks"),
        count("tokens"),
        sa.Column("current", sa.Boolean(), server_default="false", nullable=False),
        count("attempts"),
        count("failures", sa.SmallInteger()),
        sa.Column("taken", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True)),
        sa.Column("deleting_at", sa.DateTime(timezone=True)),
        *timestamps(),
        *owner_keys("documents"),
        sa.PrimaryKeyConstraint("id", name="pk_documents"),
        sa.UniqueConstraint("tenant_id", "id", name="uq_documents_tenant_id_id"),
        sa.CheckConstraint("status IN ('queued', 'processing', 'ready', 'failed')", name="ck_documents_status"),
        sa.CheckConstraint("visibility IN ('tenant', 'private')", name="ck_documents_visibility"),
    )
    newest = [sa.text("created_at DESC"), sa.text("id DESC")]
    for narrowed in ([], ["user_id"], ["collection"]):
        columns = ["tenant_id", *narrowed]
        op.create_index(f"ix_documents_{'_'.join(columns)}_created_at_id", "documents", [*columns, *newest])
    op.create_index(
        "ix_documents_tenant_id_collection_name",
        "documents",
        ["tenant_id", "collection", "name", *newest],
        postgresql_where=sa.text("deleting_at IS NULL"),
    )
    op.create_index(
        "ix_documents_unfinished",
        "documents",
        ["tenant_id", "updated_at", "id"],
        postgresql_where=sa.text(UNFINISHED),
    )
    op.create_index("ix_documents_to_remove", "documents", ["deleting_at", "id"], postgresql_where=sa.text(TO_REMOVE))
    op.create_index(
        "ix_documents_private",
        "documents",
        ["tenant_id", "user_id"],
        postgresql_where=sa.text("visibility = 'private'"),
    )
    op.create_index(
        "uq_documents_current",
        "documents",
        ["tenant_id", "collection", "name", "audience"],
        unique=True,
        postgresql_where=sa.text("current"),
    )
    op.create_table(
        "document_contents",
        id_column("tenant_id"),
        id_column("document_id"),
        sa.Column("original", sa.LargeBinary()),
        sa.Column("text", sa.Text()),
        *of_document("document_contents"),
        sa.PrimaryKeyConstraint("tenant_id", "document_id", name="pk_document_contents"),
    )


def create_chunks() -> None:
    op.create_table(
        "document_chunks",
        id_column(),
        id_column("tenant_id"),
        id_column("document_id"),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("page", sa.Integer()),
        sa.Column("heading", sa.Text(), server_default="", nullable=False),
        sa.Column("start", sa.Integer(), nullable=False),
        sa.Column("end", sa.Integer(), nullable=False),
        sa.Column("tokens", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        *of_document("document_chunks"),
        sa.PrimaryKeyConstraint("id", name="pk_document_chunks"),
        sa.UniqueConstraint("tenant_id", "id", name="uq_document_chunks_tenant_id_id"),
        sa.UniqueConstraint("tenant_id", "document_id", "n", name="uq_document_chunks_tenant_id_document_id_n"),
    )
    op.create_table(
        "chunk_vectors",
        id_column("tenant_id"),
        id_column("chunk_id"),
        sa.Column("model", sa.String(255), nullable=False),
        id_column("document_id"),
        sa.Column("embedding", HalfVector(), nullable=False),
        *of_chunk("chunk_vectors"),
        sa.PrimaryKeyConstraint("tenant_id", "chunk_id", "model", name="pk_chunk_vectors"),
    )
    op.create_table(
        "chunk_terms",
        id_column("tenant_id"),
        id_column("chunk_id"),
        id_column("document_id"),
        sa.Column("terms", SparseVector(TERM_PLACES), nullable=False),
        *of_chunk("chunk_terms"),
        sa.PrimaryKeyConstraint("tenant_id", "chunk_id", name="pk_chunk_terms"),
    )
    for table in ("chunk_vectors", "chunk_terms"):
        op.create_index(f"ix_{table}_tenant_id_document_id", table, ["tenant_id", "document_id"])


def create_totals() -> None:
    op.create_table(
        "term_frequencies",
        id_column("tenant_id"),
        sa.Column("term", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("chunks", sa.Integer(), nullable=False),
        tenant_key("term_frequencies"),
        sa.PrimaryKeyConstraint("tenant_id", "term", name="pk_term_frequencies"),
    )
    op.create_table(
        "document_totals",
        id_column("tenant_id"),
        count("documents"),
        count("bytes", sa.BigInteger()),
        count("chunks"),
        count("current_chunks"),
        sa.Column("ingestion_seconds", sa.Float(), server_default="0", nullable=False),
        sa.Column("ingestion_month", sa.Date()),
        sa.Column("served_at", sa.DateTime(timezone=True)),
        sa.Column("embedding_model", sa.String(255)),
        tenant_key("document_totals"),
        sa.PrimaryKeyConstraint("tenant_id", name="pk_document_totals"),
    )


def upgrade() -> None:
    op.execute(EXTENSION)
    create_documents()
    create_chunks()
    create_totals()
    for column in ("documents", "citations"):
        op.add_column("messages", sa.Column(column, JSONB(none_as_null=True)))
    op.execute("GRANT UPDATE (citations) ON messages TO llm_saas_app")
    for table in TABLES:
        isolate(table)
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO llm_saas_app")
    op.execute(TEXT_TERMS)
    grant_to_runtime(["text_terms(text)"])
    schema = quoted_schema()
    for statement in DEFINER.split(";"):
        op.execute(statement)
    for function in (SEES_ALL, CLAIM, REMOVABLE):
        op.execute(function.format(schema=schema, unfinished=UNFINISHED, to_remove=TO_REMOVE))
    hand_to_definer(schema, FUNCTIONS)
    op.execute(READER)
    for table in ("document_contents", "document_chunks", "chunk_vectors", "chunk_terms"):
        op.execute(OF_A_READERS_DOCUMENT.format(table=table))


def downgrade() -> None:
    """The documents go. The extension stays: it may be somebody else's too."""
    for column in ("citations", "documents"):
        op.drop_column("messages", column)
    for table in reversed(TABLES):
        op.drop_table(table)
    for function in (*FUNCTIONS, "text_terms(text)"):
        op.execute(f"DROP FUNCTION {function}")
