"""What a statement reads: its plan, with the rights of the service, in a tenant."""

import json
from typing import Any

import asyncpg
from sqlalchemy.dialects.postgresql.asyncpg import dialect


async def explained(
    connection: asyncpg.Connection,
    tenant_id: str,
    statement: Any,
    values: dict[str, Any],
    *,
    generic: bool = False,
    first: Any = None,
    viewer: str = "*",
    verbose: bool = False,
) -> dict[str, Any]:
    """The plan as it was executed, planned for these values (or for any); what it did is rolled back.

    `first` is what the service executes before it in the transaction; `viewer` a user who sees its own alone.
    `verbose`: with what each node puts out.
    """
    mode = "force_generic_plan" if generic else "force_custom_plan"
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(
            f"SELECT set_config('app.tenant_id', '{tenant_id}', true), set_config('app.viewer', '{viewer}', true)"
        )
        await connection.execute(f"SET LOCAL ROLE llm_saas_app; SET LOCAL plan_cache_mode = {mode}")
        await connection.execute("SET LOCAL enable_bitmapscan = off; SET LOCAL enable_seqscan = off")
        if first is not None:
            assert await _fetch(connection, first, values)
        sql, arguments = _compiled(statement, values)
        await connection.execute(f"PREPARE explained AS {sql}")
        literals = f"({', '.join(map(_literal, arguments))})" if arguments else ""
        shown = await connection.fetchval(
            f"EXPLAIN (ANALYZE, VERBOSE {verbose}, FORMAT JSON) EXECUTE explained{literals}"
        )
    finally:
        await transaction.rollback()
        await connection.execute("DEALLOCATE explained")
    plan: dict[str, Any] = json.loads(shown)[0]["Plan"]
    return plan


def _literal(argument: Any) -> str:
    if argument is None:
        return "NULL"
    if isinstance(argument, list):
        return "'{" + ",".join(argument) + "}'"
    return "'" + str(argument).replace("'", "''") + "'"


async def _fetch(connection: asyncpg.Connection, statement: Any, values: dict[str, Any]) -> list[asyncpg.Record]:
    sql, arguments = _compiled(statement, values)
    return await connection.fetch(sql, *arguments)


def _compiled(statement: Any, values: dict[str, Any]) -> tuple[str, list[Any]]:
    compiled = statement.compile(dialect=dialect())
    values = {**compiled.params, **values}
    return compiled.string, [values[name] for name in compiled.positiontup]


def rows_read(plan: dict[str, Any]) -> float:
    """What the scans of a plan looked at."""
    below = sum(rows_read(child) for child in plan.get("Plans", ()))
    if "Relation Name" not in plan or plan["Node Type"] == "ModifyTable":
        return below
    return below + (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"]


def work(plan: dict[str, Any]) -> float:
    """The rows that the nodes of a plan took in their hands, those that a join compared and dropped included."""
    below = sum(work(child) for child in plan.get("Plans", ()))
    dropped = plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Join Filter", 0)
    return below + (plan["Actual Rows"] + dropped) * plan["Actual Loops"]


def shown(plan: dict[str, Any], depth: int = 0) -> str:
    """A line for each node: what it is, what it reads, and how many rows."""
    fields = ("Node Type", "Subplan Name", "Relation Name", "Index Name", "Index Cond", "Filter", "Sort Key")
    counts = f"planned {plan['Plan Rows']}, was {plan['Actual Rows']} x {plan['Actual Loops']}"
    line = f"{'  ' * depth}{' | '.join(str(plan[name]) for name in fields if name in plan)} | {counts}"
    return "\n".join([line, *(shown(child, depth + 1) for child in plan.get("Plans", ()))])
