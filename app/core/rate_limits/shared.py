"""Counters that all processes share in Redis, and this process's own for as long as Redis is away."""

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from contextvars import Context
from typing import Any

import structlog
from limits.aio.storage import RedisStorage
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from app.core.rate_limits.memory import MemoryCounters
from app.core.rate_limits.policy import Check, Standing
from app.observability.redis_trips import redis_trip, redis_wait

TIMEOUT_SECONDS = 0.25
RETRY_SECONDS = 5.0
KEY_PREFIX = "llm-saas"
# KEYS: the counters. ARGV, for each: its quota, its window in milliseconds, and 1 where another request begins. After
# the counter that refuses a request, the request's others are left alone (0, 0): a user's flood is not the tenant's.
COUNT = """
local answer, refused = {}, false
for i, key in ipairs(KEYS) do
    if ARGV[3 * i] == '1' then refused = false end
    answer[2 * i - 1], answer[2 * i] = 0, 0
    if not refused then
        local count, left = redis.call('INCR', key), redis.call('PTTL', key)
        if left < 0 then
            left = tonumber(ARGV[3 * i - 1])
            redis.call('PEXPIRE', key, left)
        end
        answer[2 * i - 1], answer[2 * i] = count, left
        refused = count > tonumber(ARGV[3 * i - 2])
    end
end
return answer
"""
# As `MemoryCounters.give_back`.
GIVE_BACK = """
for _, key in ipairs(KEYS) do
    if tonumber(redis.call('GET', key) or 0) > 0 then redis.call('DECR', key) end
end
"""

logger = structlog.get_logger()


class SharedCounters:
    """Requests that come while Redis is counting are counted together, in its next trip.

    One trip each would cost a request 110 µs of CPU for every limit, against 500 µs for the smallest request. Whatever
    Redis does, no request fails, and none waits for longer than the timeout: the first trip that fails is counted in
    memory, and so is what follows until Redis has counted again.
    """

    def __init__(self, url: str, local: MemoryCounters) -> None:
        options: dict[str, Any] = {
            "socket_timeout": TIMEOUT_SECONDS,
            "socket_connect_timeout": TIMEOUT_SECONDS,
            "retry": Retry(NoBackoff(), 1),  # a connection that Redis closed while it was idle is no outage
        }
        storage = RedisStorage(f"async+{url}", implementation="redispy", **options)
        self._redis: Any = storage.bridge.get_connection()  # type: ignore[attr-defined]
        self._local = local
        self._waiting: list[tuple[Sequence[Check], asyncio.Future[Standing]]] = []
        self._counting: asyncio.Task[None] | None = None
        self._recovering: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self.available = False

    async def open(self) -> None:
        await self._try()

    async def close(self) -> None:
        # Not by cancelling: asyncio.wait_for, which the client uses to write, may swallow that before Python 3.12.
        self._closing.set()
        if self._counting:
            await self._counting
        if self._recovering:
            await self._recovering
        await self._redis.aclose()

    async def hit(self, checks: Sequence[Check]) -> Standing:
        """As `MemoryCounters.hit`."""
        if not self.available:
            return self._local.hit(checks)
        counted: asyncio.Future[Standing] = asyncio.get_running_loop().create_future()
        self._waiting.append((checks, counted))
        if self._counting is None:
            self._counting = _start(self._count_waiting())
        with redis_wait("limits", "count"):
            return await counted

    async def give_back(self, checks: Sequence[Check]) -> None:
        """As `MemoryCounters.give_back`. In a trip of its own: it is rare."""
        if not self.available:
            self._local.give_back(checks)
            return
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await self._redis.eval(GIVE_BACK, len(checks), *map(_key, checks))
        except Exception as error:  # noqa: BLE001 - no failure of Redis is a failure of the request
            self._lose(error)

    async def _count_waiting(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._count_batch(batch)
        finally:
            self._counting = None

    async def _count_batch(self, batch: Sequence[tuple[Sequence[Check], asyncio.Future[Standing]]]) -> None:
        # Those whose request is gone are done already.
        try:
            standings = await self._count([checks for checks, _ in batch])
            for (_, counted), standing in zip(batch, standings, strict=True):
                if not counted.done():
                    counted.set_result(standing)
        except Exception as error:  # noqa: BLE001 - it is its requests' failure, and nobody else's
            for _, counted in batch:
                if not counted.done():
                    counted.set_exception(error)
        finally:
            for _, counted in batch:
                counted.cancel()

    async def _count(self, requests: Sequence[Sequence[Check]]) -> list[Standing]:
        if self.available:
            try:
                return await self._count_in_redis(requests)
            except Exception as error:  # noqa: BLE001 - no failure of Redis is a failure of the request
                self._lose(error)
        return [self._local.hit(checks) for checks in requests]

    async def _count_in_redis(self, requests: Sequence[Sequence[Check]]) -> list[Standing]:
        keys: list[str] = []
        arguments: list[int] = []
        for checks in requests:
            keys += map(_key, checks)
            for number, (policy, _) in enumerate(checks):
                arguments += [policy.quota, policy.seconds * 1000, int(number == 0)]
        with redis_trip("limits", "count"):
            async with asyncio.timeout(TIMEOUT_SECONDS):
                numbers = await self._redis.eval(COUNT, len(keys), *keys, *arguments)
        pairs = iter(zip(numbers[::2], numbers[1::2], strict=True))
        return [_tightest(checks, [next(pairs) for _ in checks]) for checks in requests]

    def _lose(self, error: Exception) -> None:
        if self.available or self._recovering is None:
            logger.warning("rate_limits_in_memory", error=type(error).__name__)
        self.available = False
        if self._recovering is None:
            self._recovering = _start(self._recover())

    async def _recover(self) -> None:
        while not self.available:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), RETRY_SECONDS)
                return
            await self._try()

    async def _try(self) -> None:
        """Count nobody: a Redis that answers may still refuse to write."""
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await self._redis.eval(COUNT, 1, f"{KEY_PREFIX}:nobody", 1, 1000, 1)
        except Exception as error:  # noqa: BLE001 - as above
            self._lose(error)
        else:
            self.available, self._recovering = True, None
            logger.info("rate_limits_in_redis")


def _key(check: Check) -> str:
    return f"{KEY_PREFIX}:{check.policy.item.key_for(check.policy.name, check.who)}"


def _start(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Outside the request that happens to be the first: its id must not stand in these lines of the log."""
    return asyncio.create_task(work, context=Context())


def _tightest(checks: Sequence[Check], counted: Sequence[tuple[int, int]]) -> Standing:
    standings = [
        Standing(policy, policy.quota - count, milliseconds / 1000)
        for (policy, _), (count, milliseconds) in zip(checks, counted, strict=True)
        if count
    ]
    return min(standings, key=lambda standing: standing.remaining)
