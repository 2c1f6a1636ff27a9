"""Counting tokens, without the interface around it: in this process, and by several in a real Redis."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import redis.asyncio

from app.core.config import Settings
from app.core.errors import MoreThanTokenLimit, TokensUsedUp
from app.core.ids import new_id
from app.core.principal import Principal
from app.core.rate_limits import memory
from app.core.rate_limits.limiter import RateLimiter
from app.core.rate_limits.tokens import CallersTokens, Hold, TokenLimits
from tests.redis_server import RedisServer, needs_redis


def limiter(redis_url: str = "", **limits: Any) -> RateLimiter:
    return RateLimiter(Settings(_env_file=None, redis_url=redis_url, **limits))


def caller(tenant_id: str = "", key_id: str | None = None) -> Principal:
    return Principal(new_id(), tenant_id or new_id(), "user", 0, key_id=key_id)


async def left_of(limits: TokenLimits, principal: Principal) -> int:
    """How many tokens a caller may still take: by taking one and giving it back."""
    taken = await limits.take(principal, 1)
    assert taken is not None
    standing, hold = taken
    await hold.settle(0)
    return standing.remaining + 1


async def hold_of(limits: TokenLimits, principal: Principal, amount: int) -> Hold | None:
    """None: refused."""
    try:
        taken = await limits.take(principal, amount)
    except TokensUsedUp:
        return None
    assert taken is not None
    return taken[1]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest_asyncio.fixture(params=["memory", pytest.param("redis", marks=needs_redis)])
async def limits(request: pytest.FixtureRequest) -> AsyncIterator[TokenLimits]:
    """100 tokens an hour for a user, 150 for a tenant, 50 for a key."""
    url = request.getfixturevalue("server").url if request.param == "redis" else ""
    of = {"rate_limit_user_tokens": "100/hour", "rate_limit_tenant_tokens": "150/hour"}
    made = limiter(url, **of, rate_limit_key_tokens="50/hour")
    await made.open()
    assert made.store == request.param
    assert made.tokens is not None
    yield made.tokens
    await made.close()


async def test_without_a_limit_nobody_is_counted_and_nothing_is_estimated() -> None:
    assert limiter().tokens is None
    assert limiter(rate_limit_enabled=False, rate_limit_user_tokens="1/hour").tokens is None

    def never() -> int:
        raise AssertionError("the tokens were estimated")

    assert await CallersTokens(None, caller()).take(never) is None
    of_keys = limiter(rate_limit_key_tokens="10/hour").tokens
    assert of_keys is not None
    assert await of_keys.take(caller(), 1000) is None


async def test_what_a_call_came_to_counts_in_the_place_of_what_it_might(limits: TokenLimits) -> None:
    someone = caller()
    hold = await hold_of(limits, someone, 80)
    assert hold is not None
    assert await hold_of(limits, someone, 30) is None
    await hold.settle(25)
    assert await left_of(limits, someone) == 75
    await hold.settle(90)
    assert await left_of(limits, someone) == 10
    await hold.settle(90)
    assert await left_of(limits, someone) == 10


async def test_what_is_refused_is_counted_nowhere(limits: TokenLimits) -> None:
    tenant_id = new_id()
    someone, with_key = caller(tenant_id), caller(tenant_id, new_id())
    assert await hold_of(limits, someone, 90) is not None
    for _ in range(3):
        assert await hold_of(limits, someone, 20) is None
    assert await left_of(limits, caller(tenant_id)) == 60
    assert await hold_of(limits, with_key, 50) is not None
    with pytest.raises(TokensUsedUp) as refused:
        await limits.take(with_key, 1)
    assert refused.value.standing.policy.name == "key-tokens"
    assert (refused.value.standing.remaining, refused.value.standing.retry_after) == (0, 3600)
    with pytest.raises(TokensUsedUp) as refused:
        await limits.take(caller(tenant_id), 11)
    assert refused.value.standing.policy.name == "tenant-tokens"
    assert refused.value.standing.remaining == 10


async def test_what_no_window_has_is_refused_as_such(limits: TokenLimits) -> None:
    with pytest.raises(MoreThanTokenLimit) as refused:
        await limits.take(caller(), 101)
    assert "101 tokens" in refused.value.detail
    assert "no more than 100 may be used in 3600 seconds" in refused.value.detail


async def test_a_block_that_fails_takes_nothing_and_one_that_is_cancelled_may_have_had_it(limits: TokenLimits) -> None:
    someone = caller()

    async def end_with(error: BaseException) -> None:
        async with CallersTokens(limits, someone).taking() as taking:
            await taking.take(lambda: 60)
            raise error

    with pytest.raises(ZeroDivisionError):
        await end_with(ZeroDivisionError())
    assert await left_of(limits, someone) == 100
    with pytest.raises(asyncio.CancelledError):
        await end_with(asyncio.CancelledError())
    assert await left_of(limits, someone) == 40


async def test_a_correction_does_not_meet_the_next_window(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(memory, "monotonic", lambda: now)
    limits = limiter(rate_limit_user_tokens="100/minute").tokens
    assert limits is not None
    someone = caller()
    early = await hold_of(limits, someone, 80)
    assert early is not None
    now += 60
    assert await hold_of(limits, someone, 30) is not None
    await early.settle(0)
    assert await left_of(limits, someone) == 70


@needs_redis
async def test_a_correction_in_redis_does_not_meet_the_next_window(server: RedisServer) -> None:
    made = limiter(server.url, rate_limit_user_tokens="100/hour")
    await made.open()
    assert made.tokens is not None
    someone = caller()
    early = await hold_of(made.tokens, someone, 80)
    assert early is not None
    async with redis.asyncio.Redis.from_url(server.url) as direct:
        (key,) = [key for key in await direct.keys() if b"tokens" in key]
        # As if what was counted in were about to end, and another began before the correction came.
        early._counted._ends = [early._counted._ends[0] - 3599]  # type: ignore[attr-defined]
        await direct.delete(key)
        assert await hold_of(made.tokens, someone, 30) is not None
        await early.settle(0)
        assert await direct.get(key) == b"30"
        assert 3_590_000 < await direct.pttl(key) <= 3_600_000
    await made.close()


@needs_redis
async def test_processes_that_count_at_once_let_through_what_the_limit_holds_and_no_more(server: RedisServer) -> None:
    someone = caller()
    async with AsyncExitStack() as stack:
        processes = [limiter(server.url, rate_limit_user_tokens="1000/hour") for _ in range(3)]
        for process in processes:
            await process.open()
            stack.push_async_callback(process.close)
        assert {process.store for process in processes} == {"redis"}
        every = [process.tokens for process in processes for _ in range(100)]
        holds = await asyncio.gather(*(hold_of(tokens, someone, 7) for tokens in every if tokens))
        held = [hold for hold in holds if hold is not None]
        assert len(held) == 142
        assert await left_of(every[0], someone) == 6  # type: ignore[arg-type]
        await asyncio.gather(*(hold.settle(number % 5) for number, hold in enumerate(held)))
        assert await left_of(every[1], someone) == 1000 - sum(number % 5 for number in range(142))  # type: ignore[arg-type]


@needs_redis
async def test_a_redis_that_goes_away_leaves_counting_to_the_process(server: RedisServer) -> None:
    made = limiter(server.url, rate_limit_user_tokens="100/hour")
    await made.open()
    assert made.tokens is not None
    someone = caller()
    in_redis = await hold_of(made.tokens, someone, 60)
    assert in_redis is not None
    server.kill()
    here = await hold_of(made.tokens, someone, 70)
    assert here is not None
    assert made.store == "memory"
    await in_redis.settle(0)
    assert await left_of(made.tokens, someone) == 30
    await here.settle(10)
    assert await left_of(made.tokens, someone) == 90
    await made.close()
