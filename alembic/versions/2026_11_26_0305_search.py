"""Search: the words of a message beside it, and blocks of a tenant's messages with the words that stand in them.

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import TSVECTOR

from alembic import op
from app.db.migration import grant_to_runtime, hand_to_definer, isolate, quoted_schema, tenant_key

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels = None
depends_on = None

# What is between letters and digits is between words: `main.py` in a path is found, and no part is entered twice. Most
# text is ASCII, which needs no look at its form. The bounds keep a row's words below the megabyte that they may take.
WORDS = """
CREATE FUNCTION search_words(content text, response text) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
  SELECT to_tsvector('pg_catalog.simple'::regconfig, regexp_replace(
    CASE WHEN octet_length($1) = length($1) AND octet_length($2) = length($2)
      THEN left($1, 60000) || ' ' || left($2, 60000)
      ELSE normalize(left($1, 60000) || ' ' || left($2, 60000), NFC) END,
    '[!-/:-@[-`{-~]+', ' ', 'g'))
$$
"""

# The words of a tenant in the index of all blocks begin with this: a search reads its own tenant's entries alone, also
# one by the beginning of a word. Two tenants may share it; a block's tenant is asked besides.
SCOPE = """
CREATE FUNCTION search_scope(tenant_id text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT left(encode(decode(md5($1), 'hex'), 'base64'), 6) $$
"""

# `groups` is a list of alternatives, each a list of terms that all must hold. `exact` tells a message; `coarse` a
# block: it knows no order of words, and no word that must not be there.
QUERY = r"""
CREATE FUNCTION search_query(groups jsonb, scope text, OUT exact tsquery, OUT coarse tsquery) LANGUAGE plpgsql STABLE
AS $$
DECLARE terms jsonb; term record; part tsquery; words text; all_exact tsquery; all_coarse tsquery;
BEGIN
  FOR terms IN SELECT jsonb_array_elements(groups) LOOP
    all_exact := NULL;
    all_coarse := NULL;
    FOR term IN SELECT * FROM jsonb_to_recordset(terms) AS t (text text, excluded boolean, prefix boolean) LOOP
      part := phraseto_tsquery('pg_catalog.simple', regexp_replace(term.text, '[!-/:-@[-`{-~]+', ' ', 'g'));
      CONTINUE WHEN numnode(part) = 0;
      IF term.prefix THEN
        part := (part::text || ':*')::tsquery;
      END IF;
      IF term.excluded THEN
        all_exact := COALESCE(all_exact && !!part, !!part);
      ELSE
        words := regexp_replace(part::text, '<(-|\d+)>', '&', 'g');
        words := regexp_replace(words, '''([^'']+)''', '''' || scope || '\1''', 'g');
        all_exact := COALESCE(all_exact && part, part);
        all_coarse := COALESCE(all_coarse && words::tsquery, words::tsquery);
      END IF;
    END LOOP;
    CONTINUE WHEN all_coarse IS NULL;
    exact := COALESCE(exact || all_exact, all_exact);
    coarse := COALESCE(coarse || all_coarse, all_coarse);
  END LOOP;
END $$
"""

# The newest messages are read first: a common word is found there. Then, newest first, the blocks in which the words
# stand; a block is a stretch of the tenant's messages that ends with its newest. The work is bounded: the last row is
# then where it ended, `matches` being false. To the bound counts what a message's words take beyond a page, and a query
# of many words counts more. Messages that are in no block yet may be read further: that lasts until they are.
#
# Without `groups` it is a list whose filters no index has together: the same walk, within the same bound.
#
# SECURITY DEFINER: `@@` is not leakproof, so under row-level security no index of words would serve. Tenant and viewer
# are the transaction's: who sees its own messages alone has those walked, so that others' words are as absent ones.
# Sorting is off: each walk goes by an index that has its order, whatever the statistics say. A walk ends by a time: a
# bound of the pair beside one of the time ends no scan, which then reads to the tenant's oldest message.
SEARCH = """
CREATE FUNCTION search_messages(groups jsonb, of_user text, of_conversation text, of_status text, since timestamptz,
                                before_at timestamptz, before_id text, most integer)
RETURNS TABLE (id text, created_at timestamptz, matches boolean) ROWS 20
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
  SET enable_seqscan = off SET enable_sort = off SET enable_bitmapscan = on
AS $$
DECLARE
  tenant text := {schema}.app_tenant();
  viewer text := {schema}.app_viewer();
  at timestamptz := COALESCE(before_at, 'infinity');
  at_id text := COALESCE(before_id, '');
  low_at timestamptz := '-infinity';
  low_id text := '';
  first_at timestamptz;
  first_id text;
  left_to_find integer := most;
  work integer := 3000 + most;
  waiting integer := 200000;
  bytes bigint := 8388608;
  walked integer := 0;
  step integer;
  exact tsquery;
  coarse tsquery;
  along text;
  indexed boolean;
  walk refcursor;
  blocks refcursor;
  message record;
  block record;
BEGIN
  SELECT q.exact, q.coarse INTO exact, coarse FROM {schema}.search_query(groups, {schema}.search_scope(tenant)) q;
  -- Where nobody has entered, nothing is seen.
  IF (exact IS NULL AND groups IS NOT NULL) OR COALESCE(viewer, '') = ''
     OR viewer NOT IN ('*', COALESCE(of_user, viewer)) THEN
    RETURN;
  END IF;
  IF viewer <> '*' THEN
    of_user := viewer;
  END IF;
  -- What is walked: as few as an index can tell. What fails or is cancelled is less than what a user sends. Said
  -- twice: where one value fills the table, statistics hold equality alone for no condition.
  along := CASE
    WHEN of_conversation IS NOT NULL THEN 'm.conversation_id = $3 AND m.conversation_id BETWEEN $3 AND $3'
    WHEN of_status <> 'completed' THEN format('m.status = %L', of_status)
    WHEN of_user IS NOT NULL THEN 'm.user_id = $2 AND m.user_id BETWEEN $2 AND $2'
    ELSE 'true' END;
  indexed := along = 'true' AND exact IS NOT NULL;
  step := 1 + COALESCE(numnode(exact), 0) / 10;
  SELECT b.newest_at, b.newest_id INTO first_at, first_id FROM {schema}.search_blocks b
    WHERE b.tenant_id = tenant ORDER BY b.newest_at DESC, b.newest_id DESC LIMIT 1;
  LOOP
    IF along = 'true' THEN
      OPEN walk FOR SELECT m.id, m.created_at, pg_column_size(m.words) AS size,
          (of_status IS NULL OR m.status = of_status) AND (exact IS NULL OR m.words @@ exact) AS hit
        FROM {schema}.messages m
        WHERE m.tenant_id = tenant
          AND (m.created_at, m.id) < (at, at_id) AND m.created_at >= GREATEST(low_at, since)
        ORDER BY m.created_at DESC, m.id DESC;
    ELSE
      OPEN walk FOR EXECUTE 'SELECT m.id, m.created_at, pg_column_size(m.words) AS size,
          ($2 IS NULL OR m.user_id = $2) AND ($4 IS NULL OR m.status = $4) AND ($5 IS NULL OR m.words @@ $5) AS hit
        FROM {schema}.messages m
        WHERE m.tenant_id = $1 AND ' || along || '
          AND (m.created_at, m.id) < ($6, $7) AND m.created_at >= COALESCE($8, ''-infinity'')
        ORDER BY m.created_at DESC, m.id DESC'
        USING tenant, of_user, of_conversation, of_status, exact, at, at_id, since;
    END IF;
    LOOP
      FETCH walk INTO message;
      EXIT WHEN NOT FOUND OR (message.created_at, message.id) <= (low_at, low_id);
      at := message.created_at;
      at_id := message.id;
      IF message.hit THEN
        id := at_id;
        created_at := at;
        matches := true;
        RETURN NEXT;
        left_to_find := left_to_find - 1;
        IF left_to_find = 0 THEN
          RETURN;
        END IF;
      END IF;
      IF indexed AND (first_at IS NULL OR (at, at_id) > (first_at, first_id)) THEN
        waiting := waiting - step;
      ELSE
        work := work - step;
      END IF;
      bytes := bytes - GREATEST(COALESCE(message.size, 0) - 8192, 0);
      IF work <= 0 OR waiting <= 0 OR bytes <= 0 THEN
        id := at_id;
        created_at := at;
        matches := false;
        RETURN NEXT;
        RETURN;
      END IF;
      walked := walked + 1;
      EXIT WHEN indexed AND blocks IS NULL AND walked >= 256 AND (at, at_id) <= (first_at, first_id);
    END LOOP;
    -- To the beginning of what it may walk: nothing is left.
    IF NOT indexed OR (blocks IS NULL AND NOT FOUND) THEN
      RETURN;
    END IF;
    CLOSE walk;
    IF blocks IS NULL THEN
      OPEN blocks FOR
        WITH candidates AS MATERIALIZED (
          SELECT b.tenant_id, b.newest_at, b.newest_id FROM {schema}.search_blocks b WHERE b.words @@ coarse
        ), unread AS MATERIALIZED (
          SELECT b.tenant_id, b.newest_at, b.newest_id FROM {schema}.search_blocks b
          WHERE b.tenant_id = tenant AND b.words IS NULL
        ), around AS MATERIALIZED (
          SELECT b.newest_at, b.newest_id FROM {schema}.search_blocks b
          WHERE b.tenant_id = tenant AND (b.newest_at, b.newest_id) >= (at, at_id)
          ORDER BY b.newest_at, b.newest_id LIMIT 1
        )
        SELECT c.newest_at, c.newest_id FROM (TABLE candidates UNION ALL TABLE unread) AS c
        WHERE c.tenant_id = tenant
          AND (c.newest_at, c.newest_id) <= (SELECT a.newest_at, a.newest_id FROM around a)
          AND c.newest_at >= COALESCE(since, '-infinity')
        ORDER BY c.newest_at DESC, c.newest_id DESC;
    END IF;
    FETCH blocks INTO block;
    EXIT WHEN NOT FOUND;
    IF (block.newest_at, block.newest_id) < (at, at_id) THEN
      at := block.newest_at;
      at_id := block.newest_id || '0';  -- the newest itself is read
    END IF;
    low_at := '-infinity';
    low_id := '';
    SELECT b.newest_at, b.newest_id INTO low_at, low_id FROM {schema}.search_blocks b
      WHERE b.tenant_id = tenant AND (b.newest_at, b.newest_id) < (block.newest_at, block.newest_id)
      ORDER BY b.newest_at DESC, b.newest_id DESC LIMIT 1;
    low_at := COALESCE(low_at, '-infinity');
    low_id := COALESCE(low_id, '');
  END LOOP;
END $$
"""

# Makes blocks of what the tenant's messages hold and no block has, oldest first; returns how many. A block ends before
# a message that still runs, and before what began in the last minute: a transaction may still add to it. Nobody changes
# a message's words meanwhile, see below.
INDEX = """
CREATE FUNCTION index_messages(most integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
DECLARE
  tenant text := {schema}.app_tenant();
  low record;
  high record;
  chunk record;
  made integer := 0;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('search ' || tenant, 0));
  FOR high IN
    SELECT b.newest_at, b.newest_id, true AS known FROM {schema}.search_blocks b
      WHERE b.tenant_id = tenant AND b.words IS NULL
    UNION ALL SELECT now() - interval '1 minute', '', false
    ORDER BY 1, 2
  LOOP
    LOOP
      EXIT WHEN made >= most;
      SELECT b.newest_at, b.newest_id INTO low FROM {schema}.search_blocks b
        WHERE b.tenant_id = tenant AND (NOT high.known OR (b.newest_at, b.newest_id) < (high.newest_at, high.newest_id))
        ORDER BY b.newest_at DESC, b.newest_id DESC LIMIT 1;
      WITH stretch AS MATERIALIZED (
        SELECT m.id, m.created_at, m.status, row_number() OVER oldest_first AS n,
          sum(octet_length(m.content) + octet_length(m.response)) OVER oldest_first AS bytes
        FROM (
          SELECT messages.id, messages.created_at, messages.status, messages.content, messages.response
          FROM {schema}.messages
          WHERE messages.tenant_id = tenant
            AND (messages.created_at, messages.id)
              > (COALESCE(low.newest_at, '-infinity'), COALESCE(low.newest_id, ''))
            AND messages.created_at <= high.newest_at
            AND (messages.created_at < high.newest_at OR messages.id <= high.newest_id)
          ORDER BY messages.created_at, messages.id LIMIT 128
        ) AS m
        WINDOW oldest_first AS (ORDER BY m.created_at, m.id)
      ), taken AS MATERIALIZED (
        SELECT * FROM stretch WHERE n = 1 OR bytes <= 262144
      )
      SELECT count(*) AS messages, count(*) = (SELECT count(*) FROM stretch) AS all_taken,
        COALESCE(bool_or(status = 'pending'), false) AS running, max(created_at) AS newest_at,
        (SELECT t.id FROM taken t ORDER BY t.created_at DESC, t.id DESC LIMIT 1) AS newest_id INTO chunk
      FROM taken;
      EXIT WHEN chunk.running OR (chunk.all_taken AND chunk.messages < 128 AND NOT high.known);
      IF chunk.all_taken AND chunk.messages < 128 THEN
        chunk.newest_at := high.newest_at;
        chunk.newest_id := high.newest_id;
      END IF;
      INSERT INTO {schema}.search_blocks AS b (tenant_id, newest_at, newest_id, words)
        SELECT tenant, chunk.newest_at, chunk.newest_id, array_to_tsvector(COALESCE(array_agg(DISTINCT
          {schema}.search_scope(tenant) || w.lexeme), '{{}}'))
        FROM {schema}.messages m, unnest(tsvector_to_array(m.words)) AS w (lexeme)
        WHERE m.tenant_id = tenant
          AND m.created_at >= COALESCE(low.newest_at, '-infinity') AND m.created_at <= chunk.newest_at
          AND (low.newest_at IS NULL OR m.created_at > low.newest_at OR m.id > low.newest_id)
          AND (m.created_at < chunk.newest_at OR m.id <= chunk.newest_id)
      ON CONFLICT ON CONSTRAINT pk_search_blocks DO UPDATE SET words = excluded.words;
      made := made + 1;
      EXIT WHEN high.known AND (chunk.newest_at, chunk.newest_id) = (high.newest_at, high.newest_id);
    END LOOP;
  END LOOP;
  RETURN made;
END $$
"""

# Tenants whose newest messages want a block.
BEHIND = """
CREATE FUNCTION tenants_to_index() RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
  SELECT t.id FROM {schema}.tenants t
  WHERE t.erasing_at IS NULL AND EXISTS (
    SELECT FROM {schema}.messages m
    WHERE m.tenant_id = t.id AND m.created_at > COALESCE((
      SELECT b.newest_at FROM {schema}.search_blocks b
      WHERE b.tenant_id = t.id ORDER BY b.newest_at DESC, b.newest_id DESC LIMIT 1), '-infinity')
    ORDER BY m.created_at DESC, m.id DESC OFFSET 255
  )
$$
"""

# The words of a message that was in a block have changed or gone: the block's are made anew. The lock is shared by all
# who do this, and not with `index_messages`, which would not see what is not committed. Whoever works on all tenants at
# once, and is therefore in none, takes none: there are only so many.
CHANGED = """
CREATE FUNCTION forget_block() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
DECLARE
  message record := COALESCE(OLD, NEW);
  around record;
BEGIN
  IF message.tenant_id = {schema}.app_tenant() THEN
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('search ' || message.tenant_id, 0));
  END IF;
  SELECT b.newest_at, b.newest_id INTO around FROM {schema}.search_blocks b
    WHERE b.tenant_id = message.tenant_id AND (b.newest_at, b.newest_id) >= (message.created_at, message.id)
    ORDER BY b.newest_at, b.newest_id LIMIT 1;
  IF FOUND THEN
    UPDATE {schema}.search_blocks b SET words = NULL
      WHERE b.tenant_id = message.tenant_id AND b.newest_at = around.newest_at AND b.newest_id = around.newest_id
        AND b.words IS NOT NULL;
  END IF;
  RETURN NULL;
