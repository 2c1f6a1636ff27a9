"""What the database itself says about its protection. A new table without it fails here."""

import re

import asyncpg

DIRECTORY = {"region_identity", "directory_secret", "directory_tenants", "directory_claims"}
NOT_TENANT_DATA = {"alembic_version", "erased_tenants"} | DIRECTORY
DEFINER_FUNCTIONS = {
    "account_message",
    "add_up_usage",
    "abandoned_messages",
    "api_key_lookup",
    "auth_lookup",
    "charge_embedding",
    "begin_erasure",
    "chunks_by_words",
    "claim_abandoned_erasure",
    "claim_document",
    "claim_due_webhooks",
    "continue_erasure",
    "data_keys_to_rewrap",
    "delete_expired_credentials",
    "delete_expired_idempotency_keys",
    "directory_claim",
    "directory_doubtful",
    "directory_find",
    "directory_forget",
    "directory_reseal",
    "directory_secret",
    "directory_settle",
    "directory_tenant",
    "document_queue",
    "documents_to_remove",
    "email_taken",
    "erase_history",
    "finish_erasure",
    "forget_block",
    "forget_budget_alerts",
    "forget_contents",
    "identify_region",
    "index_messages",
    "master_keys_in_use",
    "message_queue",
    "next_queue_tag",
    "note_budget_threshold",
    "reopen_usage",
    "search_messages",
    "sees_all_documents",
    "session_lookup",
    "take_queued_messages",
    "tenants_to_index",
    "tenants_to_reembed",
    "tenants_with_old_messages",
    "tenant_name_taken",
    "webhooks_due",
}
# For the database's owner, on the command line.
OPERATOR_FUNCTIONS = {
    "erase_tenant_again",
    "region_is_listed",
    "set_tenant_ceiling",
    "tenants_after",
    "tenants_by_chunks",
}


async def test_every_table_forces_row_level_security(superuser: asyncpg.Connection) -> None:
    rows = await superuser.fetch(
        "SELECT relname, relrowsecurity, relforcerowsecurity FROM pg_class "
        "WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
    )
    tables = {row["relname"]: (row["relrowsecurity"], row["relforcerowsecurity"]) for row in rows}

    assert tables.keys() >= {"tenants", "users", "messages"}
    for name in tables.keys() - NOT_TENANT_DATA:
        assert tables[name] == (True, True), name


async def test_the_runtime_has_the_functions_of_the_directory_and_not_its_tables(superuser: asyncpg.Connection) -> None:
    for table in DIRECTORY:
        row = await superuser.fetchrow(
            "SELECT relrowsecurity AND relforcerowsecurity AS forced, relacl::text AS acl FROM pg_class"
            " WHERE oid = $1::regclass",
            table,
        )
        assert row["forced"]
        assert "llm_saas_app" not in row["acl"]
        policies = await superuser.fetch("SELECT roles FROM pg_policies WHERE tablename = $1", table)
        assert [policy["roles"] for policy in policies] == [["llm_saas_definer"]]


async def test_every_table_has_the_tenant_policy_for_reading_and_writing(superuser: asyncpg.Connection) -> None:
    tables = await superuser.fetch(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> ALL($1)", list(NOT_TENANT_DATA)
    )
    for (table,) in tables:
        policies = await superuser.fetch(
            "SELECT cmd, qual, with_check FROM pg_policies WHERE tablename = $1 AND permissive = 'PERMISSIVE'"
            " AND 'llm_saas_app' = ANY(roles)",
            table,
        )
        assert len(policies) == 1, table
        (policy,) = policies
        assert policy["cmd"] == "ALL"
        assert "app_tenant()" in policy["qual"]
        assert policy["with_check"] == policy["qual"]


async def test_what_users_write_is_narrowed_to_the_viewer(superuser: asyncpg.Connection) -> None:
    rows = await superuser.fetch(
        "SELECT tablename, cmd, roles, qual FROM pg_policies WHERE permissive = 'RESTRICTIVE' AND policyname = 'viewer'"
    )
    assert {(row["tablename"], row["cmd"]) for row in rows} == {
        ("messages", "ALL"),
        ("conversations", "ALL"),
        ("message_deltas", "SELECT"),
        ("message_contents", "SELECT"),
    }
    for row in rows:
        assert row["roles"] == ["llm_saas_app"]
        assert "app_viewer()" in row["qual"]


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


async def test_every_foreign_key_between_tenant_tables_carries_the_tenant(superuser: asyncpg.Connection) -> None:
    rows = await superuser.fetch(
        "SELECT conrelid::regclass::text AS child, confrelid::regclass::text AS parent, "
        "  ARRAY(SELECT attname FROM pg_attribute WHERE attrelid = conrelid AND attnum = ANY(conkey)) AS columns "
        "FROM pg_constraint WHERE contype = 'f'"
    )
    assert rows
    for row in rows:
        assert "tenant_id" in row["columns"], dict(row)


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


async def test_the_runtime_role_owns_nothing_and_bypasses_nothing(superuser: asyncpg.Connection) -> None:
    role = await superuser.fetchrow("SELECT * FROM pg_roles WHERE rolname = 'llm_saas_app'")
    assert not any(role[name] for name in ("rolsuper", "rolbypassrls", "rolcreaterole", "rolcreatedb", "rolcanlogin"))
    owned = await superuser.fetchval("SELECT count(*) FROM pg_class WHERE relowner = $1", role["oid"])
    assert owned == 0
    memberships = await superuser.fetchval("SELECT count(*) FROM pg_auth_members WHERE member = $1", role["oid"])
    assert memberships == 0


async def test_the_runtime_role_may_not_read_password_hashes(superuser: asyncpg.Connection) -> None:
    may = await superuser.fetchval("SELECT has_column_privilege('llm_saas_app', 'users', 'hashed_password', 'SELECT')")
    assert may is False


async def test_definer_functions_are_the_known_ones_and_pinned(superuser: asyncpg.Connection) -> None:
    rows = await superuser.fetch(
        "SELECT proname, proconfig, proacl, pg_get_userbyid(proowner) AS owner FROM pg_proc "
        "WHERE prosecdef AND pronamespace = 'public'::regnamespace"
    )
    assert {row["proname"] for row in rows} == DEFINER_FUNCTIONS | OPERATOR_FUNCTIONS
    for row in rows:
        assert row["owner"] == "llm_saas_definer"
        assert "search_path=pg_catalog, public, pg_temp" in row["proconfig"]
        grantees = {entry.split("=")[0] for entry in row["proacl"]}
        callers = set() if row["proname"] in OPERATOR_FUNCTIONS else {"llm_saas_app"}
        assert grantees == {"llm_saas_definer"} | callers  # "" would be PUBLIC


async def test_the_definer_role_cannot_log_in_nor_bypass(superuser: asyncpg.Connection) -> None:
    role = await superuser.fetchrow("SELECT * FROM pg_roles WHERE rolname = 'llm_saas_definer'")
    assert not any(role[name] for name in ("rolsuper", "rolbypassrls", "rolcanlogin", "rolcreaterole"))
    assert not await superuser.fetchval("SELECT pg_has_role('llm_saas_app', 'llm_saas_definer', 'MEMBER')")
