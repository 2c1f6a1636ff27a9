"""What the database itself says about its protection. A new table without it fails here.

The rules are those that `verify-isolation` holds a deployment to.
"""

import re

import asyncpg
import pytest

from app.verification.catalog import CHECKS, LOGIN, Check
from app.verification.functions import DEFINER_FUNCTIONS, OPERATOR_FUNCTIONS

FORCED, POLICIES, NARROWED, ACROSS, ROLES, RIGHTS, HISTORY, FUNCTIONS, VIEWS, PARENTS = CHECKS
# What breaks a rule, and a part of what must be said then.
SABOTAGE = [
    (FORCED, "ALTER TABLE invites DISABLE ROW LEVEL SECURITY", "invites: it is off"),
    (FORCED, "ALTER TABLE messages NO FORCE ROW LEVEL SECURITY", "messages: it is not forced"),
    (FORCED, "CREATE TABLE shelves (id text, tenant_id text)", "shelves: it is off"),
    (FORCED, "ALTER TABLE messages RENAME TO letters", "messages: there is no such table"),
    (POLICIES, "DROP POLICY tenant_isolation ON documents", "documents: no policy"),
    (POLICIES, "ALTER POLICY tenant_isolation ON users USING (true)", "using true"),
    (POLICIES, "ALTER POLICY tenant_isolation ON users USING (tenant_id = app_tenant() OR true)", "users: "),
    (POLICIES, "CREATE POLICY more ON messages FOR SELECT TO PUBLIC USING (true)", "more for SELECT to {public}"),
    (NARROWED, "DROP POLICY viewer ON messages", "messages: no restrictive policy viewer"),
    (NARROWED, "ALTER POLICY reader ON chunk_vectors USING (true)", "chunk_vectors: "),
    (ACROSS, "GRANT SELECT (id) ON directory_tenants TO llm_saas_app", "directory_tenants: the runtime has rights"),
    (ACROSS, "CREATE POLICY more ON directory_claims USING (true)", "directory_claims: policy more"),
    (ROLES, "ALTER ROLE llm_saas_app BYPASSRLS", "llm_saas_app: BYPASSRLS"),
    (ROLES, "ALTER ROLE llm_saas_definer LOGIN", "llm_saas_definer: LOGIN"),
    (ROLES, "GRANT pg_read_all_data TO llm_saas_app", "llm_saas_app is a member of pg_read_all_data"),
    (ROLES, "ALTER TABLE shelf OWNER TO llm_saas_app", "owns shelf"),
    (RIGHTS, "GRANT TRUNCATE ON messages TO llm_saas_app", "messages: llm_saas_app may TRUNCATE"),
    (RIGHTS, "GRANT SELECT ON users TO PUBLIC", "users: PUBLIC may SELECT"),
    (RIGHTS, "GRANT EXECUTE ON FUNCTION app_tenant() TO PUBLIC", "app_tenant(): PUBLIC"),
    (RIGHTS, "GRANT CREATE ON SCHEMA public TO PUBLIC", "make things in schema public"),
    (HISTORY, "GRANT DELETE ON audit_log TO llm_saas_app", "may DELETE"),
    (HISTORY, "GRANT SELECT ON users TO llm_saas_app", "users.hashed_password"),
    (FUNCTIONS, "CREATE FUNCTION peek() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'", "peek(): nobody"),
    (FUNCTIONS, "ALTER FUNCTION auth_lookup(text) RESET search_path", "auth_lookup(): without its search_path"),
    (FUNCTIONS, "ALTER FUNCTION auth_lookup(text) OWNER TO CURRENT_USER", "auth_lookup(): owned by"),
    (FUNCTIONS, "GRANT EXECUTE ON FUNCTION set_tenant_ceiling TO llm_saas_app", "set_tenant_ceiling(): callable by"),
    (VIEWS, "CREATE VIEW all_messages AS SELECT * FROM messages", "a view without security_invoker"),
    (
        VIEWS,
        "CREATE MATERIALIZED VIEW copies AS SELECT 1; GRANT SELECT ON copies TO llm_saas_app",
        "copies: rows out",
    ),
    (
        PARENTS,
        "ALTER TABLE invites ADD CONSTRAINT parent FOREIGN KEY (id) REFERENCES tenants (id) NOT VALID",
        "invites: parent",
    ),
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.rule)
async def test_the_database_keeps_the_rule(superuser: asyncpg.Connection, check: Check) -> None:
    assert [problem for (problem,) in await superuser.fetch(check.sql)] == []


