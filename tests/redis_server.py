"""A real Redis of a test's own."""

import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.committed.server import free_port

REDIS = shutil.which("redis-server")
needs_redis = pytest.mark.skipif(REDIS is None, reason="redis-server is not installed (make test installs it for root)")


class RedisServer:
    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        """Returns once it accepts connections."""
        command = [REDIS or "", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", *options]
        self._process = subprocess.Popen(command, cwd=self._directory, stdout=subprocess.DEVNULL)
        while self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
        raise AssertionError("Redis did not start")

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()


def recorded(monkeypatch: pytest.MonkeyPatch, module: Any) -> list[str]:
    """The events that a module logs, as they come."""
    events: list[str] = []

    class Recorder:
        def info(self, event: str, **_: Any) -> None:
            events.append(event)

        warning = info

    monkeypatch.setattr(module, "logger", Recorder())
    return events
