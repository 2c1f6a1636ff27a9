"""Between a browser and the service: it cuts connections, refuses them, or leads them elsewhere."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Relay:
    """`port` 0: who connects is cut off at once."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.base = ""
        self.carried = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def cut(self, port: int) -> None:
        """Break all connections off; the next ones lead to `port`."""
        self.port = port
        for writer in self._open:
            writer.transport.abort()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.port:
            writer.transport.abort()
            return
        self.carried += 1
        beyond, back = await asyncio.open_connection("127.0.0.1", self.port)
        self._open |= {writer, back}
        for source, sink in ((reader, back), (beyond, writer)):
            task = asyncio.create_task(_carry(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        self.cut(0)
        for task in self._tasks:
            task.cancel()


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while piece := await source.read(2**16):
            sink.write(piece)
            await sink.drain()
    except ConnectionError:
        pass
    finally:
        sink.close()


@asynccontextmanager
async def relay(port: int) -> AsyncIterator[Relay]:
    between = Relay(port)
    server = await asyncio.start_server(between.accept, "127.0.0.1", 0)
    between.base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield between
    finally:
        between.close()
        server.close()