@pytest.mark.parametrize(("check", "sabotage", "said"), SABOTAGE, ids=[said for _, _, said in SABOTAGE])
async def test_what_breaks_a_rule_is_named(
    superuser: asyncpg.Connection, check: Check, sabotage: str, said: str
) -> None:
    transaction = superuser.transaction()
    await transaction.start()
    try:
        await superuser.execute("CREATE TABLE shelf (id text)")
        await superuser.execute(sabotage)
        found = [problem for (problem,) in await superuser.fetch(check.sql)]
    finally:
        await transaction.rollback()
    assert any(said in problem for problem in found), found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("ALTER ROLE some_login SUPERUSER", ["a superuser", "has the rights of", "may become llm_saas_definer"]),
        ("ALTER ROLE some_login BYPASSRLS", ["BYPASSRLS"]),
        ("GRANT some_owner TO some_login; ALTER TABLE invites OWNER TO some_owner", ["has the rights of some_owner"]),
        ("GRANT llm_saas_definer TO some_login", ["may become llm_saas_definer"]),
        ("GRANT llm_saas_app TO some_login", []),
    ],
)
async def test_a_login_that_could_get_around_the_rules_is_named(
    superuser: asyncpg.Connection, change: str, said: list[str]
) -> None:
    transaction = superuser.transaction()
    await transaction.start()
    try:
        await superuser.execute("CREATE ROLE some_login LOGIN; CREATE ROLE some_owner")
        await superuser.execute(change)
        await superuser.execute("SET LOCAL SESSION AUTHORIZATION some_login")
        found = [problem for (problem,) in await superuser.fetch(LOGIN.sql)]
    finally:
        await transaction.rollback()
    assert len(found) == len(said)
    for words in said:
        assert any(words in problem for problem in found), found


async def test_the_definer_functions_are_all_there(superuser: asyncpg.Connection) -> None:
    """One that has gone would otherwise stay in the list for ever."""
    found = await superuser.fetch(
        "SELECT proname FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace"
    )
    assert {name for (name,) in found} == DEFINER_FUNCTIONS | OPERATOR_FUNCTIONS


async def test_no_function_of_the_runtime_finds_a_table_by_its_bare_name(superuser: asyncpg.Connection) -> None:
    """A temporary table of that name would be found first."""
    tables = await superuser.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    functions = await superuser.fetch(
        "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND NOT prosecdef"
    )
    bare = re.compile(r"(?<![.\w])(?:FROM|JOIN|INTO|UPDATE)\s+(" + "|".join(name for (name,) in tables) + r")\b")
    assert {"enter_tenant", "enter_tenant_by_key", "renew_leases", "write_deltas"} <= {
        row["proname"] for row in functions
    }
    for row in functions:
        assert not bare.search(row["prosrc"]), row["proname"]
        assert "row_security_active('messages'" not in row["prosrc"]


async def test_whatever_belongs_to_a_user_is_found_by_an_index(superuser: asyncpg.Connection) -> None:
    """Deleting a user looks into each of these tables: without one it would read the rows of the whole tenant."""
    rows = await superuser.fetch(
        "SELECT conrelid::regclass::text AS child, EXISTS ("
        "  SELECT FROM pg_index WHERE indrelid = conrelid AND indpred IS NULL AND indisvalid AND ARRAY("
        "    SELECT attname::text FROM unnest(indkey[0:1]) WITH ORDINALITY AS led (attnum, place)"
        "    JOIN pg_attribute USING (attnum) WHERE attrelid = conrelid ORDER BY place) = '{tenant_id,user_id}'"
        ") AS indexed FROM pg_constraint WHERE contype = 'f' AND confrelid = 'users'::regclass"
    )
    assert {row["child"] for row in rows} >= {"messages", "conversations", "sessions", "api_keys", "invites", "budgets"}
    assert [row["child"] for row in rows if not row["indexed"]] == []