END $$
"""
# A message is pending before it ends, and no block holds one that is.
TRIGGERS = (
    """CREATE TRIGGER words_added AFTER INSERT ON messages
       FOR EACH ROW WHEN (NEW.status <> 'pending') EXECUTE FUNCTION forget_block()""",
    """CREATE TRIGGER words_changed AFTER UPDATE OF status, content, response ON messages
       FOR EACH ROW WHEN (OLD.status <> 'pending') EXECUTE FUNCTION forget_block()""",
    """CREATE TRIGGER words_gone AFTER DELETE ON messages
       FOR EACH ROW WHEN (OLD.status <> 'pending') EXECUTE FUNCTION forget_block()""",
)
FUNCTIONS = {
    "search_words(text, text)": WORDS,
    "search_scope(text)": SCOPE,
    "search_query(jsonb, text)": QUERY,
}
DEFINER_FUNCTIONS = {
    "search_messages(jsonb, text, text, text, timestamptz, timestamptz, text, integer)": SEARCH,
    "index_messages(integer)": INDEX,
    "tenants_to_index()": BEHIND,
    "forget_block()": CHANGED,
}
OLD_SEARCH = """
CREATE FUNCTION search_messages(query text) RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
  SELECT m.id::text FROM {schema}.messages m
  WHERE m.tenant_id = {schema}.app_tenant() AND m.status <> 'pending'
    AND to_tsvector('simple', left(m.content, 60000) || ' ' || left(m.response, 60000))
        @@ websearch_to_tsquery('simple', $1)
