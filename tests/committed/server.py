"""The service as a process of its own, to be killed."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from tests.conftest import MASTER_KEY
from tests.waiting import PATIENCE_SECONDS, until

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class ServerProcess:
    """`python main.py` with these settings, of the code in `root`; its log goes to a file."""

    def __init__(self, data_dir: Path, root: Path = ROOT, **settings: str) -> None:
        self._root = root
        self.port = free_port()
        self.log = data_dir / f"service-{self.port}.log"
        self._environment = {
            "PATH": os.environ["PATH"],
            "DATA_DIR": str(data_dir / "data"),
            "PORT": str(self.port),
            "BCRYPT_ROUNDS": "4",
            "RATE_LIMIT_ENABLED": "false",
            # Of the databases that tests share: what other processes have sealed there must open.
            "MASTER_KEY": MASTER_KEY,
            **{name.upper(): value for name, value in settings.items()},
        }
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        return ["main.py"]

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self.command()], cwd=self._root, env=self._environment, stdout=log, stderr=log
            )
        async with self.client() as client:

            async def ready() -> bool:
                assert self.process is not None
                assert self.process.poll() is None, self.log.read_text()
                try:
                    return (await client.get("/health/ready")).status_code == 200
                except httpx.TransportError:
                    return False

            await until(ready, f"the service to be ready; its log is {self.log}")

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=PATIENCE_SECONDS)

    async def accepts(self) -> bool:
        """Whether it still takes connections."""
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def ask_to_stop(self) -> None:
        """SIGTERM."""
        assert self.process is not None
        self.process.terminate()

    async def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.ask_to_stop()
        return await self.ended()

    async def ended(self) -> int:
        """The exit status."""
        assert self.process is not None
        return await asyncio.to_thread(self.process.wait, PATIENCE_SECONDS)


@asynccontextmanager
async def running(data_dir: Path, root: Path = ROOT, **settings: str) -> AsyncIterator[ServerProcess]:
    server = ServerProcess(data_dir, root, **settings)
    await server.start()
    try:
        yield server
    finally:
        if server.process and server.process.poll() is None:
            await server.stop()
