"""What a rate limit refuses; `app/core/errors.py` has the whole tree."""

from app.core.error_base import AppError
from app.core.rate_limits.policy import Standing


class RateLimited(AppError):
    detail = "Too many requests. Try again after the seconds in Retry-After."

    def __init__(self, standing: Standing) -> None:
        super().__init__()
        self.standing = standing


class TokensUsedUp(RateLimited):
    detail = "More tokens than are left of the limit. Try again after the seconds in Retry-After."


class MoreThanTokenLimit(AppError):
    def __init__(self, tokens: int, limit: int, seconds: int) -> None:
        super().__init__(
            f"The request may come to {tokens} tokens, and no more than {limit} may be used in {seconds} seconds: "
            "send less, or ask for a shorter answer."
        )
