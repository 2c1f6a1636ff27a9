"""`/metrics` on a port of its own: answered by a thread, so also while the event loop is busy.

Under `uvicorn --workers` the processes share one port: the one that has it adds up what all have counted, and another
takes it when that one is gone.
"""

import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import prometheus_client as client
import structlog
from prometheus_client.multiprocess import MultiProcessCollector

from app.core.filelock import FileLock
from app.core.settings.unusable import UnusableSetting
from app.observability import instruments
from app.observability.metrics import ALL, Counter, Gauge, Histogram, Instrument
from app.observability.shared_counting import Membership

RETRY_SECONDS = 1.0

logger = structlog.get_logger()


class Exposition:
    """Counts from `open` to `close`; with others if they share a directory, which the library has been told of."""

    def __init__(self, host: str, port: int, version: str, shared: Path | None) -> None:
        self._host, self._port, self._version, self._shared = host, port, version, shared
        self._registry = client.CollectorRegistry()
        self._member: Membership | None = None
        self._turn: FileLock | None = None
        self._server: Any = None
        self._closed = threading.Event()

    def open(self) -> None:
        """Raises `UnusableSetting` if nothing can be answered at the port."""
        if self._shared is None:
            for collector in (client.ProcessCollector, client.PlatformCollector, client.GCCollector):
                collector(registry=self._registry)
            self._serve()
            self._count(self._registry)
        else:
            MultiProcessCollector(self._registry, path=str(self._shared))
            self._member = Membership(self._shared)
            with self._member.starting():
                self._member.join()
                self._serve_in_turn(FileLock(self._shared / "port.lock"))
                self._count(None)
        instruments.BUILD.set(1, self._version)

    def _count(self, registry: client.CollectorRegistry | None) -> None:
        client.disable_created_metrics()  # when a series began: as many series again
        for instrument in ALL:
            instrument.switch_on(partial(family_of, registry=registry), shared=registry is None)

    def _serve(self) -> None:
        try:
            self._server, _ = client.start_http_server(self._port, self._host, self._registry)
        except OSError as error:
            where = f"{self._host}:{self._port}"
            raise UnusableSetting("METRICS_PORT", f"{where} cannot be listened at: {error.strerror or error}") from None

    def _serve_in_turn(self, turn: FileLock) -> None:
        if turn.try_acquire():
            try:
                self._serve()
            except UnusableSetting:
                turn.release()
                raise
            self._turn = turn
        else:
            threading.Thread(target=self._serve_next, args=(turn,), daemon=True).start()

    def _serve_next(self, turn: FileLock) -> None:
        """Wait for the process that has the port to go, and take it."""
        turn.acquire()
        while not self._closed.is_set():
            try:
                self._serve()
            except UnusableSetting as refusal:
                logger.warning("metrics_not_served", reason=str(refusal))
                time.sleep(RETRY_SECONDS)
            else:
                self._turn = turn
                return

    def close(self) -> None:
        """Blocks for half a second."""
        self._closed.set()
        for instrument in ALL:
            instrument.switch_off()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        if self._turn is not None:
            self._turn.release()
        if self._member is not None:
            with self._member.starting():
                self._member.leave()


def family_of(instrument: Instrument, registry: client.CollectorRegistry | None) -> Any:
    name, words, labels = instrument.name, instrument.help, instrument.labels
    match instrument:
        case Counter():
            return client.Counter(name, words, labels, registry=registry)
        case Gauge():
            return client.Gauge(name, words, labels, registry=registry, multiprocess_mode=instrument.merge)
        case Histogram():
            return client.Histogram(name, words, labels, registry=registry, buckets=instrument.buckets)
    raise TypeError(type(instrument))
