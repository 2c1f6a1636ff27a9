"""When a delivery that failed is tried again."""

from datetime import timedelta
from random import SystemRandom

DELAYS = (
    timedelta(seconds=5),
    timedelta(seconds=30),
    timedelta(minutes=2),
    timedelta(minutes=10),
    timedelta(hours=1),
    timedelta(hours=6),
)
MAX_ATTEMPTS = len(DELAYS) + 1
JITTER = 0.1
"""So that what failed together, when a receiver went down, does not come back together."""

_random = SystemRandom()


def next_attempt_after(attempts: int) -> timedelta | None:
    """How long to wait once `attempts` have failed; None when they are used up."""
    if attempts < 1:
        return timedelta(0)
    if attempts >= MAX_ATTEMPTS:
        return None
    return DELAYS[attempts - 1] * _random.uniform(1 - JITTER, 1 + JITTER)
