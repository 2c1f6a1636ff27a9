"""Ends what a killed process left `pending`, once its lease is over, and forgets what has expired."""

import asyncio
from typing import Any

import structlog
from sqlalchemy import text

from app.core.supervision import Turns
from app.db import rls
from app.db.session import Database
from app.messages.statements import SETTLE_ABANDONED
from app.models.rows import MessageRow
from app.observability.instruments import LEASE_TAKEOVERS, MESSAGES_ENDED

# Across tenants, by SECURITY DEFINER functions that return ids and a count.
ABANDONED = text("SELECT tenant_id, id FROM abandoned_messages()")
DELETE_EXPIRED = text("SELECT delete_expired_idempotency_keys(), delete_expired_credentials()")
# Of each table, in a transaction.
EXPIRED_ROWS = 1000
UNUSED: dict[str, Any] = dict.fromkeys(
    ("model", "input_tokens", "cached_tokens", "output_tokens", "cost_micro_usd"), None
)
logger = structlog.get_logger()


async def sweep(database: Database) -> int:
    """End messages whose lease is over: `failed` (`interrupted`), or `cancelled` if that was asked; how many."""
    await _forget_expired(database)
    async with database.background(rls.ENTER_NO_TENANT) as connection:
        abandoned = (await connection.execute(ABANDONED)).all()
    swept = 0
    for tenant_id, message_id in abandoned:
        try:
            # Inside its tenant, and only if no other process was faster.
            async with database.background(rls.enter_tenant(tenant_id)) as connection:
                values = {"tenant_id": tenant_id, "id": message_id, **UNUSED}
                row = (await connection.execute(SETTLE_ABANDONED, values, MessageRow)).one_or_none()
                if row is not None:
                    swept += 1
                    MESSAGES_ENDED.add(row.status, row.error_code or "")
        except Exception:  # it keeps none of the others
            logger.exception("abandoned_message_not_swept", tenant_id=tenant_id, message_id=message_id)
    if swept:
        LEASE_TAKEOVERS.add(amount=swept)
        logger.warning("abandoned_messages_swept", count=swept)
    return swept


async def _forget_expired(database: Database) -> None:
    deleted = [EXPIRED_ROWS]
    while max(deleted) >= EXPIRED_ROWS:
        async with database.background(rls.ENTER_NO_TENANT) as connection:
            deleted = list((await connection.execute(DELETE_EXPIRED)).one())


async def sweep_forever(database: Database, interval: float, turns: Turns) -> None:
    """Sweep at once and then every `interval` seconds."""
    while True:
        await turns.take(sweep(database))
        await asyncio.sleep(interval)
