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

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class ServerProcess:
    """`python main.py` with these settings; its log goes to a file."""

    def __init__(self, data_dir: Path, **settings: str) -> None:
        self.port = free_port()
        self.log = data_dir / f"service-{self.port}.log"
        self._environment = {
            "PATH": os.environ["PATH"],
            "DATA_DIR": str(data_dir / "data"),
            "PORT": str(self.port),
            "BCRYPT_ROUNDS": "4",
            "RATE_LIMIT_ENABLED": "false",
            **{name.upper(): value for name, value in settings.items()},
        }
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "main.py"], cwd=ROOT, env=self._environment, stdout=log, stderr=log
            )
        async with asyncio.timeout(60), self.client() as client:
            while True:
                try:
                    if (await client.get("/health/ready")).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                assert self.process.poll() is None, self.log.read_text()
                await asyncio.sleep(0.05)

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=60)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    async def stop(self) -> int:
        """SIGTERM; the exit status."""
        assert self.process is not None
        self.process.terminate()
        return await asyncio.to_thread(self.process.wait, 60)


@asynccontextmanager
async def running(data_dir: Path, **settings: str) -> AsyncIterator[ServerProcess]:
    server = ServerProcess(data_dir, **settings)
    await server.start()
    try:
        yield server
    finally:
        if server.process and server.process.poll() is None:
            await server.stop()
