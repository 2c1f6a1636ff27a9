"""A provider on loopback that is asked for its models, and says whether it takes a key."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

GOOD_KEY = "sk-test-0123456789abcdefWXYZ"


@dataclass
class ModelsServer:
    """`asked` holds (request line, headers) of each; `status` takes the place of what a key gets."""

    url: str = ""
    status: str = ""
    location: str = ""
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            line, *rest = head.strip().split("\r\n")
            headers = {name.lower(): text for name, text in (one.split(": ", 1) for one in rest)}
            self.asked.append((line, headers))
            good = GOOD_KEY in (headers.get("authorization", "").removeprefix("Bearer "), headers.get("x-api-key"))
            status = self.status or ("200 OK" if good else "401 Unauthorized")
            location = f"Location: {self.location}\r\n" if self.location else ""
            body = b'{"data": []}'
            writer.write(f"HTTP/1.1 {status}\r\n{location}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def models_server() -> AsyncIterator[ModelsServer]:
    server = ModelsServer()
    async with await asyncio.start_server(server.accept, "127.0.0.1", 0) as listening:
        server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        yield server
