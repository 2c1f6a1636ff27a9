"""Ends what a killed process left `pending`, once its lease is over, and forgets what has expired."""

import asyncio

import structlog
from sqlalchemy import text

from app.core.errors import MessageNotStarted
from app.core.supervision import Turns
from app.db import rls
from app.db.session import Database
from app.messages.abandoned import end_abandoned
from app.messages.statements import SETTLE_ABANDONED, UNUSED
from app.models.rows import MessageRow
from app.observability.instruments import LEASE_TAKEOVERS, MESSAGES_ENDED

# Across tenants, by SECURITY DEFINER functions that return ids and a count.
ABANDONED = text("SELECT tenant_id, id FROM abandoned_messages()")
DELETE_EXPIRED = text("SELECT delete_expired_idempotency_keys(), delete_expired_credentials()")
# Of each table, in a transaction.
EXPIRED_ROWS = 1000
FORGET_SECONDS = 60.0
LOOKS_PER_LEASE = 5
# A longer silence of the database than the one between two looks, and leases may be over because nobody could renew.
LONGEST_SILENCE = 2
logger = structlog.get_logger()


class Sweeper:
    """Looks five times a lease. `taken_over` counts the messages that were ended in the place of their process.

    A lease that is over says that its process is dead only where a living one could have renewed it: so the database
    must have answered every look for a whole lease. That holds at the start, too.
    """

    def __init__(self, database: Database, lease_seconds: float) -> None:
        self.taken_over = 0
        self.turns = Turns("sweep")
        self._database = database
        self._lease = lease_seconds
        self._interval = lease_seconds / LOOKS_PER_LEASE
        self._answered_at = self._steady_since = float("-inf")

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.turns.take(self.look())
            await asyncio.sleep(self._interval)

    async def look(self) -> int:
        """End what is abandoned, if the database has been there for long enough; how many."""
        async with self._database.background(rls.ENTER_NO_TENANT) as connection:
            abandoned = (await connection.execute(ABANDONED)).all()
        swept = 0
        if self._answered():
            for tenant_id, message_id in abandoned:
                swept += await self._end(tenant_id, message_id)
        if swept:
            self.taken_over += swept
            LEASE_TAKEOVERS.add(amount=swept)
            logger.warning("abandoned_messages_swept", count=swept)
        return swept

    def _answered(self) -> bool:
        """The database has: whether it has done so for a lease."""
        now = asyncio.get_running_loop().time()
        if now - self._answered_at > self._interval * LONGEST_SILENCE:
            self._steady_since = now
        self._answered_at = now
        return now - self._steady_since >= self._lease

    async def _end(self, tenant_id: str, message_id: str) -> bool:
        """`failed` (`interrupted`, `not_started`), or `cancelled` if that was asked; whether it had a process."""
        try:
            # Inside its tenant.
            async with self._database.background(rls.enter_tenant(tenant_id)) as connection:
                if connection.texts is None:
                    values = {"tenant_id": tenant_id, "id": message_id, **UNUSED}
                    row = (await connection.execute(SETTLE_ABANDONED, values, MessageRow)).one_or_none()
                else:
                    row = await end_abandoned(connection, tenant_id, message_id)
        except Exception:  # it keeps none of the others
            logger.exception("abandoned_message_not_swept", tenant_id=tenant_id, message_id=message_id)
            return False
        self._answered()
        if row is not None:
            MESSAGES_ENDED.add(row.status, row.error_code or "")
        return row is not None and row.error_code != MessageNotStarted.code


async def sweep(database: Database) -> int:
    """End all messages whose lease is over, now; how many."""
    return await Sweeper(database, 0).look()


class Expiry:
    """Deletes idempotency keys, sessions and invites whose time is over, now and then."""

    def __init__(self, database: Database) -> None:
        self.turns = Turns("expiry")
        self._database = database

    async def run(self) -> None:
        """Forget until cancelled."""
        while True:
            await self.turns.take(self.forget())
            await asyncio.sleep(FORGET_SECONDS)

    async def forget(self) -> None:
        deleted = [EXPIRED_ROWS]
        while max(deleted) >= EXPIRED_ROWS:
            async with self._database.background(rls.ENTER_NO_TENANT) as connection:
                deleted = list((await connection.execute(DELETE_EXPIRED)).one())
