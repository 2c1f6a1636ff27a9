"""Deleting many rows some at a time: no transaction has more than a batch to do, whatever a tenant holds."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import structlog
from sqlalchemy import BigInteger, DateTime, String, TextClause, bindparam, text

from app.core.errors import DatabaseUnavailable
from app.db.execution import Connection
from app.db.failures import state_of
from app.db.session import TenantSession

BATCH_ROWS = 1000
TRANSACTION_ROLLBACK = "40"  # SQLSTATE class: deadlock, serialization failure
BEGINNING: dict[str, Any] = {"created_at": datetime(1, 1, 2, tzinfo=UTC), "id": ""}
# Statistics may be older than the rows, and a plan that is kept as old as the connection: a planner that expects one
# row takes any index. Without sorting, the one in the order of the batches is the only way to them; and without reading
# from end to end, a row's place is the cheapest way to it, whatever else is expected.
ALONG_THE_KEY = text("SELECT set_config('enable_sort', 'off', true), set_config('enable_seqscan', 'off', true)")
logger = structlog.get_logger()


def owned(table: str, owner: str, columns: str, *, further: str = "", then: str = "") -> TextClause:
    """SQL that locks the next `:rows` after (`created_at`, `id`) whose column `owner` is `:owner`, in that order.

    Until the transaction ends they stay at the `place` that it gives, before the `columns`, which begin with the two.
    `owner` is a range and leads the order: were it one value, the order would be another index's as well, along which
    the rows of the whole tenant lie. `further`: conditions; `then`: parts of the WITH that use what was `found`.
    """
    return text(f"""
WITH found AS (
  SELECT {table}.ctid AS place, {columns} FROM {table}
  WHERE {table}.tenant_id = :tenant_id AND {table}.{owner} >= :owner AND {table}.{owner} <= :owner
    AND ({table}.created_at, {table}.id) > (:created_at, :id){further}
  ORDER BY {table}.{owner} DESC, {table}.created_at, {table}.id LIMIT :rows FOR UPDATE
){then}
SELECT * FROM found ORDER BY created_at, id
""").bindparams(
        bindparam("created_at", type_=DateTime(timezone=True)),
        bindparam("id", type_=String),
        bindparam("rows", type_=BigInteger),
    )


async def until_done(db: TenantSession, step: Callable[[Connection], Awaitable[bool]]) -> None:
    """Take steps, each in a transaction of its own, until one answers that it was the last.

    The caller began it and may be gone by now: a transaction is its tenant's. What the database gave up for another
    one begins again.
    """
    done = False
    while not done:
        try:
            async with db.begin_unattended() as connection:
                done = await step(connection)
        except DatabaseUnavailable as error:
            if not was_rolled_back(error):
                raise
            logger.warning("deletion_repeated", tenant_id=db.principal.tenant_id, reason="rolled back by the database")


def was_rolled_back(error: DatabaseUnavailable) -> bool:
    """Whether the database gave the transaction up for another one, so that it may be repeated at once."""
    return error.__cause__ is not None and state_of(error.__cause__).startswith(TRANSACTION_ROLLBACK)
