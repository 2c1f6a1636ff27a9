"""Ends what a killed process left `pending`, once its lease is over."""

import asyncio

import structlog
from sqlalchemy import text

from app.core.errors import DatabaseUnavailable
from app.db import rls
from app.db.session import Database

# Across tenants, by a SECURITY DEFINER function that returns a count and no row.
SWEEP = text("SELECT sweep_abandoned_messages()")
logger = structlog.get_logger()


async def sweep(database: Database) -> int:
    """Mark messages whose lease is over as `failed` (`interrupted`); how many."""
    async with database.session(rls.ENTER_NO_TENANT) as connection:
        swept = int((await connection.execute(SWEEP)).scalar_one())
    if swept:
        logger.warning("abandoned_messages_swept", count=swept)
    return swept


async def sweep_forever(database: Database, interval: float) -> None:
    """Sweep at once and then every `interval` seconds."""
    while True:
        try:
            await sweep(database)
        except DatabaseUnavailable:
            logger.warning("sweep_skipped", reason="database unavailable")
        except Exception:
            logger.exception("sweep_failed")
        await asyncio.sleep(interval)
