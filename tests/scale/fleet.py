"""Everything that runs past one machine, on loopback: servers, workers, PgBouncer, a replica, Redis, PostgreSQL."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import URL

from app.db.embedded import EmbeddedPostgres
from app.db.provision import provision
from tests.committed.server import ServerProcess
from tests.committed.test_worker_processes import WorkerProcess
from tests.conftest import SECRET_KEY
from tests.pgbouncer import PgBouncer
from tests.redis_server import RedisServer
from tests.standby import Standby

# The disk of a test machine is not what is tried here; what is acknowledged goes to the replica at once all the same.
OPTIONS = ("-c fsync=off", "-c max_connections=100")
SERVERS, WORKERS, POOL = 3, 2, 12
# Between the kill and the start again of what was killed.
DOWN_SECONDS = 1.5
# Of which there is one: nobody is served until it is back.
POOLER, PRIMARY = "PgBouncer is killed", "the primary is restarted"
Strike = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Fault:
    """`over`: when what serves was whole again, which is at once where others stand beside it.

    In seconds of `time.monotonic`.
    """

    name: str
    began: float
    over: float
    mended: float


@dataclass(slots=True)
class Fleet:
    primary: EmbeddedPostgres
    pooler: PgBouncer
    standby: Standby
    redis: RedisServer
    servers: list[ServerProcess]
    workers: list[WorkerProcess]
    faults: list[Fault] = field(default_factory=list)

    @property
    def database(self) -> URL:
        return self.primary.url

    def strikes(self) -> list[tuple[str, Strike]]:
        return [
            ("a server is killed", lambda: self._kill(self.servers[0])),
            ("a worker is killed", lambda: self._kill(self.workers[0])),
            ("Redis is killed", self._kill_redis),
            ("the replica is killed", self._kill_replica),
            ("the replica is frozen", self._freeze_replica),
            (POOLER, self._kill_pooler),
            (PRIMARY, self._restart_primary),
        ]

    async def strike(self, name: str, strike: Strike) -> None:
        began = time.monotonic()
        await strike()
        mended = time.monotonic()
        self.faults.append(Fault(name, began, mended if name in (POOLER, PRIMARY) else began, mended))

    async def _kill(self, process: ServerProcess) -> None:
        await asyncio.to_thread(process.kill)
        await asyncio.sleep(DOWN_SECONDS)
        await process.start()

    async def _kill_redis(self) -> None:
        await asyncio.to_thread(self.redis.kill)
        await asyncio.sleep(DOWN_SECONDS)
        await asyncio.to_thread(self.redis.start)

    async def _kill_replica(self) -> None:
        await asyncio.to_thread(self.standby.kill)
        await asyncio.sleep(DOWN_SECONDS)
        await asyncio.to_thread(self.standby.start)

    async def _freeze_replica(self) -> None:
        await asyncio.to_thread(self.standby.freeze)
        await asyncio.sleep(DOWN_SECONDS)
        await asyncio.to_thread(self.standby.thaw)

    async def _kill_pooler(self) -> None:
        await asyncio.to_thread(self.pooler.kill)
        await asyncio.to_thread(self.pooler.start)

    async def _restart_primary(self) -> None:
        await asyncio.to_thread(self.primary.restart)


class Primary(EmbeddedPostgres):
    def restart(self) -> None:
        """As an upgrade of its package does; at the same port."""
        self._pg_ctl("stop", "-m", "fast", "-w")
        self._launch()


@asynccontextmanager
async def running(directory: Path, **settings: str) -> AsyncIterator[Fleet]:
    """All of it, ready; `settings` of every process."""
    async with AsyncExitStack() as stack:
        primary = Primary(directory, options=OPTIONS)
        await asyncio.to_thread(primary.start)
        stack.push_async_callback(asyncio.to_thread, primary.stop)
        runtime = primary.url.set(username="fleet_runtime", password="runtime")
        await provision(primary.url, runtime)
        standby = Standby(primary.url, OPTIONS)
        stack.callback(standby.remove)
        await asyncio.to_thread(standby.copy)
        await asyncio.to_thread(standby.start)
        pooler = PgBouncer(runtime, POOL)
        stack.callback(pooler.stop)
        await asyncio.to_thread(pooler.start)
        redis = RedisServer(directory)
        stack.callback(redis.kill)
        await asyncio.to_thread(redis.start)
        common = {
            "database_url": pooler.url().render_as_string(hide_password=False),
            "database_direct_url": runtime.render_as_string(hide_password=False),
            "database_replica_url": standby.url(runtime).render_as_string(hide_password=False),
            "redis_url": redis.url,
            "secret_key": SECRET_KEY,
            "message_workers": "true",
            **settings,
        }
        servers = [ServerProcess(directory, **common, background_work="false") for _ in range(SERVERS)]
        workers = [WorkerProcess(directory, **common) for _ in range(WORKERS)]
        for process in (*servers, *workers):
            stack.callback(_end, process)
        await asyncio.gather(*(process.start() for process in (*servers, *workers)))
        yield Fleet(primary, pooler, standby, redis, list(servers), list(workers))


def _end(process: ServerProcess) -> None:
    if process.process is not None and process.process.poll() is None:
        process.kill()
