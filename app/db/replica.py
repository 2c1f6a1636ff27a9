"""The replica that takes reads off the primary: whether it may, and the watch over it."""

import asyncio
import re
import time
from collections import deque
from typing import TYPE_CHECKING, Literal

import structlog
from sqlalchemy import make_url

from app.db.connection import ask
from app.db.failures import reason_of, state_of
from app.db.fence import Fence
from app.db.gate import Gate
from app.db.pool import NO_ANSWER, Pool, Prepared
from app.observability.instruments import REPLICA_AVAILABLE, REPLICA_LAG

if TYPE_CHECKING:
    from app.db.session import Database

# For how long a read waits until the replica knows what the primary knew when it came; the primary serves it then.
REPLAY_MILLISECONDS = 20
# Raised by `wait_for_replay`: it is not there yet, or it is no replica any more.
BEHIND = "LS005"
# So many reads in a row that found it behind, and the others do not wait for it until it has caught up.
READS_TO_LOSE = 3
# Together less than a second: a read that was under way when the replica froze is then the primary's.
WATCH_SECONDS, ANSWER_SECONDS, CONNECT_SECONDS = 0.25, 0.4, 0.75
# A read never waits for a place for longer: it is the primary's.
PLACE_SECONDS = 0.5
LONGEST_HISTORY = 1000
RECOVERY = "SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn()"
POSITION = re.compile(r"[0-9A-F]+/[0-9A-F]+")

State = Literal["ok", "behind", "away", "promoted"]
logger = structlog.get_logger()


class Replica:
    """Connections to it, and a gate of its own. It serves while it is `ok`; all else is the primary's."""

    name = "replica"
    tries_again = False
    """What was cut off begins again at the primary."""

    def __init__(self, primary: "Database", url: str, pool_size: int, prepared: Prepared, share: int = 0) -> None:
        self.pool = Pool(make_url(url), pool_size, prepared, primary.command_seconds, connect_seconds=CONNECT_SECONDS)
        self.gate = Gate(pool_size, share or (pool_size + 1) // 2, PLACE_SECONDS)
        self.fence = Fence(primary.pool)
        self.texts = primary.texts
        self.state: State = "away"
        self.lag_seconds: float | None = None
        """How long ago the primary was where the replica is now; None while nobody can tell."""
        # Where the primary was and when, from the last that has come on.
        self._seen: deque[tuple[float, int]] = deque()
        self._found_behind = 0
        self._look_now = asyncio.Event()

    async def waits_for(self) -> str | None:
        """SQL that begins a read which is as fresh as at the primary; None where the primary is to serve it."""
        if self.state != "ok":
            return None
        position = await self.fence.position()
        if position is None or not POSITION.fullmatch(position):
            return None
        return f"SELECT wait_for_replay('{position}', {REPLAY_MILLISECONDS}); "

    def served(self) -> None:
        """To be told of a read that it began."""
        self._found_behind = 0

    def failed(self, error: BaseException) -> None:
        """To be told of a read that it did not begin or end."""
        if state_of(error) != BEHIND:
            self._become("away", reason_of(error))
            return
        self._found_behind += 1
        if self._found_behind >= READS_TO_LOSE:
            self._become("behind")

    async def watch(self) -> None:
        """Look after it until cancelled."""
        while True:
            await self._look()
            REPLICA_AVAILABLE.set(int(self.state == "ok"))
            REPLICA_LAG.set(self.lag_seconds or 0)
            try:
                async with asyncio.timeout(WATCH_SECONDS):
                    await self._look_now.wait()
            except TimeoutError:
                continue
            self._look_now.clear()
            await asyncio.sleep(WATCH_SECONDS)  # what failed just now is given a moment

    async def close(self) -> None:
        await self.fence.close()
        await self.pool.close()

    async def _look(self) -> None:
        position = await self.fence.position()
        if position is not None:
            self._seen.append((time.monotonic(), _number(position)))
            if len(self._seen) > LONGEST_HISTORY:
                self._seen = deque(list(self._seen)[::2])
        try:
            recovering, replayed = await self._ask()
        except NO_ANSWER as error:
            self.lag_seconds = None
            self._become("away", reason_of(error))
            return
        if recovering != "t":
            self._become("promoted")
            return
        caught_up = self._measure(_number(replayed))
        self._become("ok" if caught_up or self.state == "ok" else "behind")

    async def _ask(self) -> list[str]:
        connection = await self.pool.take()
        try:
            return await ask(connection, RECOVERY, ANSWER_SECONDS)
        except BaseException:
            connection.terminate()
            raise
        finally:
            self.pool.give_back(connection)

    def _measure(self, replayed: int) -> bool:
        """Whether it has all that the primary had at the last look, which was a moment ago."""
        now, behind_since = time.monotonic(), None
        while len(self._seen) > 1 and self._seen[0][1] <= replayed:
            self._seen.popleft()
        if self._seen and self._seen[0][1] > replayed:
            behind_since = self._seen[0][0]
        self.lag_seconds = 0.0 if behind_since is None else now - behind_since
        return self.lag_seconds < WATCH_SECONDS

    def _become(self, state: State, reason: str = "") -> None:
        if state == self.state:
            return
        logger.log(20 if state == "ok" else 30, "replica", state=state, was=self.state, reason=reason or None)
        self.state = state
        self._found_behind = 0
        if state != "ok":
            self._look_now.set()
        if state in ("away", "promoted"):
            self._seen.clear()
            self.pool.cut_off()
            self.gate.turn_away()


def _number(position: str) -> int:
    high, low = position.split("/")
    return int(high, 16) << 32 | int(low, 16)
