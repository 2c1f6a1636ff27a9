"""What the sampler looks at: the one place that knows both the gauges and the objects that they show."""

from collections.abc import Sequence

from app.core.rate_limits.limiter import RateLimiter
from app.core.supervision import Loop, Supervisor
from app.db.replica import Replica
from app.db.session import Database
from app.messages.engine import MessageEngine
from app.messages.waiting_work import WaitingWork
from app.observability import instruments
from app.observability.spenders import SPENDERS


def waiting_work(databases: Sequence[Database], *, queue: bool, documents: bool) -> Loop:
    """The loop that looks how much waits, in all regions; `queue`, `documents`: whether messages and documents may."""
    waiting = WaitingWork(databases, queue=queue, documents=documents)
    return Loop("waiting_work", waiting.run, waiting.turns)


class ProcessGauges:
    """Of one process."""

    def __init__(
        self,
        databases: Sequence[Database],
        engines: Sequence[MessageEngine],
        supervisors: Sequence[Supervisor],
        limits: RateLimiter,
    ) -> None:
        replicas = [database.replica for database in databases if database.replica is not None]
        self._databases: list[Database | Replica] = [*databases, *replicas]
        self._engines, self._supervisors, self._limits = engines, supervisors, limits
        for each in self._databases:
            instruments.GATE_REFUSALS.add(each.name, amount=0)
            instruments.DATABASE_UNAVAILABLE.add(each.name, amount=0)

    def show(self) -> None:
        for database in self._databases:
            instruments.CONNECTIONS_IN_USE.set(database.pool.in_use, database.name)
            instruments.CONNECTIONS_MAX.set(database.gate.places, database.name)
        instruments.MESSAGES_RUNNING.set(sum(engine.running for engine in self._engines))
        states = [item for supervisor in self._supervisors for item in supervisor.states().items()]
        for name in dict(states):
            instruments.LOOP_FAILING.set((name, "failing") in states, name)
        if self._limits.is_shared:
            instruments.RATE_LIMITS_SHARED.set(self._limits.store == "redis")
        SPENDERS.show()
