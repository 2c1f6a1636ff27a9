"""Looks once a second at what has a state and no event, and at how late it is to look."""

import asyncio
from collections.abc import Callable

from app.observability.instruments import LOOP_LAG_SECONDS

LOOK_SECONDS = 1.0


class Sampler:
    """Each reading sets gauges of its own; it neither waits nor fails."""

    def __init__(self) -> None:
        self.readings: list[Callable[[], None]] = []

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            for read in self.readings:
                read()
            due = loop.time() + LOOK_SECONDS
            await asyncio.sleep(LOOK_SECONDS)
            LOOP_LAG_SECONDS.observe(max(0.0, loop.time() - due))
