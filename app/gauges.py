"""What the sampler looks at: the one place that knows both the gauges and the objects that they show."""

from app.core.rate_limits.limiter import RateLimiter
from app.core.supervision import Loop, Supervisor
from app.db.replica import Replica
from app.db.session import Database
from app.messages.engine import MessageEngine
from app.messages.waiting_work import WaitingWork
from app.observability import instruments
from app.observability.sampler import Sampler
from app.observability.spenders import SPENDERS


def observers(sampler: Sampler, database: Database, *, queue: bool) -> list[Loop]:
    """The loops that look; `queue`: whether there are workers for which messages wait."""
    waiting = WaitingWork(database, queue=queue)
    return [Loop("metrics", sampler.run), Loop("waiting_work", waiting.run, waiting.turns)]


class ProcessGauges:
    """Of one process."""

    def __init__(self, database: Database, engine: MessageEngine, limits: RateLimiter, background: Supervisor) -> None:
        self._databases: list[Database | Replica] = [database]
        if database.replica is not None:
            self._databases.append(database.replica)
        self._engine, self._limits, self._background = engine, limits, background
        for each in self._databases:
            instruments.GATE_REFUSALS.add(each.name, amount=0)
            instruments.DATABASE_UNAVAILABLE.add(each.name, amount=0)

    def show(self) -> None:
        for database in self._databases:
            instruments.CONNECTIONS_IN_USE.set(database.pool.in_use, database.name)
            instruments.CONNECTIONS_MAX.set(database.gate.places, database.name)
        instruments.MESSAGES_RUNNING.set(self._engine.running)
        for name, state in self._background.states().items():
            instruments.LOOP_FAILING.set(state == "failing", name)
        if self._limits.is_shared:
            instruments.RATE_LIMITS_SHARED.set(self._limits.store == "redis")
        SPENDERS.show()
