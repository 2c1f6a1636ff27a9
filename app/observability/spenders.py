"""What the dearest tenants cost today, as far as this process knows: the one place where metrics name a tenant."""

from collections import Counter
from datetime import UTC, date, datetime

from app.observability.instruments import TENANT_COST

MAX_REMEMBERED = 10_000
"""Beyond it the cheaper half is forgotten."""


class Spenders:
    """Shows the first `shown` of them; 0: remembers nobody."""

    def __init__(self) -> None:
        self.shown = 0
        self._spent: Counter[str] = Counter()
        self._day = date.min

    def add(self, tenant_id: str, micro_usd: int) -> None:
        if not self.shown:
            return
        self._spent[tenant_id] += micro_usd
        if len(self._spent) > MAX_REMEMBERED:
            self._spent = Counter(dict(self._spent.most_common(MAX_REMEMBERED // 2)))

    def show(self) -> None:
        today = datetime.now(UTC).date()
        if today != self._day:
            self._day = today
            self._spent.clear()
        TENANT_COST.replace({tenant: cost / 1_000_000 for tenant, cost in self._spent.most_common(self.shown)})


SPENDERS = Spenders()
