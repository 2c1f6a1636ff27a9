"""Redis, as far as the cache needs it, and for as long as it answers at once.

What Redis fails to do costs the cache and nobody's request: the first failure ends the use of it, until a task of its
own has really written again.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import structlog

from app.cache.names import KEY_PREFIX
from app.core.redis_client import answered_within, client_of
from app.core.trips import Presence, SharedTrips
from app.observability.instruments import CACHE_AVAILABLE, CACHE_ERRORS
from app.observability.redis_trips import redis_trip, redis_wait

TIMEOUT_SECONDS = 0.05
RETRY_SECONDS = 1.0
# Of the process that asks for others: renewed while it lives, and taken over this long after it died.
LOCK_SECONDS = 5.0
PURGED_AT_ONCE = 1000
CHANNEL = f"{KEY_PREFIX}:ends"
LED, FOLLOWED = b"led", b"followed"

# KEYS: the answer, its lock. One trip, so that nobody asks for what was kept a moment before.
JOIN = f"""
local kept = redis.call('GET', KEYS[1])
if kept then return kept end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return '{LED.decode()}' end
return '{FOLLOWED.decode()}'
"""
RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
# ARGV: whose lock it is, what is told to who waits, and the answer with its milliseconds, if there is one.
END = f"""
if ARGV[3] then redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4]) end
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
redis.call('PUBLISH', '{CHANNEL}', ARGV[2])
"""

logger = structlog.get_logger()


class Away(Exception):
    """Redis does not answer, or not well."""


class Store:
    """Look-ups that come while one is under way go together in the next trip: a trip of its own costs each 110 µs."""

    def __init__(self, url: str) -> None:
        self._redis = client_of(url, TIMEOUT_SECONDS)
        self._trips = SharedTrips(self._look_for)
        self._presence = Presence(self._write_nothing, _tell, RETRY_SECONDS)

    @property
    def available(self) -> bool:
        return self._presence.available

    async def open(self) -> None:
        await self._presence.open()

    async def close(self) -> None:
        await self._trips.close()
        await self._presence.close()
        await self._redis.aclose()

    async def look(self, names: Sequence[str]) -> list[bytes | None]:
        """What is kept under each; raises `Away`."""
        if not self.available:
            raise Away
        with redis_wait("cache", "get"):
            return await self._trips.ask(names)

    async def join(self, name: str, token: str) -> bytes:
        """What is kept, or `LED`: nobody asks, and the caller is to; or `FOLLOWED`: somebody asks. Raises `Away`."""
        arguments = name, _lock(name), token, round(LOCK_SECONDS * 1000)
        found: bytes = await self._ask("lock", lambda: self._redis.eval(JOIN, 2, *arguments))
        return found

    async def renew(self, name: str, token: str) -> None:
        """Show that who asks is alive; raises `Away`."""
        await self._ask("lock", lambda: self._redis.eval(RENEW, 1, _lock(name), token, round(LOCK_SECONDS * 1000)))

    async def end(self, name: str, token: str, told: str, kept: tuple[bytes, float] | None = None) -> None:
        """Keep an answer for so many seconds, if there is one, and tell who waits; raises `Away`."""
        answer = () if kept is None else (kept[0], max(1, round(kept[1] * 1000)))
        await self._ask("set", lambda: self._redis.eval(END, 2, name, _lock(name), token, told, *answer))

    async def purge(self, prefix: str) -> int:
        """Delete what has a name with this beginning, some at a time; how many; raises `Away`."""
        position, deleted = 0, 0
        while True:
            scan = partial(self._redis.scan, position, match=f"{prefix}*", count=PURGED_AT_ONCE)
            position, names = await self._ask("erase", scan)
            if names:
                deleted += await self._ask("erase", partial(self._redis.unlink, *names))
            if not position:
                return deleted

    async def _look_for(self, wanted: list[Sequence[str]]) -> list[list[bytes | None]]:
        names = [name for each in wanted for name in each]
        kept = iter(await self._ask("get", lambda: self._redis.mget(names)))
        return [[next(kept) for _ in each] for each in wanted]

    async def _ask(self, operation: str, command: Callable[[], Awaitable[Any]]) -> Any:
        if not self.available:
            raise Away
        try:
            with redis_trip("cache", operation):
                async with answered_within(TIMEOUT_SECONDS):
                    return await command()
        except Exception as error:
            CACHE_ERRORS.add(operation)
            self._presence.lose(error)
            raise Away from error

    async def _write_nothing(self) -> None:
        """What nobody reads: a Redis that answers may still refuse to write."""
        async with answered_within(TIMEOUT_SECONDS):
            await self._redis.set(f"{KEY_PREFIX}:nobody", b"", px=1000)


def _tell(error: Exception | None) -> None:
    CACHE_AVAILABLE.set(0 if error else 1)
    if error is None:
        logger.info("cache_in_redis")
    else:
        logger.warning("cache_away", error=type(error).__name__)


def _lock(name: str) -> str:
    return f"{name}:lock"
