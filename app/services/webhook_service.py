"""Calls webhooks, of ended messages and of budgets, until they answer or the attempts are used up.

What is due stands in a row, written by the transaction that ended the message or spent: a killed process loses no call.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from datetime import timedelta
from time import perf_counter

import structlog
from sqlalchemy import Interval, Text, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY

from app.core.errors import DatabaseUnavailable, InvalidWebhookUrl
from app.core.supervision import Turns
from app.db import rls
from app.db.session import Database
from app.observability import tracing
from app.observability.instruments import WEBHOOK_DELIVERIES, WEBHOOK_SECONDS
from app.services.due_webhooks import BodyOf, Due, read_due
from app.services.webhook_secrets import WebhookSecrets
from app.webhooks.client import MAX_CONNECTIONS, Delivery, WebhookClient
from app.webhooks.guard import ON_BEHALF_OF, Network
from app.webhooks.schedule import next_attempt_after
from app.webhooks.url import check_url

LOOK_SECONDS = 1.0
# Longer than a delivery takes: until then it is nobody else's.
CLAIM = timedelta(minutes=1)

# A tenant whose receivers do not answer must not have all the connections: so many are claimed at a time, and no more
# for a tenant that has as many under way.
SHARE = 4

CLAIM_DUE = text("SELECT tenant_id, id FROM claim_due_webhooks(:claim, :most, :busy)").bindparams(
    bindparam("claim", type_=Interval), bindparam("busy", type_=ARRAY(Text))
)
logger = structlog.get_logger()


class WebhookService:
    """`body_of` renders a message as the interface does."""

    def __init__(
        self,
        database: Database,
        secrets: WebhookSecrets,
        allowed_networks: Sequence[Network],
        body_of: BodyOf,
    ) -> None:
        self._database = database
        self._secrets = secrets
        self._allowed_networks = tuple(allowed_networks)
        self._client = WebhookClient(self._allowed_networks)
        self._body_of = body_of
        self._under_way: dict[asyncio.Task[None], str] = {}
        self._claiming = asyncio.Lock()
        self._one_ended = asyncio.Event()
        self.turns = Turns("webhooks")

    def check(self, url: str) -> str:
        """The URL as it is kept; raises `InvalidWebhookUrl`. The address is checked again at each connection."""
        try:
            return check_url(url, self._allowed_networks)
        except ValueError:
            raise InvalidWebhookUrl from None

    async def run(self) -> None:
        """Deliver what is due until cancelled."""
        try:
            while True:
                await self.turns.take(self._begin_due())
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._one_ended.wait()
                self._one_ended.clear()
        finally:
            for delivery in self._under_way:
                delivery.cancel()

    async def deliver_due(self) -> int:
        """Make one attempt for each that is due and finds a connection free; how many were."""
        begun = await self._begin_due()
        await asyncio.gather(*begun)
        return len(begun)

    async def _begin_due(self) -> list[asyncio.Task[None]]:
        begun: list[asyncio.Task[None]] = []
        async with self._claiming:
            while free := MAX_CONNECTIONS - len(self._under_way):
                shares = Counter(self._under_way.values())
                busy = [tenant_id for tenant_id, count in shares.items() if count >= SHARE]
                async with self._database.background(rls.ENTER_NO_TENANT) as connection:
                    values = {"claim": CLAIM, "most": min(free, SHARE), "busy": busy}
                    due = (await connection.execute(CLAIM_DUE, values)).all()
                if not due:
                    break
                begun += [self._begin(tenant_id, due_id) for tenant_id, due_id in due]
        return begun

    def _begin(self, tenant_id: str, due_id: str) -> asyncio.Task[None]:
        delivery = asyncio.create_task(_logged(self._deliver(tenant_id, due_id)))
        self._under_way[delivery] = tenant_id
        delivery.add_done_callback(self._ended)
        return delivery

    def _ended(self, delivery: asyncio.Task[None]) -> None:
        del self._under_way[delivery]
        self._one_ended.set()

    async def _deliver(self, tenant_id: str, due_id: str) -> None:
        session = self._database.background(rls.enter_tenant(tenant_id))
        async with session as connection:
            secrets = await self._secrets.of_tenant(connection, tenant_id)
            due = await read_due(connection, tenant_id, due_id, self._body_of) if secrets else None
        if due is None:  # deleted, run again, or its tenant is being erased
            return
        ON_BEHALF_OF.set(tenant_id)  # of this task alone
        began = perf_counter()
        with tracing.continued("deliver webhook", due.traceparent):
            delivery = await self._client.deliver(due.url, due.event_id, due.body, secrets)
            if not delivery.ok:
                tracing.failed_here(delivery.reason)
        WEBHOOK_SECONDS.observe(perf_counter() - began)
        pause = None if delivery.final else next_attempt_after(due.attempts + 1)
        async with session as connection:
            await connection.execute(due.note, {**due.values, "pause": pause})
        _note(delivery, tenant_id, due, gave_up=pause is None)

    async def close(self) -> None:
        await self._client.close()


async def _logged(work: Awaitable[object]) -> None:
    """What is due stays due when this fails."""
    try:
        await work
    except DatabaseUnavailable:
        logger.warning("webhooks_skipped", reason="database unavailable")
    except Exception:
        logger.exception("webhooks_failed")


def _note(delivery: Delivery, tenant_id: str, due: Due, *, gave_up: bool) -> None:
    WEBHOOK_DELIVERIES.add("delivered" if delivery.ok else "gave_up" if gave_up else "failed")
    fields = {**due.told, "tenant_id": tenant_id, "reason": delivery.reason}
    if delivery.ok:
        logger.info("webhook_delivered", **fields)
    else:
        logger.warning("webhook_failed", attempt=due.attempts + 1, gave_up=gave_up, **fields)
