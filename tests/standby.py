"""A real streaming replica of the tests' PostgreSQL, to be frozen, killed and promoted."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from sqlalchemy import URL

from app.db.embedded import _as_unprivileged_user, _binaries
from tests.pgbouncer import free_port
from tests.waiting import LOOK_SECONDS

# Each commit is replayed a moment late, as over a network: what does not wait for it is stale every time.
REPLAY = ("-c recovery_min_apply_delay=10ms", "-c wal_retrieve_retry_interval=100ms")


class Standby:
    """Made from a base backup in about a second. `options` are those of the primary, at least in what they reserve."""

    def __init__(self, primary: URL, options: tuple[str, ...]) -> None:
        self._primary, self._options = primary, options
        self._directory = Path(tempfile.mkdtemp(prefix="llm-saas-standby-"))
        self._directory.chmod(0o755)
        self._data = self._directory / "data"
        self._port = free_port()

    def url(self, url: URL | None = None) -> URL:
        """The way to a database of the primary's here."""
        return (url or self._primary).set(port=self._port)

    def copy(self) -> None:
        self._data.mkdir(mode=0o700)
        if (uid := _uid()) > 0:
            shutil.chown(self._data, uid)
        self._run(
            "pg_basebackup", "-h", "127.0.0.1", "-p", str(self._primary.port), "-U", str(self._primary.username),
            "-D", str(self._data), "-R", "-X", "stream", "-c", "fast", "--no-sync",
        )  # fmt: skip

    def start(self) -> None:
        """Return once it takes reads."""
        listening = f"-p {self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
        log = self._directory / "data" / "standby.log"
        self._pg_ctl("start", "-w", "-l", str(log), "-o", " ".join((listening, *REPLAY, *self._options)))

    def stop(self) -> None:
        self.thaw()
        if self.pids():
            self._pg_ctl("stop", "-m", "immediate")

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def promote(self) -> None:
        self._pg_ctl("promote", "-w")

    def freeze(self) -> None:
        """It takes connections still, the system does, and answers nobody."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """All of it: children of a first process that was killed would go on."""
        pids = self.pids()
        self._signal(signal.SIGKILL)
        while any(_lives(pid) for pid in pids):
            time.sleep(LOOK_SECONDS)
        # A first process that nobody reaps is taken for one that runs.
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def pids(self) -> list[int]:
        """Of its processes, the first one first."""
        try:
            postmaster = int((self._data / "postmaster.pid").read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return []
        if not _lives(postmaster):
            return []
        children = [int(pid) for pid in Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()]
        return [postmaster, *children]

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.pids():
            os.kill(pid, number)

    def _pg_ctl(self, *arguments: str) -> None:
        self._run("pg_ctl", "-D", str(self._data), "-s", *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [*_as_unprivileged_user(_uid()), str(_binaries() / program), *arguments],
            env={**os.environ, "LC_ALL": "C", "PGPASSWORD": str(self._primary.password)},
            cwd=self._directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # a server would inherit a pipe
            stderr=subprocess.DEVNULL,
            check=True,
            start_new_session=True,
        )


def _lives(pid: int) -> bool:
    """Nobody may reap it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _uid() -> int:
    """Whom PostgreSQL runs as under root, which it refuses; -1 for anybody else."""
    if os.geteuid() != 0:
        return -1
    names = {entry.pw_name: entry.pw_uid for entry in pwd.getpwall()}
    return names.get("postgres", names.get("nobody", 65534))
