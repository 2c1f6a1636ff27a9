"""An application behind a socket of this process, under uvicorn, which itself looks for its end ten times a second."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from tests.waiting import LOOK_SECONDS

GRACEFUL_SECONDS = 5


@asynccontextmanager
async def listening_to(app: Any, **options: Any) -> AsyncIterator[int]:
    """Its port. In the end what it answers is waited for, a while, and cancelled."""
    config = uvicorn.Config(app, log_config=None, access_log=False, **options)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        await server.startup([listener])
        assert not server.should_exit, "the server did not start"
        ticking = asyncio.create_task(server.main_loop())
        try:
            yield listener.getsockname()[1]
        finally:
            ticking.cancel()
            await _stop(server)


async def _stop(server: uvicorn.Server) -> None:
    """As `Server.shutdown`."""
    state = server.server_state
    for listening in server.servers:
        listening.close()
    for connection in list(state.connections):
        connection.shutdown()
    try:
        async with asyncio.timeout(GRACEFUL_SECONDS):
            while state.connections or state.tasks:
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        for task in state.tasks:
            task.cancel()
    await server.lifespan.shutdown()
