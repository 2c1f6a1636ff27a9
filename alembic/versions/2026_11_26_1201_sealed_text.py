"""Texts of tenants may be sealed: which tenants have a key for it, and no words are made of what is sealed.

Revision ID: 0048
Revises: 0047
"""

import sqlalchemy as sa

from alembic import op
from app.db.migration import hand_to_definer, isolate, quoted_schema, tenant_key, timestamps

revision: str = "0048"
down_revision: str | None = "0047"
branch_labels = None
depends_on = None

# As `app/core/credentials/text_key.py` has it.
MARK = r"E'\x1asealed.'"
# At a start: which master keys are needed, and whose files have to be there. And for the rotation.
IN_USE = """
CREATE FUNCTION text_keys_in_use() RETURNS TABLE (tenant_id text, master text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
  SELECT k.tenant_id::text, k.master::text FROM {schema}.text_keys k
    JOIN {schema}.tenants ON tenants.id = k.tenant_id AND tenants.erasing_at IS NULL
  ORDER BY k.tenant_id
$$
"""
# Whether the transaction's tenant is erased for good. What a move left behind is not: the tenant lives on elsewhere.
ERASED = """
CREATE FUNCTION is_erased_for_good() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
  SELECT EXISTS (
    SELECT FROM {schema}.erased_tenants e JOIN {schema}.tenants t ON t.id = e.id
    WHERE e.id = {schema}.app_tenant() AND COALESCE(t.moving, '') NOT IN ('frozen', 'arriving'))
$$
"""
FUNCTIONS = ("text_keys_in_use()", "is_erased_for_good()")
SEARCH_WORDS = """
CREATE OR REPLACE FUNCTION search_words(content text, response text) RETURNS tsvector
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
  SELECT {sealed}to_tsvector('pg_catalog.simple'::regconfig, regexp_replace(
    CASE WHEN octet_length($1) = length($1) AND octet_length($2) = length($2)
      THEN left($1, 60000) || ' ' || left($2, 60000)
      ELSE normalize(left($1, 60000) || ' ' || left($2, 60000), NFC) END,
    '[!-/:-@[-`{{-~]+', ' ', 'g')){end}
$$
"""
TEXT_TERMS = """
CREATE OR REPLACE FUNCTION text_terms(content text) RETURNS TABLE (place int, n int)
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT 1 + ('x' || substr(md5(word.lexeme), 1, 5))::bit(20)::int, sum(cardinality(word.positions))::int
  FROM unnest(to_tsvector('pg_catalog.english'::regconfig, content)) AS word{unsealed} GROUP BY 1
$$
"""


def _words(*, sealed: bool) -> None:
    begins = f"starts_with($1, {MARK}) OR starts_with($2, {MARK})"
    case, end = (f"CASE WHEN {begins} THEN ''::tsvector ELSE ", " END") if sealed else ("", "")
    op.execute(SEARCH_WORDS.format(sealed=case, end=end))
    unsealed = f" WHERE strpos(content, {MARK}) = 0" if sealed else ""
    op.execute(TEXT_TERMS.format(unsealed=unsealed))


def upgrade() -> None:
    schema = quoted_schema()
    op.create_table(
        "text_keys",
        sa.Column("tenant_id", sa.String(36), nullable=False),
        sa.Column("master", sa.String(16), nullable=False),
        *timestamps(),
        tenant_key("text_keys"),
        sa.PrimaryKeyConstraint("tenant_id", name="pk_text_keys"),
    )
    isolate("text_keys")
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON text_keys TO llm_saas_app")
    # What was stored before is sealed by a command, in the tenant.
    op.execute("GRANT UPDATE (webhook_url) ON messages TO llm_saas_app")
    op.execute("GRANT SELECT (tenant_id, master) ON text_keys TO llm_saas_definer")
    op.execute("CREATE POLICY definer_read ON text_keys FOR SELECT TO llm_saas_definer USING (true)")
    for function in (IN_USE, ERASED):
        op.execute(function.format(schema=schema))
    hand_to_definer(schema, FUNCTIONS)
    _words(sealed=True)


def downgrade() -> None:
    """What is sealed stays so, and the code before this shows it as it is stored."""
    _words(sealed=False)
    for function in FUNCTIONS:
        op.execute(f"DROP FUNCTION {function}")
    op.execute("REVOKE UPDATE (webhook_url) ON messages FROM llm_saas_app")
    op.drop_table("text_keys")
