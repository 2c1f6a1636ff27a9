from datetime import timedelta

import pytest

from app.webhooks.schedule import DELAYS, JITTER, MAX_ATTEMPTS, next_attempt_after


def test_the_delays_are_the_documented_ones() -> None:
    assert [delay.total_seconds() for delay in DELAYS] == [5, 30, 120, 600, 3600, 21600]
    assert MAX_ATTEMPTS == 7


@pytest.mark.parametrize("attempts", range(1, MAX_ATTEMPTS))
def test_each_failure_waits_its_delay_give_or_take_a_tenth(attempts: int) -> None:
    expected = DELAYS[attempts - 1]
    drawn = [next_attempt_after(attempts) for _ in range(200)]
    assert all(delay is not None and abs(delay - expected) <= expected * JITTER for delay in drawn)
    assert len(set(drawn)) > 1


@pytest.mark.parametrize("attempts", [MAX_ATTEMPTS, MAX_ATTEMPTS + 1, 100])
def test_after_the_last_attempt_there_is_no_other(attempts: int) -> None:
    assert next_attempt_after(attempts) is None


def test_what_was_never_tried_does_not_wait() -> None:
    assert next_attempt_after(0) == timedelta(0)
