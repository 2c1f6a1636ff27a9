"""What a budget does not cover; `app/core/errors.py` has the whole tree."""

from datetime import UTC, datetime, timedelta
from typing import ClassVar

from app.core.error_base import AppError


class BudgetExceeded(AppError):
    """`of`: whose it is, `tenant`, `user` or `key`. `resets_at`: when the next `period` begins, day, week or month."""

    WHOSE: ClassVar = {"user": "user's ", "key": "API key's "}

    def __init__(self, of: str = "tenant", period: str = "month") -> None:
        super().__init__(f"The {self.WHOSE.get(of, '')}budget of this {period} does not cover the message.")
        self.of, self.period = of, period
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        if period == "month":
            self.resets_at = today.replace(year=today.year + today.month // 12, month=today.month % 12 + 1, day=1)
        else:
            self.resets_at = today + timedelta(days=1 if period == "day" else 7 - today.weekday())

    @classmethod
    def told(cls, detail: str | None) -> "BudgetExceeded":
        """From what the database says of it: `key day`."""
        of, _, period = (detail or "tenant month").partition(" ")
        return cls(of, period)
