"""Counting, without the interface around it."""

from typing import Any

import pytest

from app.core.config import Settings
from app.core.errors import RateLimited
from app.core.ids import new_id
from app.core.principal import Principal
from app.core.rate_limits import memory
from app.core.rate_limits.limiter import RateLimiter
from app.core.rate_limits.memory import MemoryCounters
from app.core.rate_limits.policy import Check, Policy
from app.core.rate_limits.shared import SharedCounters
from tests.waiting import within_patience


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(memory, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def limiter(**limits: Any) -> RateLimiter:
    return RateLimiter(Settings(_env_file=None, **limits))


def principal(tenant_id: str, key_id: str | None = None) -> Principal:
    return Principal(new_id(), tenant_id, "user", 0, key_id=key_id)


async def refused_by(limits: RateLimiter, caller: Principal) -> str | None:
    """The name of the limit that refuses the caller's next request."""
    try:
        await limits.count_principal(caller)
    except RateLimited as error:
        return error.standing.policy.name
    return None


def test_a_window_begins_with_its_first_request_and_ends_on_time(clock: Clock) -> None:
    counters, checks = MemoryCounters(), [Check(Policy.of("user", "2 per 10 seconds"), "someone")]
    assert counters.hit(checks)[1:] == (1, 10)
    clock.now += 9.5
    assert counters.hit(checks)[1:] == (0, 0.5)
    assert counters.hit(checks)[1:] == (-1, 0.5)
    clock.now += 0.5
    assert counters.hit(checks)[1:] == (1, 10)


def test_nobody_is_told_to_wait_for_longer_than_the_window(clock: Clock) -> None:
    """Of a clock like this one (now + 3600) - now is a little more."""
    clock.now = 32641.747163555596
    standing = MemoryCounters().hit([Check(Policy.of("user", "1/hour"), "x")])
    assert standing.seconds > 3600
    assert standing.retry_after == 3600


def test_what_was_given_back_can_be_had_again_in_its_window_alone(clock: Clock) -> None:
    counters, checks = MemoryCounters(), [Check(Policy.of("login", "2 per 10 seconds"), "someone")]
    counters.give_back(checks)
    assert [counters.hit(checks).remaining for _ in range(2)] == [1, 0]
    counters.give_back(checks)
    assert counters.hit(checks).remaining == 0
    clock.now += 10
    counters.give_back(checks)
    assert counters.hit(checks).remaining == 1


def test_counters_that_ended_are_freed_by_those_that_begin(clock: Clock) -> None:
    counters, policy = MemoryCounters(), Policy.of("address", "5/minute")
    for number in range(1000):
        counters.hit([Check(policy, f"early {number}")])
    clock.now += 60
    for number in range(500):
        counters.hit([Check(policy, f"late {number}")])
    assert len(counters._windows["address"]) == 500


def test_a_counter_that_goes_on_is_not_freed_with_those_that_ended_nor_keeps_them(clock: Clock) -> None:
    counters, policy = MemoryCounters(), Policy.of("address", "5/minute")
    early = [f"early {number}" for number in range(20)]
    for who in (*early[:10], "returning", *early[10:]):
        counters.hit([Check(policy, who)])
    clock.now += 60
    for who in ("returning", *(f"late {number}" for number in range(20))):
        counters.hit([Check(policy, who)])
    assert counters.hit([Check(policy, "returning")]).remaining == 3
    assert len(counters._windows["address"]) == 21


def test_a_flood_of_addresses_cannot_fill_the_memory(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MAX_COUNTERS_PER_POLICY", 100)
    counters, policy = MemoryCounters(), Policy.of("address", "5/minute")
    for number in range(1000):
        counters.hit([Check(policy, str(number))])
    assert len(counters._windows["address"]) == 100


async def test_a_key_is_counted_beside_its_user_and_its_tenant() -> None:
    tenant_id = new_id()
    limits = limiter(rate_limit_key="2/minute", rate_limit_user="5/minute", rate_limit_tenant="6/minute")
    with_key = principal(tenant_id, key_id=new_id())
    assert [await refused_by(limits, with_key) for _ in range(3)] == [None, None, "key"]

    without = Principal(with_key.user_id, tenant_id, "user", 0)
    assert [await refused_by(limits, without) for _ in range(4)] == [None, None, None, "user"]
    assert [await refused_by(limits, principal(tenant_id)) for _ in range(2)] == [None, "tenant"]
    assert await refused_by(limits, principal(new_id())) is None


async def test_what_a_user_is_refused_does_not_use_up_the_tenants_limit() -> None:
    tenant_id = new_id()
    limits = limiter(rate_limit_user="2/minute", rate_limit_tenant="5/minute")
    loud = principal(tenant_id)
    for _ in range(100):
        await refused_by(limits, loud)
    assert [await refused_by(limits, principal(tenant_id)) for _ in range(4)] == [None, None, None, "tenant"]


async def test_an_address_that_nobody_knows_is_not_counted() -> None:
    limits = limiter(rate_limit_address="1/minute")
    assert [await limits.count_address("") for _ in range(3)] == [None] * 3


async def test_a_defect_in_counting_fails_its_requests_and_no_later_one(monkeypatch: pytest.MonkeyPatch) -> None:
    counters = SharedCounters("redis://127.0.0.1:1/0", MemoryCounters())
    counters.presence.available = True
    counted = counters._count
    broken = True

    async def count(requests: Any) -> Any:
        nonlocal broken
        if broken:
            broken = False
            raise ZeroDivisionError
        counters.presence.available = False
        return await counted(requests)

    monkeypatch.setattr(counters._trips, "_travel", count)
    checks = [(Policy.of("user", "5/hour"), "somebody")]
    with pytest.raises(ZeroDivisionError):
        await within_patience(counters.hit(checks), "the refusal")
    assert (await within_patience(counters.hit(checks), "the count")).remaining == 4
    await counters.close()
