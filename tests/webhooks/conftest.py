from collections.abc import AsyncIterator

import pytest_asyncio

from app.webhooks.client import WebhookClient
from tests.webhooks.receiver import LOOPBACK, Receiver, receiving


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest_asyncio.fixture
async def sender() -> AsyncIterator[WebhookClient]:
    """May call loopback."""
    sender = WebhookClient(LOOPBACK)
    yield sender
    await sender.close()


@pytest_asyncio.fixture
async def strict() -> AsyncIterator[WebhookClient]:
    """Configured as in production."""
    sender = WebhookClient()
    yield sender
    await sender.close()
