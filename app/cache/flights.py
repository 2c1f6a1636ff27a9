"""Equal calls at the same time: one asks, the others wait for its answer, in this process and in all others.

What is shared is an answer that is kept. One that is not (cut, too long) sends all who wait to ask for themselves at
once; a failure is nobody else's, and one of them tries next.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

from app.cache.announcements import Announcements
from app.cache.entries import Entry, entry_of, seal, unseal
from app.cache.names import Name
from app.cache.store import FOLLOWED, LED, LOCK_SECONDS, Away, Store
from app.core.completion import Completion
from app.core.trips import start

# Who waits looks this often, should nobody tell: who asks may have been killed.
LOOK_SECONDS = 0.5

Ask = Callable[[], Awaitable[Completion]]


class End(Enum):
    """How a call ended that came to no answer for those who wait; its value is what other processes are told."""

    FAILED = "failed"
    ALONE = "alone"


KEPT = "kept"


@dataclass(frozen=True, slots=True)
class Wanted:
    """An answer that somebody wants, to be kept for so many `seconds`; `names`: the present one first."""

    tenant_id: str
    names: Sequence[Name]
    seconds: int

    @property
    def name(self) -> Name:
        return self.names[0]


class Flights:
    """`wait_seconds`: how long a call waits for an equal one, before it asks for itself."""

    def __init__(self, store: Store, announcements: Announcements, wait_seconds: float) -> None:
        self._store = store
        self._announcements = announcements
        self._wait_seconds = wait_seconds
        self._flights: dict[str, asyncio.Future[Entry | End]] = {}
        self._telling: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        if self._telling:
            await asyncio.wait(self._telling)

    async def share(self, wanted: Wanted, ask: Ask) -> Completion:
        """The answer of an equal call that runs, or of this one; raises what asking raises."""
        name, until = wanted.name.name, asyncio.get_running_loop().time() + self._wait_seconds
        while (flight := self._flights.get(name)) is not None:
            try:
                async with asyncio.timeout_at(until):
                    end = await asyncio.shield(flight)
            except TimeoutError:
                return await ask()
            if isinstance(end, Entry):
                return end.completion()
            if end is End.ALONE:
                return await ask()
        flight = self._flights[name] = asyncio.get_running_loop().create_future()
        return await self._lead(wanted, flight, until, ask)

    async def keep(self, wanted: Wanted, ask: Ask) -> Completion:
        """As `ask`, whatever runs or is kept; its answer is kept."""
        completion = await ask()
        entry = entry_of(wanted.tenant_id, completion, time.time())
        if entry is not None:
            self._tell(wanted, secrets.token_hex(8), KEPT, entry)
        return completion

    async def _lead(self, wanted: Wanted, flight: "asyncio.Future[Entry | End]", until: float, ask: Ask) -> Completion:
        """In this process; another one may lead all."""
        token = secrets.token_hex(8)
        try:
            others = await self._follow_others(wanted, token, until)
            if others is not None:
                self._land(wanted, flight, others)
                return others.completion() if isinstance(others, Entry) else await ask()
            completion = await self._ask(wanted, token, ask)
        except BaseException:
            if not flight.done():
                self._land(wanted, flight, End.FAILED)
                self._tell(wanted, token, End.FAILED.value)
            raise
        entry = entry_of(wanted.tenant_id, completion, time.time())
        if entry is None:
            self._land(wanted, flight, End.ALONE)
            self._tell(wanted, token, End.ALONE.value)
        else:
            # It is found here until it is found in Redis.
            flight.set_result(entry)
            told = self._tell(wanted, token, KEPT, entry)
            told.add_done_callback(lambda _: self._forget(wanted, flight))
        return completion

    async def _follow_others(self, wanted: Wanted, token: str, until: float) -> Entry | End | None:
        """What a process that is ahead comes to; None: nobody is, or nobody knows, and the caller is to ask."""
        with self._announcements.about(wanted.name.name) as told:
            while True:
                try:
                    found = await self._store.join(wanted.name.name, token)
                except Away:
                    return None
                if found == LED:
                    return None
                if found != FOLLOWED:
                    return unseal(found, wanted.name, wanted.tenant_id)
                left = until - asyncio.get_running_loop().time()
                if left <= 0 or await told.within(min(left, LOOK_SECONDS)) == End.ALONE.value:
                    return End.ALONE

    async def _ask(self, wanted: Wanted, token: str, ask: Ask) -> Completion:
        renewal = start(self._renew(wanted, token))
        try:
            return await ask()
        finally:
            renewal.cancel()

    async def _renew(self, wanted: Wanted, token: str) -> None:
        while True:
            await asyncio.sleep(LOCK_SECONDS / 3)
            with suppress(Away):
                await self._store.renew(wanted.name.name, token)

    def _land(self, wanted: Wanted, flight: "asyncio.Future[Entry | End]", end: Entry | End) -> None:
        self._forget(wanted, flight)
        flight.set_result(end)

    def _forget(self, wanted: Wanted, flight: "asyncio.Future[Entry | End]") -> None:
        if self._flights.get(wanted.name.name) is flight:
            del self._flights[wanted.name.name]

    def _tell(self, wanted: Wanted, token: str, told: str, entry: Entry | None = None) -> asyncio.Task[None]:
        """Beside the call: nobody waits for Redis to hear of an answer."""
        task = start(self._end(wanted, token, told, entry))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)
        return task

    async def _end(self, wanted: Wanted, token: str, told: str, entry: Entry | None) -> None:
        kept = None if entry is None else (seal(entry, wanted.name), float(wanted.seconds))
        with suppress(Away):
            await self._store.end(wanted.name.name, token, f"{wanted.name.name} {told}", kept)
