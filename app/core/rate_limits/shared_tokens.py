"""Tokens that all processes count together in Redis, and this one by itself for as long as Redis is away."""

from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Any, NamedTuple

from app.core.rate_limits.memory import MemoryCounters
from app.core.rate_limits.policy import Check, Standing
from app.core.rate_limits.tokens import Counted
from app.core.trips import Presence, SharedTrips
from app.observability.redis_trips import redis_trip, redis_wait

KEY_PREFIX = "llm-saas"
ANY_WINDOW = -1
# KEYS: the counters. ARGV, for each: how many belong together, counted from the first of them; how much is counted; its
# quota; its window in milliseconds; and how much of a window may be left at most where it is to be the one that was
# counted in before, or -1. All that belong together are counted, or none: what is refused takes nothing.
COUNT = """
local answer, at = {}, 1
while at <= #KEYS do
    local last, short = at + ARGV[5 * at - 4] - 1, false
    for i = at, last do
        local used, left = tonumber(redis.call('GET', KEYS[i]) or 0), redis.call('PTTL', KEYS[i])
        local amount, bound = tonumber(ARGV[5 * i - 3]), tonumber(ARGV[5 * i])
        if bound >= 0 then
            if left > 0 and left <= bound then redis.call('INCRBY', KEYS[i], math.max(amount, -used)) end
        else
            if left < 0 then left = tonumber(ARGV[5 * i - 1]) end
            short = short or used + amount > tonumber(ARGV[5 * i - 2])
        end
        answer[2 * i - 1], answer[2 * i] = used, left
    end
    if tonumber(ARGV[5 * at]) < 0 and not short then
        for i = at, last do
            redis.call('INCRBY', KEYS[i], ARGV[5 * i - 3])
            if redis.call('PTTL', KEYS[i]) < 0 then redis.call('PEXPIRE', KEYS[i], answer[2 * i]) end
        end
    end
    at = last + 1
end
return answer
"""

Run = Callable[[str, Sequence[str], Sequence[int]], Awaitable[Any]]
"""A script with its keys and arguments; it raises whatever went wrong."""


class Asked(NamedTuple):
    """`bounds`: see `COUNT`; None: what is taken, in whichever window there is."""

    checks: Sequence[Check]
    amount: int
    bounds: Sequence[int] | None = None


class SharedTokens:
    """What comes while Redis is counting goes together in its next trip. Failing is as in `SharedCounters`."""

    def __init__(self, run: Run, presence: Presence, local: MemoryCounters) -> None:
        self._run = run
        self._presence = presence
        self._local = local
        self._trips: SharedTrips[Asked, Sequence[tuple[int, int]] | None] = SharedTrips(self._count)

    async def close(self) -> None:
        await self._trips.close()

    async def take(self, checks: Sequence[Check], amount: int) -> tuple[Standing, Counted | None]:
        """See `TokenCounters`."""
        counted = await self._ask(Asked(checks, amount))
        if counted is None:
            return await self._local.take(checks, amount)
        pairs = list(zip(checks, counted, strict=True))
        for (policy, _), (used, milliseconds) in pairs:
            if used + amount > policy.quota:
                return Standing(policy, policy.quota - used, milliseconds / 1000), None
        standings = [Standing(policy, policy.quota - used - amount, left / 1000) for (policy, _), (used, left) in pairs]
        return min(standings, key=lambda standing: standing.remaining), _InRedis(self, checks, standings)

    async def correct(self, checks: Sequence[Check], by: int, bounds: Sequence[int]) -> None:
        """Where Redis does not answer it stays as it was counted, until the window ends."""
        await self._ask(Asked(checks, by, bounds))

    async def _ask(self, asked: Asked) -> Sequence[tuple[int, int]] | None:
        """What had been used before, and the milliseconds that are left, of each check; None: Redis is away."""
        if not self._presence.available:
            return None
        with redis_wait("limits", "count tokens"):
            return await self._trips.ask(asked)

    async def _count(self, requests: Sequence[Asked]) -> Sequence[Sequence[tuple[int, int]] | None]:
        keys: list[str] = []
        arguments: list[int] = []
        for checks, amount, bounds in requests:
            keys += map(key_of, checks)
            for number, (policy, _) in enumerate(checks):
                bound = ANY_WINDOW if bounds is None else bounds[number]
                arguments += [len(checks), amount, policy.quota, policy.seconds * 1000, bound]
        try:
            with redis_trip("limits", "count tokens"):
                numbers = await self._run(COUNT, keys, arguments)
        except Exception as error:  # noqa: BLE001 - no failure of Redis is a failure of the request
            self._presence.lose(error)
            return [None] * len(requests)
        pairs = iter(zip(numbers[::2], numbers[1::2], strict=True))
        return [[next(pairs) for _ in asked.checks] for asked in requests]


class _InRedis:
    """See `Counted`. The next window of a counter is told from its own by how much of it is left: more than may be."""

    __slots__ = ("_checks", "_ends", "_tokens")

    def __init__(self, tokens: SharedTokens, checks: Sequence[Check], standings: Sequence[Standing]) -> None:
        now = monotonic()
        self._tokens = tokens
        self._checks = checks
        self._ends = [now + standing.seconds for standing in standings]

    async def correct(self, by: int) -> None:
        now = monotonic()
        lasting = [(check, end - now) for check, end in zip(self._checks, self._ends, strict=True) if end > now]
        if lasting:
            # Its own ends at the latest when it was to; another has all but its whole length before it.
            bounds = [int(left * 1000) + check.policy.seconds * 500 for check, left in lasting]
            await self._tokens.correct([check for check, _ in lasting], by, bounds)


def key_of(check: Check) -> str:
    return f"{KEY_PREFIX}:{check.policy.item.key_for(check.policy.name, check.who)}"
