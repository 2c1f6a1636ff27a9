"""Large tenants may have indexes of their own, of their vectors and of their words.

Revision ID: 0035
Revises: 0034
"""

import sqlalchemy as sa

from alembic import op
from app.db.migration import grant_to_runtime, hand_to_definer, quoted_schema
from app.db.roles import DEFINER_ROLE, RUNTIME_ROLE

revision: str = "0035"
down_revision: str | None = "0034"
branch_labels = None
depends_on = None

# Which terms stand in a chunk: what an index of words is of. Dear, so that no plan counts it again for every row.
TERM_PLACES = """
CREATE FUNCTION term_places(terms sparsevec) RETURNS int[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE COST 1000 SET search_path = pg_catalog, pg_temp
AS $$
  SELECT string_to_array(regexp_replace(btrim(split_part($1::text, '/', 1), '{{}}'), ':[^,]*', '', 'g'), ',')::int[]
$$
"""
# The chunks of the transaction's tenant that have one of these terms, and what each is worth to a question. SECURITY
# DEFINER: `&&` is not leakproof, so under row-level security no index of words would serve. Whose documents they are of
# is asked by the caller. Planned for the tenant at hand: its index is one of many, whose conditions name one each. They
# name it so that no other index serves: statistics older than a tenant would have all of its chunks read.
CHUNKS_BY_WORDS = """
CREATE FUNCTION chunks_by_words(places int[], asked sparsevec)
RETURNS TABLE (chunk_id text, document_id text, words double precision) ROWS 1000
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
  SET plan_cache_mode = force_custom_plan SET enable_bitmapscan = on
AS $$
DECLARE tenant text := {schema}.app_tenant();
BEGIN
  RETURN QUERY
    SELECT t.chunk_id::text, t.document_id::text, -(t.terms OPERATOR({vectors}.<#>) asked)
    FROM {schema}.chunk_terms t
    WHERE t.tenant_id || '' = tenant AND {schema}.term_places(t.terms) && places;
END $$
"""
# For the database's owner: who has at least so many chunks, and what its vectors in use are. The largest first.
TENANTS_BY_CHUNKS = """
CREATE FUNCTION tenants_by_chunks(fewest integer)
RETURNS TABLE (tenant_id text, model text, dimensions integer, chunks integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
  SELECT totals.tenant_id::text, totals.embedding_model::text, one.dimensions, totals.current_chunks
  FROM {schema}.document_totals totals
    JOIN {schema}.tenants ON tenants.id = totals.tenant_id AND tenants.erasing_at IS NULL
    CROSS JOIN LATERAL (
      SELECT {vectors}.vector_dims(v.embedding) AS dimensions FROM {schema}.chunk_vectors v
      WHERE v.tenant_id = totals.tenant_id AND v.model = totals.embedding_model LIMIT 1) AS one
  WHERE totals.current_chunks >= $1
  ORDER BY totals.current_chunks DESC, totals.tenant_id
$$
"""
GRANTS = """
GRANT SELECT ON chunk_terms TO llm_saas_definer;
GRANT SELECT (tenant_id, model, embedding) ON chunk_vectors TO llm_saas_definer;
GRANT SELECT (current_chunks) ON document_totals TO llm_saas_definer;
CREATE POLICY search ON chunk_terms FOR SELECT TO llm_saas_definer USING (true);
CREATE POLICY measure ON chunk_vectors FOR SELECT TO llm_saas_definer USING (true)
"""
EXTENSION_SCHEMA = sa.text(
    "SELECT quote_ident(nspname) FROM pg_extension JOIN pg_namespace ON"
    " pg_namespace.oid = extnamespace WHERE extname = 'vector'"
)
OF_THE_OPERATOR = "tenants_by_chunks(integer)"
FUNCTIONS = {"chunks_by_words(int[], sparsevec)": CHUNKS_BY_WORDS, OF_THE_OPERATOR: TENANTS_BY_CHUNKS}
# What the owner's command has made (app/documents/indexes.py).
DROP_INDEXES = """
DO $$ DECLARE name text; BEGIN
  FOR name IN SELECT i.indexrelid::regclass FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid IN ('chunk_terms'::regclass, 'chunk_vectors'::regclass)
      AND c.relname ~ '^(near|words)_[0-9a-f-]{36}'
  LOOP EXECUTE 'DROP INDEX ' || name; END LOOP;
END $$
"""


def upgrade() -> None:
    schema, vectors = quoted_schema(), op.get_bind().scalar(EXTENSION_SCHEMA)
    op.execute(TERM_PLACES.format())
    grant_to_runtime(["term_places(sparsevec)"])
    op.execute("GRANT EXECUTE ON FUNCTION term_places(sparsevec) TO llm_saas_definer")
    for statement in GRANTS.split(";"):
        op.execute(statement)
    for function in FUNCTIONS.values():
        op.execute(function.format(schema=schema, vectors=vectors))
    hand_to_definer(schema, FUNCTIONS)
    op.execute(f"SET LOCAL ROLE {DEFINER_ROLE}")
    op.execute(f"REVOKE ALL ON FUNCTION {OF_THE_OPERATOR} FROM {RUNTIME_ROLE}")
    op.execute("RESET ROLE")


def downgrade() -> None:
    """The indexes of large tenants go: those of words are of a function that goes."""
    op.execute(DROP_INDEXES)
    for function in FUNCTIONS:
        op.execute(f"DROP FUNCTION {function}")
    op.execute("DROP POLICY search ON chunk_terms")
    op.execute("DROP POLICY measure ON chunk_vectors")
    op.execute("REVOKE SELECT ON chunk_terms FROM llm_saas_definer")
    op.execute("REVOKE SELECT (tenant_id, model, embedding) ON chunk_vectors FROM llm_saas_definer")
    op.execute("REVOKE SELECT (current_chunks) ON document_totals FROM llm_saas_definer")
    op.execute("DROP FUNCTION term_places(sparsevec)")
