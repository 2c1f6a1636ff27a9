"""What a rate limit is, and where somebody stands with it."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from limits import RateLimitItem, parse_many


@dataclass(frozen=True, slots=True)
class Policy:
    """So many requests, or tokens, in a window, which begins with the first of them."""

    name: str
    item: RateLimitItem
    quota: int
    seconds: int
    header: bytes

    @classmethod
    def of(cls, name: str, notation: str, unit: str = "") -> "Policy":
        """`unit`: what is counted; "": requests."""
        item = one_limit(notation)
        seconds = item.get_expiry()
        header = f'"{name}";q={item.amount};w={seconds}' + (f';qu="{unit}"' if unit else "")
        return cls(name, item, item.amount, seconds, header.encode())


class Check(NamedTuple):
    """A request that counts for `who` in the policy."""

    policy: Policy
    who: str


class Standing(NamedTuple):
    """How many are left, negative for a request that is refused, and the seconds until the window ends."""

    policy: Policy
    remaining: int
    seconds: float

    @property
    def retry_after(self) -> int:
        """Whole seconds, so that whoever waits them is not too early; sums of floats may be beyond the window."""
        return min(max(1, math.ceil(self.seconds)), self.policy.seconds)

    def headers(self) -> list[tuple[bytes, bytes]]:
        """As draft-ietf-httpapi-ratelimit-headers has them."""
        left = f'"{self.policy.name}";r={max(0, self.remaining)};t={self.retry_after}'
        return [(b"ratelimit-policy", self.policy.header), (b"ratelimit", left.encode())]


def one_limit(notation: str) -> RateLimitItem:
    """`100/minute`, `5 per 10 seconds`; raises ValueError for anything else, several limits included."""
    items = parse_many(notation)
    if len(items) != 1 or items[0].amount < 1:
        raise ValueError("a rate limit is written as 100/minute")
    return items[0]
