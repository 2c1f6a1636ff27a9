"""How Redis is connected to: imported where `REDIS_URL` is set, and nowhere else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError

from app.core.settings.unusable import UnusableSetting

START_SECONDS = 2.0
# Of the loop, in which an answer that is there already reaches who waits for it.
PASSES = 4


def client_of(url: str, timeout_seconds: float) -> Any:
    """A client that waits so long for a connection, and for an answer.

    One more try, at once: a connection that Redis closed while it was idle is no outage. The client's own default
    would make 7.6 seconds of a quarter of one. It does not bound a whole command: who calls does that.
    """
    return Redis.from_url(
        url,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        retry=Retry(NoBackoff(), 1),
    )


async def refuse_wrong_password(url: str) -> None:
    """Raise `UnusableSetting` if Redis does not let us in; one that is not there may come back, and is no reason."""
    client = client_of(url, START_SECONDS)
    try:
        async with asyncio.timeout(START_SECONDS):
            await client.get("llm-saas:nobody")
    except (AuthenticationError, NoPermissionError):
        # Without its words: they may quote the name of the user.
        raise UnusableSetting("REDIS_URL", "Redis does not accept this name and password") from None
    except Exception:  # noqa: BLE001 - whatever else it is may pass
        return
    finally:
        await client.aclose()


@asynccontextmanager
async def answered_within(seconds: float) -> AsyncIterator[None]:
    """Raise `TimeoutError` for a block that takes longer by no fault of ours.

    Where this process was busy for that long, the answer may have come meanwhile: it is looked at before time is up.
    """
    loop = asyncio.get_running_loop()
    timer: asyncio.Handle = loop.call_later(seconds, lambda: expire(PASSES))

    def expire(passes: int) -> None:
        nonlocal timer
        if passes:
            timer = loop.call_soon(expire, passes - 1)
        else:
            scope.reschedule(loop.time())

    try:
        async with asyncio.timeout(None) as scope:
            yield
    finally:
        timer.cancel()
