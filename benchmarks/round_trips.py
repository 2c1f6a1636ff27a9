"""Database round trips a request, counted at the wire and so free of noise."""

import asyncio
from contextlib import suppress

import httpx
from sqlalchemy import URL

from benchmarks.environment import free_port, serving, token

SYNC, QUERY, PARSE, TERMINATE = b"S", b"Q", b"P", b"X"
REQUESTS = 50


class CountingProxy:
    """Forwards to PostgreSQL and counts what the client waits for: Sync and simple Query messages."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.trips = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._port)
        back = asyncio.create_task(_copy(upstream_reader, writer))
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await self._startup(reader, upstream_writer)
            while True:
                kind = await reader.readexactly(1)
                length = await reader.readexactly(4)
                body = await reader.readexactly(int.from_bytes(length) - 4)
                self.trips += kind in (SYNC, QUERY)
                upstream_writer.write(kind + length + body)
        upstream_writer.close()
        back.cancel()

    async def _startup(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Messages before the session have no type byte: SSLRequest (8 bytes) and the startup message."""
        while True:
            length = await reader.readexactly(4)
            writer.write(length + await reader.readexactly(int.from_bytes(length) - 4))
            if int.from_bytes(length) != 8:
                return


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


async def run(url: URL) -> None:
    proxy, port = CountingProxy(url.port or 5432), free_port()
    listener = await asyncio.start_server(proxy.serve, "127.0.0.1", port)
    print("database round trips a request")
    headers = {"Authorization": f"Bearer {token()}"}
    settings = {"db_pool_size": "1", "message_lease_seconds": "86400"}
    async with (
        serving("main:app", url.set(port=port), **settings) as server,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", headers=headers) as client,
    ):
        for method, path in (("GET", "/health"), ("GET", "/me"), ("GET", "/messages"), ("POST", "/messages")):
            body = {"content": "Hello"} if method == "POST" else None
            await client.request(method, path, json=body)  # prepares the statements
            before = proxy.trips
            for _ in range(REQUESTS):
                (await client.request(method, path, json=body)).raise_for_status()
            print(f"  {method + ' ' + path:<24} {(proxy.trips - before) / REQUESTS:g}")
    listener.close()