$$
"""


GRANTS = """
GRANT EXECUTE ON FUNCTION search_scope(text), search_query(jsonb, text), app_viewer() TO llm_saas_definer;
GRANT SELECT (user_id, conversation_id, created_at, words) ON messages TO llm_saas_definer;
GRANT SELECT, INSERT, UPDATE ON search_blocks TO llm_saas_definer
"""


def upgrade() -> None:
    schema = quoted_schema()
    op.execute("DROP FUNCTION search_messages(text)")
    op.drop_index("ix_messages_search", "messages")
    for function in FUNCTIONS.values():
        op.execute(function)
    grant_to_runtime(FUNCTIONS)
    op.execute(
        "ALTER TABLE messages ADD COLUMN words tsvector GENERATED ALWAYS AS"
        " (CASE WHEN status = 'pending' THEN NULL ELSE search_words(content, response) END) STORED"
    )
    create_blocks()
    for grant in GRANTS.split(";"):
        op.execute(grant)
    for function in DEFINER_FUNCTIONS.values():
        op.execute(function.format(schema=schema))
    for trigger in TRIGGERS:
        op.execute(trigger)
    hand_to_definer(schema, DEFINER_FUNCTIONS)


def create_blocks() -> None:
    op.create_table(
        "search_blocks",
        sa.Column("tenant_id", sa.String(36), nullable=False),
        sa.Column("newest_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("newest_id", sa.String(36), nullable=False),
        sa.Column("words", TSVECTOR()),
        sa.PrimaryKeyConstraint("tenant_id", "newest_at", "newest_id", name="pk_search_blocks"),
        tenant_key("search_blocks"),
    )
    # Entered at once: a list of pending entries would be read by every search.
    op.create_index(
        "ix_search_blocks_words",
        "search_blocks",
        ["words"],
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
    )
    op.create_index(
        "ix_search_blocks_tenant_id", "search_blocks", ["tenant_id"], postgresql_where=sa.text("words IS NULL")
    )
    isolate("search_blocks")
    op.execute("CREATE POLICY search ON search_blocks TO llm_saas_definer USING (true) WITH CHECK (true)")
    op.execute("CREATE POLICY search ON tenants FOR SELECT TO llm_saas_definer USING (true)")


def downgrade() -> None:
    """Drop what this revision made."""
    schema = quoted_schema()
    for trigger in ("words_added", "words_changed", "words_gone"):
        op.execute(f"DROP TRIGGER {trigger} ON messages")
    for function in DEFINER_FUNCTIONS:
        op.execute(f"DROP FUNCTION {function}")
    op.execute("DROP POLICY search ON tenants")
    op.drop_table("search_blocks")
    op.drop_column("messages", "words")
    for function in reversed(list(FUNCTIONS)):
        op.execute(f"DROP FUNCTION {function}")
    op.execute("REVOKE EXECUTE ON FUNCTION app_viewer() FROM llm_saas_definer")
    op.execute("REVOKE SELECT (user_id, conversation_id, created_at) ON messages FROM llm_saas_definer")
    op.execute(
        "CREATE INDEX ix_messages_search ON messages USING gin (to_tsvector('simple',"
        " left(content, 60000) || ' ' || left(response, 60000))) WHERE status <> 'pending'"
    )
    op.execute(OLD_SEARCH.format(schema=schema))
    hand_to_definer(schema, ("search_messages(text)",))
